//! `cov-agent run -- PROGRAM`: measures a program from its first instruction.

use super::args::RunArgs;
use super::console::Console;
use super::exit::Exit;
use super::measure::{Measurement, is_system_library, skipped_message};
use super::message::{Message, Slug, chain};
use super::setup::Setup;
use crate::config::Settings;
use crate::object::needed::{self, LoaderEnvironment};
use crate::plan::Scope;
use crate::process::{Ending, Executable, Held, Launch, LaunchError, ProgramEvent, Signals, User, block_on};
use crate::runner::Candidate;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Runs the program and exits as it did. An error means that it was not run.
pub(super) fn run(args: &RunArgs, settings: &Settings, console: Console) -> Result<Exit, Message> {
    // Before any thread starts: all of them must leave signals to the descriptor.
    let signals = Signals::block().map_err(|e| failed("blocking signals", &e))?;
    let setup = Setup::new(settings)?;
    let user = Some(&settings.user.value).filter(|name| !name.is_empty());
    let user = user.map(|name| User::named(name.as_ref())).transpose();
    let user = user.map_err(|e| launch_message(&e))?;
    let mut words = args.command.iter().cloned();
    let launch = Launch { program: words.next().unwrap_or_default(), args: words.collect(), user };
    // Early, since the new process begins as a copy of this one, which is still small.
    let held = launch.hold(signals).map_err(|e| launch_message(&e))?;
    let output = setup.output(settings)?;

    let program = program(held.executable()).map_err(|e| failed("opening the program", &e))?;
    let path = program.path.clone();
    let mut candidates = vec![program];
    candidates.extend(libraries(&setup, &path, console));
    let (mut measurement, skipped) = Measurement::arm(&setup, console, candidates, Scope::Whole)?;
    if let Some(program) = skipped.iter().find(|skipped| skipped.path == path) {
        console.warning(&skipped_message(&setup, program, measurement.left_out()));
    }
    measurement.track(held.pid())?;
    let ending = match block_on(release(held)).map_err(|e| failed("waiting for the program", &e))? {
        Ok(ending) => ending,
        // Whoever killed it before it began meant the program.
        Err(LaunchError::Ended { ending, .. }) => return Ok(Exit::Program(ending.exit_code())),
        // The program may run on; what was counted until now is written all the same.
        Err(error @ LaunchError::System { .. }) => {
            if let Err(error) = measurement.finish(program_name(args), &output, settings) {
                console.error(&error);
            }
            return Err(launch_message(&error));
        }
        Err(error) => return Err(launch_message(&error)),
    };

    // From here on the program has run: whatever fails is told, and the exit status is the program's.
    if let Err(error) = measurement.finish(program_name(args), &output, settings) {
        console.error(&error);
    }
    Ok(Exit::Program(ending.exit_code()))
}

/// The command, for people.
fn program_name(args: &RunArgs) -> String {
    args.command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The file whose code will run: the program, or the interpreter of a script.
fn program(executable: &Executable) -> io::Result<Candidate> {
    match &executable.interpreter {
        Some(interpreter) => Candidate::open(interpreter),
        None => Ok(Candidate { path: executable.path.clone(), file: executable.file.try_clone()? }),
    }
}

/// The libraries that the dynamic linker will load with the program, but for those of the system.
/// One that cannot be opened is the program's affair: it will not start either.
fn libraries(setup: &Setup, program: &Path, console: Console) -> Vec<Candidate> {
    let variable = |name| std::env::var_os(name).map(OsStringExt::into_vec).unwrap_or_default();
    let environment = LoaderEnvironment {
        library_path: variable("LD_LIBRARY_PATH"),
        preload: variable("LD_PRELOAD"),
        secure: std::fs::metadata(program).is_ok_and(|m| m.mode() & (libc::S_ISUID | libc::S_ISGID) != 0),
        ..LoaderEnvironment::new(setup.directory.clone())
    };
    let found = match needed::needed(program, &environment, &needed::reader(&setup.search)) {
        Ok(libraries) => libraries.found,
        Err(error) => {
            console.detail(&format!("{}: its libraries cannot be found: {error}", program.display()));
            Vec::new()
        }
    };
    let measured = found.iter().filter(|path| {
        let system = is_system_library(path);
        if system {
            console.detail(&format!("not measured: {}: a library of the system", path.display()));
        }
        !system
    });
    measured.filter_map(|path| Candidate::open(path).ok()).collect()
}

/// Lets the program run and waits for its end.
async fn release(held: Held) -> Result<Ending, LaunchError> {
    let mut program = held.release()?;
    loop {
        match program.event().await {
            Ok(ProgramEvent::Executing) => {}
            Ok(ProgramEvent::NotExecuted(error)) => return Err(error),
            Ok(ProgramEvent::Ended(ending)) => return Ok(ending),
            Err(source) => return Err(LaunchError::System { doing: "waiting for the program", source }),
        }
    }
}

fn failed(doing: &str, error: &io::Error) -> Message {
    Message::new(Slug::Failed, format!("{doing}: {error}"))
}

/// The message for a program that was not launched.
fn launch_message(error: &LaunchError) -> Message {
    let slug = match error {
        LaunchError::NotFound { .. } | LaunchError::NoInterpreter { .. } => Slug::ProgramNotFound,
        LaunchError::NotExecutable { .. } => Slug::ProgramNotExecutable,
        LaunchError::NoSuchUser { .. } => Slug::NoSuchUser,
        LaunchError::Identity { .. } => Slug::NoPrivilege,
        LaunchError::NullByte { .. } | LaunchError::Ended { .. } | LaunchError::System { .. } => Slug::Failed,
    };
    Message::new(slug, chain(error))
}
