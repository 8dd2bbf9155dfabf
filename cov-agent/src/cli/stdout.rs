//! stdout, where results go.

use super::exit::Exit;
use super::message::{Message, Slug};
use std::io::{self, Write as _};

/// Prints a result. A reader that closed the pipe has seen enough.
pub(super) fn print(text: &str) -> Result<Exit, Message> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Message::new(Slug::of_write(&error), format!("cannot write to stdout: {error}")))
        }
        _ => Ok(Exit::Success),
    }
}
