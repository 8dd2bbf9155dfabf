//! `cov-agent run -- PROGRAM`: measures a program from its first instruction.

use super::args::RunArgs;
use super::console::Console;
use super::exit::Exit;
use super::follow::{Beginning, Candidates, Follow, Loading, Whom, libraries, not_followed};
use super::measure::{Measurement, skipped_message};
use super::message::{Message, Slug, chain};
use super::python::Python;
use super::setup::Setup;
use crate::config::Settings;
use crate::plan::{Aim, Scope};
use crate::probe::Options;
use crate::process::gate::Gate;
use crate::process::{Ending, Executable, Held, Launch, LaunchError, ProgramEvent, Signals, User, block_on};
use crate::runner::{Candidate, Commands};
use std::ffi::OsStr;
use std::io;
use std::path::Path;

/// Runs the program and exits as it did. An error means that it was not run.
///
/// `commands` is what is known of a suite of tests.
pub(super) fn run(args: &RunArgs, settings: &Settings, console: Console, commands: Commands) -> Result<Exit, Message> {
    // Before any thread starts: all of them must leave signals to the descriptor.
    let signals = Signals::block().map_err(|e| failed("blocking signals", &e))?;
    let mut setup = Setup::new(settings, console)?.with_budget(settings, console).with_cache(settings, console);
    setup.commands = commands;
    let user = Some(&settings.user.value).filter(|name| !name.is_empty());
    let user = user.map(|name| User::named(name.as_ref())).transpose();
    let user = user.map_err(|e| launch_message(&e))?;
    let mut words = args.command.iter().cloned();
    let name = words.next().unwrap_or_default();
    if runs_in_memory(&args.command) {
        console.note(
            "mojo run compiles in memory, where no probe can be: its lines are not counted; build it: mojo build -O0 -g",
        );
    }
    let python = Python::begin(&setup, settings, &name, console)?;
    let launch = Launch { program: name, args: words.collect(), user, variables: python.variables() };
    // Early, since the new process begins as a copy of this one, which is still small.
    let held = launch.hold(signals).map_err(|e| launch_message(&e))?;
    // It marks file systems while this process reads and arms.
    let gate = settings.follow.value.then(|| Gate::start(Path::new("/proc/self/exe"))).transpose();
    let output = setup.output(settings)?;
    // Not before there is a new process, which is made without threads.
    let _measuring = setup.find_prices(args.measure.cost.prices, false, console);

    let program = program(held.executable()).map_err(|e| failed("opening the program", &e))?;
    let path = program.path.clone();
    let interpreter = python.in_kernel().then(|| program.file.try_clone()).transpose();
    let interpreter = interpreter.map_err(|e| failed("opening the program", &e))?;
    let mut candidates = vec![program];
    candidates.extend(libraries(&setup, &candidates[0], &Loading::own(&setup), console));
    let known = candidates.iter().map(Candidate::try_clone).collect::<io::Result<Vec<_>>>();
    let known = known.map_err(|e| failed("opening the program", &e))?;
    // Nothing is worked out of counters but where whole runs are counted.
    let stops = setup.scope == Scope::Whole && setup.aim == Aim::Counts;
    let options = Options { follow: settings.follow.value, python: python.in_kernel(), stops, ..setup.options() };
    let (armed, later) = std::thread::scope(|threads| {
        let later = threads.spawn(|| match settings.follow.value {
            true => Candidates::find(&setup, Some(&path)),
            false => Candidates::default(),
        });
        (Measurement::arm(&setup, console, candidates, options, setup.scope), later.join())
    });
    let (mut measurement, skipped) = armed?;
    let later = later.map_err(|_| failed("looking for libraries", &io::ErrorKind::Other.into()))?;
    python.watch(&mut measurement)?;
    measurement.track(held.pid())?;
    if let Some(file) = &interpreter {
        measurement.count_python(&path, file, held.pid())?;
    }
    let ended = std::thread::scope(|threads| {
        let follow = gate.and_then(|gate| {
            gate.map(|gate| {
                let beginning = Beginning { whom: Whom::Counted, known: &known, later: &later };
                Follow::begin(gate, threads, &setup, console, beginning, &measurement)
            })
            .transpose()
        });
        let follow = follow.unwrap_or_else(|error| {
            console.warning(&not_followed(&error));
            None
        });
        block_on(release(held, follow, &mut measurement, console))
    });
    let ending = match ended.map_err(|e| failed("waiting for the program", &e))? {
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
    if !python.finish(&mut measurement)
        && measurement.is_empty()
        && let Some(program) = skipped.iter().find(|skipped| skipped.path == path)
    {
        console.warning(&skipped_message(&setup, program, measurement.left_out()));
    }

    // From here on the program has run: whatever fails is told, and the exit status is the program's.
    if let Err(error) = measurement.finish(program_name(args), &output, settings) {
        console.error(&error);
    }
    Ok(Exit::Program(ending.exit_code()))
}

/// Whether the command is `mojo run`, or `mojo FILE`, which is the same.
fn runs_in_memory(command: &[impl AsRef<OsStr>]) -> bool {
    let [program, rest @ ..] = command else { return false };
    let verb = rest.iter().map(|word| word.as_ref().to_string_lossy()).find(|word| !word.starts_with('-'));
    Path::new(program).file_name() == Some("mojo".as_ref())
        && verb.is_some_and(|verb| verb == "run" || verb.ends_with(".mojo"))
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

/// Lets the program run and waits for its end; arms what it starts meanwhile.
async fn release(
    held: Held,
    mut follow: Option<Follow>,
    measurement: &mut Measurement<'_>,
    console: Console,
) -> Result<Ending, LaunchError> {
    let mut program = held.release()?;
    loop {
        let step = tokio::select! {
            // Whoever waits at the gate goes first.
            biased;
            step = Follow::wait_for(&mut follow) => Some(step),
            news = measurement.news() => news.err().map(Err),
            event = program.event() => match event {
                Ok(ProgramEvent::Executing) => continue,
                Ok(ProgramEvent::NotExecuted(error)) => return Err(error),
                Ok(ProgramEvent::Ended(ending)) => {
                    Follow::finish(&mut follow, measurement).await;
                    return Ok(ending);
                }
                Err(source) => return Err(LaunchError::System { doing: "waiting for the program", source }),
            },
        };
        match step {
            Some(step) => Follow::go_on_with(&mut follow, step, measurement, console),
            None => measurement.take_news(console),
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
