//! `cov-agent merge` and `cov-agent convert`: data in, data out.

use super::console::Console;
use super::data;
use super::data_args::{ConvertArgs, MergeArgs};
use super::exit::Exit;
use super::invoker::invoker;
use super::message::{Message, one_line};
use super::{losses, output};
use crate::config::Settings;
use std::path::PathBuf;

/// Adds data together.
pub(super) fn merge(args: &MergeArgs, settings: &Settings, console: Console) -> Result<Exit, Message> {
    write(&args.data, args.input.allow_duplicates, settings, console)
}

/// Writes data in other formats.
pub(super) fn convert(args: &ConvertArgs, settings: &Settings, console: Console) -> Result<Exit, Message> {
    write(std::slice::from_ref(&args.data), args.input.allow_duplicates, settings, console)
}

fn write(data: &[PathBuf], allow_duplicates: bool, settings: &Settings, console: Console) -> Result<Exit, Message> {
    let invoker = invoker()?;
    let mut snapshot = data::load(data, settings, allow_duplicates, &invoker, console)?;
    let directory = output::open(settings, &invoker)?;
    let written = output::write(&mut snapshot, settings, &directory, &invoker, console)?;
    for message in losses::messages(&snapshot.losses()) {
        console.warning(&message);
    }
    let names: Vec<String> = written.iter().map(|path| one_line(&path.display().to_string())).collect();
    let runs = snapshot.runs().count();
    let runs = if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") };
    console.block(&format!("{runs}, {} source files. Written: {}\n", snapshot.files().len(), names.join(", ")));
    Ok(Exit::Success)
}
