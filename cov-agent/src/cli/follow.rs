//! Programs that the measured program starts: the gate holds each exec until what will run is known and armed.

use super::console::Console;
use super::libraries::libraries;
use super::measure::{Measurement, is_system_library};
use super::message::{Message, Slug, chain};
use super::setup::Setup;
use crate::coverage::LossKind;
use crate::plan::Scope;
use crate::process::gate::{Gate, GateError, Held, Key};
use crate::runner::{Candidate, Objects, prepare};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::Scope as Threads;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What takes longer than this to read may have been let go by the gate meanwhile.
const PATIENCE: Duration = Duration::from_millis(400);

/// Holds and arms what counted processes execute.
pub(super) struct Follow {
    gate: Gate,
    questions: Sender<Question>,
    answers: UnboundedReceiver<Answer>,
    /// Execs that wait for their file to be read.
    waiting: HashMap<Key, Vec<Held>>,
}

/// A program to be read.
struct Question {
    key: Key,
    program: Candidate,
    since: Instant,
}

/// A program that was read, and its libraries.
struct Answer {
    key: Key,
    path: PathBuf,
    objects: Objects,
    /// How long it had to wait, if that was too long: it may have begun to run.
    late: Option<Duration>,
}

/// What a person must know where execs cannot be held.
pub(super) fn not_followed(error: &GateError) -> Message {
    let slug = match error {
        GateError::Refused { .. } => Slug::NoPrivilege,
        GateError::Gone { .. } => Slug::Failed,
    };
    Message::new(slug, format!("other programs that it starts are not measured: {}", chain(error)))
}

impl Follow {
    /// Holds execs at `gate` from now on; a thread reads programs. `known` is what is armed already.
    ///
    /// # Errors
    /// Execs cannot be held.
    pub(super) fn begin<'scope>(
        mut gate: Gate,
        threads: &'scope Threads<'scope, '_>,
        setup: &'scope Setup,
        console: Console,
        known: HashSet<Key>,
    ) -> Result<Self, GateError> {
        gate.begin()?;
        for key in &known {
            gate.remember(*key)?;
        }
        let (questions, asked) = std::sync::mpsc::channel();
        let (answer, answers) = unbounded_channel();
        threads.spawn(move || read_programs(setup, console, known, &asked, &answer));
        Ok(Self { gate, questions, answers, waiting: HashMap::new() })
    }

    /// Waits until there may be something to do.
    pub(super) async fn wait(&mut self) -> io::Result<Step> {
        tokio::select! {
            held = self.gate.readable() => held.map(|()| Step(None)),
            Some(answer) = self.answers.recv() => Ok(Step(Some(answer))),
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// The gate or the kernel fails: nothing is held any more.
    pub(super) fn go_on(&mut self, step: Step, measurement: &mut Measurement<'_>) -> Result<(), Message> {
        if let Some(answer) = step.0 {
            self.arm(answer, measurement)?;
        }
        while let Some(held) = self.gate.next_held().map_err(|e| not_followed(&e))? {
            self.consider(held, measurement)?;
        }
        Ok(())
    }

    fn consider(&mut self, held: Held, measurement: &mut Measurement<'_>) -> Result<(), Message> {
        // Whoever runs it: stale probes would break it.
        measurement.disarm_if_rewritten(held.key)?;
        if !measurement.tracks(held.process)? {
            return self.gate.answer(&held, false).map_err(|e| not_followed(&e));
        }
        if let Some(waiting) = self.waiting.get_mut(&held.key) {
            waiting.push(held);
            return Ok(());
        }
        let name = PathBuf::from(format!("/proc/self/fd/{}", held.file.as_raw_fd()));
        let path = std::fs::read_link(name).unwrap_or_default();
        let asked = held.file.try_clone().is_ok_and(|file| {
            let question = Question { key: held.key, program: Candidate { path, file }, since: Instant::now() };
            self.questions.send(question).is_ok()
        });
        if !asked {
            return self.gate.answer(&held, false).map_err(|e| not_followed(&e));
        }
        self.waiting.insert(held.key, vec![held]);
        Ok(())
    }

    fn arm(&mut self, answer: Answer, measurement: &mut Measurement<'_>) -> Result<(), Message> {
        let Answer { key, path, objects, late } = answer;
        if let Some(time) = late
            && !objects.prepared.is_empty()
        {
            let detail =
                format!("{}: it may have run before its probes were armed, {time:.1?} after its exec", path.display());
            measurement.lose(LossKind::UnattachedObjects, detail);
        }
        let armed = measurement.add(objects);
        for held in self.waiting.remove(&key).unwrap_or_default() {
            self.gate.answer(&held, true).map_err(|e| not_followed(&e))?;
        }
        armed.map(drop)
    }
}

/// What [`Follow::wait`] has waited for.
pub(super) struct Step(Option<Answer>);

/// Reads one program after the other, so that of a library that several use the first waits for all.
fn read_programs(
    setup: &Setup,
    console: Console,
    mut known: HashSet<Key>,
    asked: &Receiver<Question>,
    answers: &UnboundedSender<Answer>,
) {
    let files = setup.files();
    for Question { key, program, since } in asked {
        let path = program.path.clone();
        let mut candidates = vec![program];
        candidates.extend(libraries(setup, &path, console));
        candidates.retain(|candidate| {
            !is_system_library(&candidate.path) && Key::of(&candidate.file).is_ok_and(|key| known.insert(key))
        });
        let read = |candidates, scope| {
            setup.planning(&files, scope, |options| prepare(candidates, &setup.search, options, &|| ()))
        };
        let again: Vec<Candidate> = candidates
            .iter()
            .filter_map(|c| Some(Candidate { path: c.path.clone(), file: c.file.try_clone().ok()? }))
            .collect();
        let mut objects = read(candidates, setup.scope);
        let time = since.elapsed();
        let late = (time > PATIENCE).then_some(time);
        if late.is_some() && !objects.prepared.is_empty() {
            // Its beginning is not counted.
            objects = read(again, Scope::Part);
        }
        if answers.send(Answer { key, path, objects, late }).is_err() {
            return;
        }
    }
}
