//! Programs that counted processes start, and libraries that they load late: the gate holds each exec, and each opening
//! of a library, until what will run is known and armed; and each reader of an armed file, until it is disarmed.

mod answers;
mod candidates;
mod debuggers;
mod libraries;
mod mounts;
mod read;
mod readers;
mod unforeseen;
mod whom;

pub(super) use candidates::Candidates;
pub(super) use libraries::{Loading, libraries, root_of};
pub(super) use whom::Whom;

use super::console::Console;
use super::measure::{Measurement, is_system_library};
use super::message::{Message, Slug, chain};
use super::setup::Setup;
use crate::coverage::LossKind;
use crate::process::gate::{Gate, GateError, Held, Key, Remember};
use crate::process::{Created, Opening, any_readable, executes, is_alive, is_loader, opening};
use crate::runner::Candidate;
use mounts::Mounts;
use read::{Answer, Question, read_files};
use readers::{Free, Readers};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::thread::Scope as Threads;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use unforeseen::Unforeseen;

/// How often those who read disarmed files are looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// Holds and arms what counted processes execute and load.
pub(super) struct Follow {
    gate: Gate,
    console: Console,
    whom: Whom,
    questions: Sender<Question>,
    /// Those that nobody waits for, to another thread.
    unforeseen_questions: Sender<Question>,
    answers: UnboundedReceiver<Answer>,
    /// Who waits for a file to be read.
    waiting: HashMap<Key, Vec<Held>>,
    /// Libraries that come to be; `None` where the kernel does not tell.
    created: Option<Created>,
    readers: Readers,
    mounts: Mounts,
    unforeseen: Unforeseen,
}

/// What is known when it begins.
pub(super) struct Beginning<'a> {
    /// Whose programs are measured.
    pub whom: Whom,
    /// What was read already.
    pub known: &'a [Candidate],
    /// Libraries that may be loaded later.
    pub later: &'a Candidates,
}

/// What a person must know where execs cannot be held.
pub(super) fn not_followed(error: &GateError) -> Message {
    let slug = match error {
        GateError::Refused { .. } => Slug::NoPrivilege,
        GateError::Gone { .. } => Slug::Failed,
    };
    let text = format!(
        "other programs that are started, and libraries that are loaded later, are not measured: {}",
        chain(error)
    );
    Message::new(slug, text)
}

impl Follow {
    /// Holds execs at `gate` from now on, and openings of libraries; a thread reads programs.
    ///
    /// # Errors
    /// Execs cannot be held.
    pub(super) fn begin<'scope>(
        mut gate: Gate,
        threads: &'scope Threads<'scope, '_>,
        setup: &'scope Setup,
        console: Console,
        beginning: Beginning<'_>,
        measurement: &Measurement<'_>,
    ) -> Result<Self, GateError> {
        let Beginning { whom, known, later: candidates } = beginning;
        if candidates.incomplete {
            console.detail("not all directories were searched for libraries that may be loaded later");
        }
        let created = Created::beside(candidates.roots.iter().map(PathBuf::as_path));
        let created = created.inspect_err(|error| console.detail(&format!("files that are made: {error}"))).ok();
        for library in candidates.libraries.iter().filter_map(|path| Candidate::open(path).ok()) {
            gate.watch(&library.file)?;
        }
        let keys: HashSet<Key> = known.iter().filter_map(|object| Key::of(&object.file).ok()).collect();
        for key in &keys {
            // Where those who run what is armed are to be counted, each is asked about; so is who runs an
            // interpreter that tells of its lines.
            let each = measurement.is_armed(*key) && !matches!(whom, Whom::Counted);
            if !each && !measurement.counts_python(*key) {
                gate.remember(*key)?;
            }
        }
        let armed = known.iter().map(|object| &object.file);
        let mut armed = armed.filter(|file| Key::of(file).is_ok_and(|key| measurement.is_armed(key)));
        armed.try_for_each(|file| gate.watch(file))?;
        let mut unforeseen = Unforeseen::begin(console);
        keys.iter().for_each(|key| unforeseen.expect(*key));
        gate.begin()?;
        console.detail(&format!("{} libraries may be loaded later", candidates.libraries.len()));
        let (questions, asked) = std::sync::mpsc::channel();
        let (answer, answers) = unbounded_channel();
        let (unforeseen_questions, unforeseen_asked) = std::sync::mpsc::channel();
        let unforeseen_answer = answer.clone();
        threads.spawn(move || read_files(setup, console, keys, &asked, &answer));
        threads.spawn(move || read_files(setup, console, HashSet::new(), &unforeseen_asked, &unforeseen_answer));
        let (waiting, readers) = (HashMap::new(), Readers::default());
        let mounts = Mounts::new();
        Ok(Self {
            gate,
            console,
            whom,
            questions,
            unforeseen_questions,
            answers,
            waiting,
            created,
            readers,
            mounts,
            unforeseen,
        })
    }

    /// Waits until there may be something to do.
    async fn wait(&mut self) -> io::Result<Step> {
        let fds = std::iter::once(self.gate.as_fd()).chain(self.created.iter().map(|created| created.as_fd()));
        let glance = async {
            match self.readers.is_empty() {
                true => std::future::pending().await,
                false => tokio::time::sleep(GLANCE).await,
            }
        };
        tokio::select! {
            readable = any_readable(fds) => readable.map(|()| Step(None)),
            () = glance => Ok(Step(None)),
            () = self.unforeseen.wait() => Ok(Step(None)),
            Some(answer) = self.answers.recv() => Ok(Step(Some(answer))),
        }
    }

    /// The same for one that may not be there: then it waits forever.
    pub(super) async fn wait_for(follow: &mut Option<Self>) -> io::Result<Step> {
        match follow {
            Some(follow) => follow.wait().await,
            None => std::future::pending().await,
        }
    }

    /// Does it; where that fails, the person is told, nothing is held any more, and what is armed is counted on.
    pub(super) fn go_on_with(
        follow: &mut Option<Self>,
        step: io::Result<Step>,
        measurement: &mut Measurement<'_>,
        console: Console,
    ) {
        let step = step.map_err(|error| Message::new(Slug::Failed, format!("waiting for execs: {error}")));
        let done = step.and_then(|step| match follow {
            Some(follow) => follow.go_on(step, measurement),
            None => Ok(()),
        });
        if let Err(error) = done {
            // Dropping the gate lets everyone go.
            *follow = None;
            console.warning(&error);
            let detail = "whatever was started after execs could not be held".to_owned();
            measurement.lose(LossKind::UnattachedObjects, detail);
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// The gate or the kernel fails: nothing is held any more.
    fn go_on(&mut self, step: Step, measurement: &mut Measurement<'_>) -> Result<(), Message> {
        if let Some(answer) = step.0 {
            self.arm(answer, measurement)?;
        }
        self.watch_created()?;
        while let Some(held) = self.gate.next_held().map_err(|e| not_followed(&e))? {
            // Whoever runs or opens it: stale probes would break it.
            measurement.disarm_if_rewritten(held.key)?;
            if held.opening {
                self.consider_opening(held, measurement)?;
            } else {
                self.consider_exec(held, measurement)?;
            }
        }
        self.arm_again();
        self.consider_mappings(measurement)
    }

    /// Has what nobody reads any more armed again.
    fn arm_again(&mut self) {
        for Free { key, path, file } in self.readers.done() {
            let object = Candidate { path, file };
            let (loading, unforeseen, since) = (None, BTreeSet::new(), Instant::now());
            let again = vec![key];
            let _ = self.questions.send(Question { key, object, loading, amid: true, again, unforeseen, since });
        }
    }

    /// Watches libraries that were made.
    fn watch_created(&mut self) -> Result<(), Message> {
        let Some(created) = &self.created else { return Ok(()) };
        match created.next(&|name: &OsStr| candidates::is_library(name)) {
            Ok((files, missed)) => {
                if missed {
                    self.console.detail("some of the files that were made were missed");
                }
                files.iter().try_for_each(|file| self.gate.watch(file)).map_err(|e| not_followed(&e))
            }
            Err(error) => {
                self.console.detail(&format!("files that are made: {error}"));
                self.created = None;
                Ok(())
            }
        }
    }

    fn consider_exec(&mut self, held: Held, measurement: &mut Measurement<'_>) -> Result<(), Message> {
        if !self.whom.process(held.process, measurement)? {
            return self.let_go(&held);
        }
        self.unforeseen.expect(held.key);
        if self.counts_on(&held, measurement)? {
            return self.let_go(&held);
        }
        self.arm_again();
        if let Some((reader, process)) = self.readers.of(held.key) {
            let detail =
                format!("{} ran while {} ({process}) was reading it", path_of(&held).display(), reader.display());
            measurement.lose(LossKind::UnattachedObjects, detail);
            return self.let_go(&held);
        }
        if self.is_debugged(&held, measurement)? {
            return self.let_go(&held);
        }
        if self.mounts.is_new(held.process) {
            self.gate.watch_mounts_of(held.process).map_err(|e| not_followed(&e))?;
        }
        let (loading, arguments) = Loading::of_exec(held.process);
        let path = path_of(&held);
        // Each process that runs such an interpreter is counted by itself.
        if measurement.count_python(&path, &held.file, held.process)? {
            return self.let_go(&held);
        }
        if is_loader(&path) {
            if !arguments.is_loader() {
                return self.gate.answer(&held, Remember::AsLoader).map_err(|e| not_followed(&e));
            }
            // It is given a program by hand, another one each time.
            let given = arguments.given_to_loader().and_then(|given| Candidate::open(&loading.find(&given)).ok());
            let Some(given) = given else { return self.let_go(&held) };
            let key = Key::of(&given.file).unwrap_or(held.key);
            return self.ask(held, key, Some(given), Some(loading), measurement);
        }
        if !self.whom.object(&path) {
            return self.gate.answer(&held, Remember::Yes).map_err(|e| not_followed(&e));
        }
        let (key, object) = (held.key, held.file.try_clone().map(|file| Candidate { path, file }));
        self.ask(held, key, object.ok(), Some(loading), measurement)
    }

    /// Counts who runs a file that is armed, where that is how processes are chosen; whether it did.
    fn counts_on(&self, held: &Held, measurement: &mut Measurement<'_>) -> Result<bool, Message> {
        if matches!(self.whom, Whom::Counted) || !measurement.is_armed(held.key) {
            return Ok(false);
        }
        if !measurement.tracks(held.process)? && is_alive(held.process) {
            measurement.track(held.process)?;
            if held.since.elapsed() > read::patience() {
                unforeseen::lose_uncounted(measurement, &path_of(held), 1);
            }
        }
        Ok(true)
    }

    fn consider_opening(&mut self, held: Held, measurement: &mut Measurement<'_>) -> Result<(), Message> {
        match opening(held.process) {
            Ok(Opening::Loading) => {
                let wanted = self.whom.process(held.process, measurement)?;
                if wanted {
                    self.unforeseen.expect(held.key);
                }
                if !wanted || measurement.is_armed(held.key) {
                    if matches!(self.whom, Whom::Matching(_))
                        && measurement.is_armed(held.key)
                        && !measurement.tracks(held.process)?
                    {
                        measurement.track_running(held.process)?;
                    }
                    return self.let_go(&held);
                }
                let path = path_of(&held);
                if is_system_library(&path) || !self.whom.object(&path) {
                    self.gate.unwatch(&held.file).map_err(|e| not_followed(&e))?;
                    return self.let_go(&held);
                }
                let (key, object) = (held.key, held.file.try_clone().map(|file| Candidate { path, file }));
                self.ask(held, key, object.ok(), None, measurement)
            }
            Ok(Opening::Reading { program }) => self.make_way(&held, program, measurement),
            // It is gone, or is in no namespace of ours.
            Err(_) => self.let_go(&held),
        }
    }

    /// Disarms a file for a program that may see its breakpoints.
    fn make_way(&mut self, held: &Held, program: PathBuf, measurement: &mut Measurement<'_>) -> Result<(), Message> {
        let inode = held.file.metadata().map_or(0, |metadata| metadata.ino());
        // One that runs the file sees them in its own code anyhow.
        if !(measurement.is_armed(held.key) || self.readers.of(held.key).is_some())
            || readers::is_harmless(&program)
            || executes(held.process, inode)
        {
            return self.let_go(held);
        }
        let path = path_of(held);
        let in_use = measurement.tracked()?.into_iter().any(|process| executes(process, inode));
        self.console.detail(&format!(
            "{}: disarmed while {} ({}) reads it",
            path.display(),
            program.display(),
            held.process
        ));
        if measurement.disarm(held.key, in_use)? && in_use {
            let detail = format!("{}, while {} ({}) was reading it", path.display(), program.display(), held.process);
            measurement.lose(LossKind::DisarmedCounters, detail);
        }
        self.gate.forget(held.key).map_err(|e| not_followed(&e))?;
        if let Ok(file) = held.file.try_clone() {
            self.readers.add(held.key, held.process, program, (path, file), in_use);
        }
        self.let_go(held)
    }

    /// Has files read, unless they are being read already, while `held` waits.
    fn ask(
        &mut self,
        held: Held,
        key: Key,
        object: Option<Candidate>,
        loading: Option<Loading>,
        measurement: &Measurement<'_>,
    ) -> Result<(), Message> {
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.push(held);
            return Ok(());
        }
        let Some(object) = object else { return self.let_go(&held) };
        // What was disarmed for a reader is known, and is to be armed anew.
        let again = if measurement.is_armed(key) { Vec::new() } else { vec![key] };
        let since = held.since;
        let question = Question { key, object, loading, amid: false, again, unforeseen: BTreeSet::new(), since };
        if self.questions.send(question).is_err() {
            return self.let_go(&held);
        }
        self.waiting.insert(key, vec![held]);
        Ok(())
    }

    fn let_go(&self, held: &Held) -> Result<(), Message> {
        self.gate.answer(held, Remember::No).map_err(|e| not_followed(&e))
    }
}

/// The path of a file that is waited for, in the agent's view.
fn path_of(held: &Held) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{}", held.file.as_raw_fd())).unwrap_or_default()
}

/// What [`Follow::wait`] has waited for.
pub(super) struct Step(Option<Answer>);
