//! `cov-agent recover`: writes what agents had counted that were killed. And what every measurement does for that.

use super::args::{Cli, Command, RecoverArgs};
use super::console::{Console, Verbosity};
use super::exit::Exit;
use super::message::{Message, Slug, chain};
use super::setup::Setup;
use super::{measure, settings, summary};
use crate::config::{ContextFrom, Environment, Settings};
use crate::coverage::{LossKind, Run, RunId};
use crate::runner::{Head, Interrupted, Journal};
use std::ffi::OsStr;
use std::path::Path;
use std::time::SystemTime;

/// Which environment variables configure the agent.
const VARIABLES: [&str; 3] = ["COV_AGENT_", "COVERAGE_", "HOME"];

/// Writes, or throws away, what is there, each run on its own.
pub(super) fn run(args: &RecoverArgs, console: Console) -> Result<Exit, Message> {
    let interrupted = Interrupted::all().map_err(|e| Message::new(Slug::Interrupted, chain(&e)))?;
    if interrupted.is_empty() {
        console.note("nothing to recover");
    }
    // Relative to where this command was given.
    let mut args = args.clone();
    args.output.output = args.output.output.map(|path| std::path::absolute(&path).unwrap_or(path));
    let mut outcome = Ok(Exit::Success);
    for one in interrupted {
        let command = command(&one.head);
        let done = if args.discard { Ok(()) } else { recover(&one, &args, console) };
        let done = done.and_then(|()| one.remove().map_err(|e| Message::new(Slug::Interrupted, e)));
        let done = done.map_err(|Message { slug, text }| Message::new(slug, format!("{command}: {text}")));
        if let (Err(error), true) = (&done, outcome.is_err()) {
            console.error(error);
        }
        outcome = outcome.and_then(|exit| done.map(|()| exit));
    }
    outcome
}

fn recover(one: &Interrupted, args: &RecoverArgs, console: Console) -> Result<(), Message> {
    let fail = |text: String| Message::new(Slug::Interrupted, text);
    let Head { version, directory, arguments, variables, .. } = &one.head;
    if version != env!("CARGO_PKG_VERSION") {
        return Err(fail(format!("counted by cov-agent {version}: only that version understands it; or --discard it")));
    }
    std::env::set_current_dir(directory).map_err(|e| {
        fail(format!("{}: {e}; make it again, or --discard the counts", Path::new(directory).display()))
    })?;
    let cli = Cli::read(arguments.iter().cloned()).map_err(|e| fail(e.to_string()))?;
    let environment = Environment { directory: directory.into(), variables: variables.iter().cloned().collect() };
    let mut loaded = settings::load_in(&cli, &environment, console)?;
    args.output.apply(&mut loaded.settings);
    let settings: &Settings = &loaded.settings;

    let setup = Setup::new(settings, console)?;
    let output = setup.output(settings)?;
    let collector = setup.collector();
    one.record(&collector).map_err(|e| fail(chain(&e)))?;
    if *settings.context_from != ContextFrom::Nothing && one.lacks_contexts() {
        let what = "the journal had no room for contexts: what was counted in them ended with the agent";
        collector.losses_mut().add_detail(LossKind::DroppedEvents, what);
    }
    let left_out = setup.left_out(collector.files().left_out().len());
    let snapshot = collector.coverage_cleanup(Run {
        id: RunId(one.head.id),
        program: command(&one.head),
        directory: setup.directory.display().to_string(),
        selection: setup.selection().to_owned(),
        ..Run::default()
    });
    let (snapshot, written) = measure::write(snapshot, &setup, settings, &output, console);
    let written = written?;
    if console.verbosity() > Verbosity::Quiet {
        console.note(&format!("recovered: {}", command(&one.head)));
        summary::print(console, &snapshot, &left_out, &written);
    }
    Ok(())
}

/// What was measured, for people: the program's command line, or the agent's own options.
fn command(head: &Head) -> String {
    let words: Vec<String> = match Cli::read(head.arguments.iter().cloned()) {
        Ok(Cli { command: Some(Command::Run(run)), .. }) => {
            run.command.iter().map(|word| word.to_string_lossy().into_owned()).collect()
        }
        Ok(Cli { command: None, attach, .. }) => attach.pid.iter().map(|pid| format!("pid {pid}")).collect(),
        _ => head.arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect(),
    };
    words.join(" ")
}

/// What this agent was asked for.
pub(super) fn head(setup: &Setup) -> Head {
    let configures = |name: &OsStr| name.to_str().is_some_and(|name| VARIABLES.iter().any(|v| name.starts_with(v)));
    Head {
        id: RunId::random().0,
        version: env!("CARGO_PKG_VERSION").into(),
        begun: SystemTime::now(),
        directory: setup.directory.clone().into(),
        arguments: std::env::args_os().collect(),
        variables: std::env::vars_os().filter(|(name, _)| configures(name)).collect(),
    }
}

/// Tells of agents that were killed and had been started in the same directory: others are others' affair.
pub(super) fn tell_interrupted(setup: &Setup, console: Console) {
    // Who may not look has nothing to recover.
    let all = Interrupted::all().unwrap_or_default();
    for one in all.iter().filter(|one| Path::new(&one.head.directory) == setup.directory) {
        let text = format!(
            "an agent was killed, but what it counted is still there: {}; cov-agent recover writes it, with --discard \
             it is thrown away",
            command(&one.head)
        );
        console.warning(&Message::new(Slug::Interrupted, text));
    }
}

/// Ends the journal: the results are written, or they are left for later.
pub(super) fn close(journal: Journal, written: bool, console: Console) {
    if !written {
        journal.leave();
        console.note("the counts are kept: when that is mended, cov-agent recover writes them");
    } else if let Err(error) = journal.remove() {
        console.detail(&format!("the journal cannot be removed: {error}"));
    }
}
