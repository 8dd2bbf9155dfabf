//! `enabled = false`: the program runs as if there were no agent.

use super::args::RunArgs;
use super::exit::Exit;
use super::message::{Message, Slug};
use crate::config::Settings;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Becomes the program, so that nothing of the agent is left. An error means that it was not run.
pub(super) fn run(args: &RunArgs, settings: &Settings) -> Result<Exit, Message> {
    if !settings.user.is_empty() {
        let text = "enabled = false runs the program as whoever runs the agent, and cannot run it as another user";
        return Err(Message::new(Slug::Usage, text));
    }
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Message::new(Slug::Usage, "no program to run"));
    };
    let error = Command::new(program).args(rest).exec();
    let slug = match error.kind() {
        io::ErrorKind::NotFound => Slug::ProgramNotFound,
        _ => Slug::ProgramNotExecutable,
    };
    Err(Message::new(slug, format!("{}: {error}", program.display())))
}
