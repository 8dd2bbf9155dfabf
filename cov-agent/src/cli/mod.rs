//! The command line: arguments, messages, progress, tables, exit codes; one file a command.

mod annotate;
mod args;
#[cfg(feature = "collect")]
mod attach;
mod check;
mod config;
mod console;
mod context_args;
mod cost_args;
mod data;
mod data_args;
#[cfg(feature = "collect")]
mod doctor;
pub mod exit;
#[cfg(feature = "collect")]
mod follow;
mod git;
mod invoker;
#[cfg(feature = "collect")]
mod lines;
mod losses;
#[cfg(feature = "collect")]
mod measure;
mod merge;
mod message;
mod object_args;
#[cfg(feature = "collect")]
mod object_error;
mod output;
mod patch;
#[cfg(feature = "collect")]
mod plan;
mod plan_args;
#[cfg(feature = "collect")]
mod plan_cache;
#[cfg(feature = "collect")]
mod priced;
#[cfg(feature = "collect")]
mod progress;
#[cfg(feature = "collect")]
mod python;
#[cfg(feature = "collect")]
mod recover;
mod refine;
mod report;
mod rows;
#[cfg(feature = "collect")]
mod run;
#[cfg(feature = "collect")]
mod selection;
mod settings;
#[cfg(feature = "collect")]
mod setup;
mod stdout;
#[cfg(feature = "collect")]
mod stopped;
#[cfg(feature = "collect")]
mod summary;
mod table;
#[cfg(feature = "collect")]
mod test;
mod tests;
#[cfg(feature = "collect")]
mod tracking;
mod untouched;
mod usage;
#[cfg(feature = "collect")]
mod usdt;
#[cfg(feature = "collect")]
mod watch;
mod who;

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
    let settings = &loaded.settings;
    match &cli.command {
        Some(Command::Run(args) | Command::Test(args)) if !*settings.enabled => untouched::run(args, settings),
        None | Some(Command::Watch(_)) if !*settings.enabled => {
            let text = format!("measuring is switched off: enabled = false ({})", settings.enabled.origin);
            console.warning(&Message::new(Slug::Config, text));
            Ok(Exit::Success)
        }
        #[cfg(feature = "collect")]
        None => attach::run(&cli.attach, settings, console),
        #[cfg(feature = "collect")]
        Some(Command::Run(args)) => run::run(args, settings, console, crate::runner::Commands::default()),
        #[cfg(feature = "collect")]
        Some(Command::Test(args)) => test::test(args, settings, console),
        #[cfg(feature = "collect")]
        Some(Command::Watch(args)) => watch::run(args, settings, console),
        #[cfg(feature = "collect")]
        Some(Command::Lines(args)) => lines::run(args, settings, console),
        #[cfg(feature = "collect")]
        Some(Command::Plan(args)) => plan::run(args, settings, console),
        #[cfg(not(feature = "collect"))]
        None
        | Some(
            Command::Run(_)
            | Command::Test(_)
            | Command::Watch(_)
            | Command::Lines(_)
            | Command::Plan(_)
            | Command::Doctor(_)
            | Command::Recover(_),
        ) => {
            Err(Message::new(Slug::Failed, "this build reads coverage data only; measuring needs the feature collect"))
        }
        Some(Command::Merge(args)) => merge::merge(args, settings, console),
        Some(Command::Convert(args)) => merge::convert(args, settings, console),
        Some(Command::Report(args)) => report::report(args, settings, console, stdout),
        Some(Command::Check(args)) => check::check(args, settings, console, stdout),
        Some(Command::Who(args)) => who::who(args, settings, console, stdout),
        Some(Command::Tests(args)) => tests::tests(args, settings, console, stdout),
        Some(Command::Annotate(args)) => annotate::annotate(args, settings, console, stdout),
        Some(Command::Config(args)) => config::config(args, loaded, stdout),
        #[cfg(feature = "collect")]
        Some(Command::Recover(args)) => recover::run(args, console),
        #[cfg(feature = "collect")]
        Some(Command::Doctor(args)) => doctor::run(*args, stdout),
    }
}
