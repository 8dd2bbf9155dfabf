//! The command line: arguments, messages, progress, tables, exit codes; one file a command.

mod args;
mod console;
pub mod exit;
mod message;
mod progress;
mod summary;
mod table;
mod usage;

pub use args::Cli;
pub use console::Console;
pub use exit::Exit;
pub use message::{Message, Slug};

/// What `main` calls: reads the command line, does what it says and tells how to exit.
#[must_use]
pub fn main() -> Exit {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error),
    };
    let console = Console::new(cli.console);
    let result = dispatch(&cli, console);
    result.unwrap_or_else(|error| {
        console.error(&error);
        error.slug.exit()
    })
}

fn dispatch(cli: &Cli, _console: Console) -> Result<Exit, Message> {
    Err(Message::new(Slug::Failed, format!("{:?} is not there yet", cli.command)))
}
