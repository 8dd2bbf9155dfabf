//! Coverage data for the commands that read it.

use super::console::Console;
use super::invoker::Invoker;
use super::message::{Message, Slug};
use super::refine::refine;
use crate::config::Settings;
use crate::coverage::{Snapshot, paths};
use crate::format::ReadError;
use crate::format::input::{self, Input, InputError, Options};
use std::path::PathBuf;

/// What `paths` hold together, or the output directory where there are none: paths mapped, files
/// filtered.
pub(super) fn load(
    paths: &[PathBuf],
    settings: &Settings,
    allow_duplicates: bool,
    invoker: &Invoker,
    console: Console,
) -> Result<Snapshot, Message> {
    let paths = if paths.is_empty() { vec![settings.output.value.clone()] } else { paths.to_vec() };
    let inputs = input::find(paths).map_err(message)?;
    let snapshot = merge(&inputs, allow_duplicates, console)?;
    refine(snapshot, settings, &working_directory()?, invoker, console)
}

/// The working directory as paths in the data are written.
pub(super) fn working_directory() -> Result<String, Message> {
    let directory = std::env::current_dir()
        .map_err(|error| Message::new(Slug::CannotRead, format!("the working directory: {error}")))?;
    Ok(paths::normalize("/", directory))
}

/// The data of inputs, as it is.
pub(super) fn merge(inputs: &[Input], allow_duplicates: bool, console: Console) -> Result<Snapshot, Message> {
    inputs.iter().for_each(|input| console.detail(&format!("reading {input}")));
    input::merge(inputs, &Options { allow_duplicates, ..Options::default() }).map_err(message)
}

fn message(error: InputError) -> Message {
    match &error {
        InputError::Read { source: ReadError::Io(cause), .. } if cause.kind() == std::io::ErrorKind::NotFound => {
            Message::new(Slug::NoData, error)
        }
        InputError::Read { source: ReadError::Io(_), .. } => Message::new(Slug::CannotRead, error),
        InputError::Read { .. } => Message::new(Slug::NotCoverageData, error),
        InputError::Nothing { .. } => Message::new(Slug::NoData, error),
        InputError::Duplicate { first, second, what } => {
            let text = format!(
                "{first} and {second} hold the same data ({what}), which would count twice; leave one out, or say \
                 --allow-duplicates"
            );
            Message::new(Slug::DuplicateData, text)
        }
        InputError::Write(cause) => Message::new(Slug::of_write(cause), error),
    }
}
