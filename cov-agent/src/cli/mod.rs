//! The command line: arguments, messages, progress, tables, exit codes; one file a command.

mod args;
#[cfg(feature = "collect")]
mod attach;
mod config;
mod console;
mod data_args;
pub mod exit;
#[cfg(feature = "collect")]
mod lines;
#[cfg(feature = "collect")]
mod measure;
mod message;
#[cfg(feature = "collect")]
mod object_error;
mod progress;
#[cfg(feature = "collect")]
mod run;
mod settings;
#[cfg(feature = "collect")]
mod setup;
mod stdout;
mod summary;
mod table;
mod usage;

use crate::config::Loaded;
use args::{Command, ConsoleArgs};

pub use args::Cli;
pub use console::Console;
pub use exit::Exit;
pub use message::{Message, Slug};

/// What `main` calls: reads the command line, does what it says and tells how to exit.
#[must_use]
pub fn main() -> std::process::ExitCode {
    #[cfg(feature = "collect")]
    if let Some(status) = crate::process::gate::serve_if_asked() {
        return status;
    }
    command().into()
}

/// Does what the command line says.
fn command() -> Exit {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error),
    };
    let mut console = Console::new(&cli.console);
    let result = settings::load(&cli, console).and_then(|loaded| {
        let args = ConsoleArgs::of(&loaded.settings);
        console = Console::new(&args);
        for warning in &loaded.warnings {
            console.warning(&Message::new(Slug::Config, warning));
        }
        dispatch(&cli, &loaded, console, Console::stdout(&args))
    });
    result.unwrap_or_else(|error| {
        console.error(&error);
        error.slug.exit()
    })
}

/// Does what the command line says. `stdout` is what results are printed to.
fn dispatch(cli: &Cli, loaded: &Loaded, console: Console, stdout: Console) -> Result<Exit, Message> {
    match &cli.command {
        #[cfg(feature = "collect")]
        None => attach::run(&cli.attach, &loaded.settings, console),
        #[cfg(feature = "collect")]
        Some(Command::Run(args)) => run::run(args, &loaded.settings, console),
        #[cfg(feature = "collect")]
        Some(Command::Lines(args)) => lines::run(args, &loaded.settings),
        #[cfg(not(feature = "collect"))]
        None | Some(Command::Run(_) | Command::Lines(_) | Command::Doctor(_)) => {
            let _ = console;
            Err(Message::new(Slug::Failed, "this build reads coverage data only; measuring needs the feature collect"))
        }
        Some(Command::Config(args)) => config::config(args, loaded, stdout),
        other => Err(Message::new(Slug::Failed, format!("{other:?} is not there yet"))),
    }
}
