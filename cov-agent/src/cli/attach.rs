//! `cov-agent --pid PID`: measures processes that run already, from now on.

use super::args::AttachArgs;
use super::console::Console;
use super::exit::Exit;
use super::follow::{Beginning, Candidates, Follow, Whom, not_followed, root_of};
use super::measure::{Measurement, is_system_library, skipped_message};
use super::message::{Message, Slug, chain};
use super::setup::Setup;
use crate::config::{Python as Engine, Settings};
use crate::coverage::LossKind;
use crate::plan::Scope;
use crate::probe::Options;
use crate::process::gate::Gate;
use crate::process::{AttachError, Attached, AttachedEvent, MappedObjects, Signals, block_on};
use crate::runner::{Candidate, Skipped};
use std::collections::BTreeSet;
use std::fs::read_link;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// Attaches to the processes until they end, the time is over, or somebody interrupts.
pub(super) fn run(args: &AttachArgs, settings: &Settings, console: Console) -> Result<Exit, Message> {
    let signals = Signals::block().map_err(|e| failed("blocking signals", &e))?;
    let mut setup = Setup::new(settings, console)?.with_budget(settings, console);
    let mut attached = Attached::new(&args.pid, signals).map_err(|e| message(&e))?;
    // Containers have their debug files in file systems of their own.
    setup.search.roots = attached.pids().filter_map(root_of).collect();
    let setup = setup.with_cache(settings, console);
    let _measuring = setup.find_prices(args.measure.cost.prices, false, console);
    // It marks file systems while this process reads and arms.
    let gate = args.follow.then(|| Gate::start(Path::new("/proc/self/exe"))).transpose();
    let output = setup.output(settings)?;
    let mut candidates = Vec::new();
    let mut unopened = BTreeSet::new();
    let mut programs = BTreeSet::new();
    let mut interpreters = Vec::new();
    let in_kernel = matches!(settings.python.value, Engine::Auto | Engine::Usdt);
    for pid in attached.pids() {
        let MappedObjects { objects, missed } = attached.objects(pid).map_err(|e| message(&e))?;
        unopened.extend(missed.into_iter().map(|(path, error)| format!("{}: {error}", path.display())));
        let program = std::fs::metadata(format!("/proc/{pid}/exe")).ok().map(|m| (m.dev(), m.ino()));
        for object in objects {
            if in_kernel && let (Ok(file), Ok(path)) = (object.file.try_clone(), read_link(format!("/proc/{pid}/exe")))
            {
                interpreters.push((pid, path, file));
            }
            let place = object.file.metadata().ok().map(|m| (m.dev(), m.ino()));
            if place == program {
                programs.insert(object.path.clone());
            } else if is_system_library(&object.path) {
                console.detail(&format!("not measured: {}: a library of the system", object.path.display()));
                continue;
            }
            candidates.push(Candidate { path: object.path, file: object.file });
        }
    }
    let known = candidates.iter().map(Candidate::try_clone).collect::<io::Result<Vec<_>>>();
    let known = known.map_err(|e| failed("opening what is mapped", &e))?;
    let options = Options { python: in_kernel, ..setup.options() };
    let (mut measurement, skipped) = Measurement::arm(&setup, console, candidates, options, Scope::Part)?;
    for object in unopened.iter().cloned() {
        measurement.lose(LossKind::UnattachedObjects, object);
    }
    let mut without: Vec<Message> = skipped
        .iter()
        .filter(|skipped| programs.contains(&skipped.path))
        .map(|skipped| skipped_message(&setup, skipped, measurement.left_out()))
        .collect();
    let mut counts = false;
    if in_kernel {
        measurement.watch_python(&setup.prefixes(), setup.is_named())?;
        for (pid, program, file) in &interpreters {
            counts |= measurement.count_python(program, file, *pid)?;
        }
    }
    if !counts && settings.python.value == Engine::Usdt {
        let text = "no interpreter among them has the probe python:line, which Python 3.6 to 3.11 have if they were \
                    built with --with-dtrace";
        console.warning(&Message::new(Slug::Python, text));
    }
    if measurement.is_empty() && !counts && !args.follow {
        return Err(without.pop().unwrap_or_else(|| nothing(&skipped, &unopened)));
    }
    without.iter().filter(|_| !counts).for_each(|message| console.warning(message));

    let pids: Vec<u32> = attached.pids().collect();
    for pid in &pids {
        measurement.track_running(*pid)?;
    }
    let names = pids.iter().map(|pid| format!("pid {pid}")).collect::<Vec<_>>().join(", ");
    let duration = settings.duration.value.0;
    let waited = std::thread::scope(|threads| {
        let begin = |gate| {
            let candidates = Candidates::find(&setup, known.first().map(|object| &*object.path));
            let beginning = Beginning { whom: Whom::Counted, known: &known, later: &candidates };
            Follow::begin(gate, threads, &setup, console, beginning, &measurement)
        };
        let follow = gate.and_then(|gate| gate.map(begin).transpose()).unwrap_or_else(|error| {
            console.warning(&not_followed(&error));
            None
        });
        let ends = if pids.len() == 1 { "it" } else { "the last of them" };
        console.note(&format!("attached to {names}; ends with {ends}"));
        block_on(wait(&mut attached, duration, follow, &mut measurement, console)).and_then(|waited| waited)
    });
    super::python::record_counted(&setup, console, &mut measurement);
    // What was counted until then is written in every case.
    let written = measurement.finish(names, &output, settings);
    waited.map_err(|e| failed("waiting for the processes", &e))?;
    written.map(|()| Exit::Success)
}

async fn wait(
    attached: &mut Attached,
    duration: Option<Duration>,
    mut follow: Option<Follow>,
    measurement: &mut Measurement<'_>,
    console: Console,
) -> io::Result<()> {
    let over = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    loop {
        let step = tokio::select! {
            // Whoever waits goes first.
            biased;
            step = Follow::wait_for(&mut follow) => step,
            news = measurement.news() => {
                news?;
                measurement.take_news(console);
                continue;
            }
            event = attached.event() => match event? {
                AttachedEvent::Ended { .. } | AttachedEvent::SnapshotWanted => continue,
                AttachedEvent::AllEnded | AttachedEvent::Interrupted { .. } => break,
            },
            () = &mut over => break,
        };
        Follow::go_on_with(&mut follow, step, measurement, console);
    }
    Follow::finish(&mut follow, measurement).await;
    Ok(())
}

/// What is said when no object of a process can be measured and its program is not among them.
fn nothing(skipped: &[Skipped], unopened: &BTreeSet<String>) -> Message {
    let names = skipped.iter().map(|skipped| skipped.path.display().to_string());
    let names: Vec<_> = names.chain(unopened.iter().cloned()).collect();
    Message::new(Slug::NoDebugInfo, format!("no debug info: looked in {}; compile with -g", names.join(", ")))
}

fn failed(doing: &str, error: &io::Error) -> Message {
    Message::new(Slug::Failed, format!("{doing}: {error}"))
}

fn message(error: &AttachError) -> Message {
    let slug = match error {
        AttachError::NoSuchProcess { .. } => Slug::NoSuchProcess,
        AttachError::Ended { .. } => Slug::ProcessEnded,
        AttachError::Thread { .. } | AttachError::KernelThread { .. } | AttachError::Oneself { .. } => {
            Slug::ProcessUnfit
        }
        AttachError::NotPermitted { .. } => Slug::NoPrivilege,
        AttachError::System { .. } => Slug::Failed,
    };
    Message::new(slug, chain(error))
}
