//! `cov-agent watch`: measures every process of the machine that runs a matching object, until it is told to stop.

mod matching;
mod notify;

pub(super) use matching::Matching;

use super::args::WatchArgs;
use super::console::Console;
use super::exit::Exit;
use super::follow::{Beginning, Candidates, Follow, Whom, not_followed};
use super::measure::{Measurement, is_system_library};
use super::message::{Message, Slug};
use super::setup::Setup;
use crate::config::Settings;
use crate::coverage::{LossKind, Run};
use crate::plan::Scope;
use crate::process::gate::{Gate, Key};
use crate::process::{Attached, AttachedEvent, MappedObject, Signals, block_on, mapped_objects, running};
use crate::runner::Candidate;
use notify::Notify;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::Scope as Threads;
use std::time::Duration;
use tokio::sync::Notify as Wake;

/// How often objects that nobody runs any more are let go.
const TIDY: Duration = Duration::from_secs(60);

/// Measures until SIGTERM, SIGINT or SIGHUP; SIGUSR1 writes what there is.
pub(super) fn run(args: &WatchArgs, settings: &Settings, console: Console) -> Result<Exit, Message> {
    let signals = Signals::block().map_err(|e| failed("blocking signals", &e))?;
    let notify = Notify::new().map_err(|e| failed("speaking with the service manager", &e))?;
    let matching = Matching::new(args)?;
    let mut setup = Setup::new(settings, console)?.with_budget(settings, console);
    // What runs is attached to amid its run, and looked at amid it.
    setup.scope = Scope::Part;
    let setup = setup.with_cache(settings, console);
    let _measuring = setup.find_prices(args.measure.cost.prices, true, console);
    let output = setup.output(settings)?;
    // It marks file systems while this process reads and arms.
    let gate = Gate::start(Path::new("/proc/self/exe")).map_err(|e| not_followed(&e))?;
    // Nobody in particular: it hears signals.
    let mut nobody = Attached::new(&[], signals).map_err(|e| Message::new(Slug::Failed, e))?;

    let (found, candidates) = look(&matching);
    let known = candidates.iter().map(Candidate::try_clone).collect::<io::Result<Vec<_>>>();
    let known = known.map_err(|e| failed("opening what is mapped", &e))?;
    let (mut measurement, _) = Measurement::arm(&setup, console, candidates, setup.options(), Scope::Part)?;
    track(&found, &mut measurement)?;
    let run = measurement.run("watch".to_owned());
    let done = std::thread::scope(|threads| {
        let later = Candidates::below(matching.roots().map(Path::to_owned).collect());
        let whom = Whom::Matching(matching.clone());
        let beginning = Beginning { whom, known: &known, later: &later };
        let follow = Follow::begin(gate, threads, &setup, console, beginning, &measurement);
        let follow = follow.map_err(|e| not_followed(&e))?;
        // What began to run between the first look and the gate.
        track(&look(&matching).0, &mut measurement)?;
        console.note("watching; ends with SIGTERM, writes with SIGUSR1");
        notify.say("READY=1");
        let (done, writes, again) = (Arc::default(), false, false);
        let output = &output;
        let writer = Writer { threads, setup: &setup, settings, output, console, run: &run, done, writes, again };
        let ended = wait(&mut nobody, args.interval, &notify, follow, &mut measurement, writer);
        block_on(ended).and_then(|ended| ended).map_err(|e| failed("waiting", &e))
    });
    notify.say("STOPPING=1");
    // What was counted until then is written in every case.
    let written = measurement.finish_run(run.clone(), &output, settings);
    done?;
    written.map(|()| Exit::Success)
}

/// What each process runs that may be measured, and all those files, each once.
fn look(matching: &Matching) -> (BTreeMap<u32, Vec<Key>>, Vec<Candidate>) {
    let (mut found, mut candidates) = (BTreeMap::new(), HashMap::new());
    let own = std::process::id();
    for pid in running().into_iter().filter(|pid| *pid != own && matching.process(*pid)) {
        // It may have ended meanwhile, or be of the kernel.
        let Ok(mapped) = mapped_objects(pid) else { continue };
        let objects = mapped.objects.into_iter();
        for MappedObject { path, file } in objects.filter(|object| matching.object(&object.path)) {
            let Ok(key) = Key::of(&file) else { continue };
            if !is_system_library(&path) {
                found.entry(pid).or_insert_with(Vec::new).push(key);
                candidates.entry(key).or_insert(Candidate { path, file });
            }
        }
    }
    (found, candidates.into_values().collect())
}

/// Counts those that run something that is armed.
fn track(found: &BTreeMap<u32, Vec<Key>>, measurement: &mut Measurement<'_>) -> Result<(), Message> {
    for (pid, keys) in found {
        if keys.iter().any(|key| measurement.is_armed(*key)) && !measurement.tracks(*pid)? {
            measurement.track_running(*pid)?;
        }
    }
    Ok(())
}

/// Writes what there is while measuring goes on; in a thread, since nobody must wait for it.
struct Writer<'scope, 'env> {
    threads: &'scope Threads<'scope, 'env>,
    setup: &'scope Setup,
    settings: &'scope Settings,
    output: &'scope crate::format::output::OutputDir<'scope>,
    console: Console,
    run: &'scope Run,
    /// Told when results were written.
    done: Arc<Wake>,
    /// Whether they are being written.
    writes: bool,
    /// Whether they are wanted once more, as they are then.
    again: bool,
}

/// Wakes who waits, at the latest when a thread panics.
struct Waking(Arc<Wake>);

impl Drop for Waking {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Writer<'_, '_> {
    fn write(&mut self, measurement: &mut Measurement<'_>, notify: &Notify) {
        if self.writes {
            self.console.detail("the last results are still being written");
            self.again = true;
            return;
        }
        let snapshot = match measurement.snapshot(self.run.clone()) {
            Ok(snapshot) => snapshot,
            Err(error) => return self.console.warning(&error),
        };
        notify.say(&format!("STATUS={} source files, {} probes", snapshot.files().len(), measurement.probes()));
        let (setup, settings, output, console) = (self.setup, self.settings, self.output, self.console);
        let waking = Waking(Arc::clone(&self.done));
        self.writes = true;
        self.threads.spawn(move || {
            let _waking = waking;
            if let (_, Err(error)) = super::measure::write(snapshot, setup, settings, output, console) {
                console.warning(&error);
            }
        });
    }

    /// The results were written.
    fn go_on(&mut self, measurement: &mut Measurement<'_>, notify: &Notify) {
        self.writes = false;
        if std::mem::take(&mut self.again) {
            self.write(measurement, notify);
        }
    }
}

async fn wait(
    nobody: &mut Attached,
    interval: Option<Duration>,
    notify: &Notify,
    follow: Follow,
    measurement: &mut Measurement<'_>,
    mut writer: Writer<'_, '_>,
) -> io::Result<()> {
    let console = writer.console;
    let mut follow = Some(follow);
    let done = Arc::clone(&writer.done);
    let [mut write, mut alive, mut tidy] = [interval, notify.watchdog, Some(TIDY)].map(Every::new);
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
            event = nobody.event() => match event? {
                AttachedEvent::SnapshotWanted => {
                    writer.write(measurement, notify);
                    continue;
                }
                AttachedEvent::Interrupted { .. } => {
                    Follow::finish(&mut follow, measurement).await;
                    return Ok(());
                }
                AttachedEvent::Ended { .. } | AttachedEvent::AllEnded => continue,
            },
            () = write.next() => {
                writer.write(measurement, notify);
                continue;
            }
            () = done.notified() => {
                writer.go_on(measurement, notify);
                continue;
            }
            () = alive.next() => {
                notify.say("WATCHDOG=1");
                continue;
            }
            () = tidy.next() => {
                if let Err(error) = measurement.let_unused_go() {
                    console.warning(&error);
                }
                continue;
            }
        };
        Follow::go_on_with(&mut follow, step, measurement, console);
        if follow.is_none() {
            measurement.lose(LossKind::UnattachedObjects, "all that began to run later".to_owned());
            return Err(io::Error::other("execs cannot be held any more"));
        }
    }
}

/// A time that comes again and again, or never.
struct Every(Option<tokio::time::Interval>);

impl Every {
    fn new(period: Option<Duration>) -> Self {
        Self(period.map(|period| tokio::time::interval_at(tokio::time::Instant::now() + period, period)))
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(interval) => {
                interval.tick().await;
            }
            None => std::future::pending().await,
        }
    }
}

fn failed(doing: &str, error: &io::Error) -> Message {
    Message::new(Slug::Failed, format!("{doing}: {error}"))
}
