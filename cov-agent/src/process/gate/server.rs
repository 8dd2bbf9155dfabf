//! The gate's own process. One thread answers; another marks, since looking at mounts can block.

use super::known::Known;
use super::marks::Marks;
use super::wire::{self, Message};
use super::{Key, Remember, patience, sys};
use nix::fcntl::OFlag;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::net::RecvFlags;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Execs that wait at the same time; one more is let go.
const WAITING: usize = 256;
/// Execs that are remembered: the kernel asks about the opening of their file right after the exec.
const EXECS: usize = 256;
/// Different dynamic loaders that are told from other files.
const LOADERS: usize = 16;
/// Events that one read(2) takes at the most.
const EVENTS: usize = 32;

/// An exec that waits for the agent.
struct Waiting {
    file: OwnedFd,
    id: u32,
    since: Instant,
}

struct Gate<'a> {
    group: BorrowedFd<'a>,
    agent: BorrowedFd<'a>,
    /// What tells the other thread of processes whose mounts it is to look at.
    marker: BorrowedFd<'a>,
    /// The agent's own process, which never waits on itself.
    agent_process: u32,
    /// Whether execs are held; before that everyone is let go.
    begun: bool,
    known: Known,
    waiting: Vec<Waiting>,
    /// Who executed which file lately; the place that is overwritten next.
    execs: Vec<(u32, Key)>,
    next_exec: usize,
    /// Dynamic loaders.
    loaders: Vec<Key>,
    next_id: u32,
    unanswered: u32,
    unmarked: Arc<AtomicU32>,
    /// Since when the agent has not read what it was told.
    unread_since: Option<Instant>,
    /// The losses that the agent knows of.
    told: (u32, u32),
}

/// Serves until the agent closes its end of the conversation or is gone. When this process ends, for
/// whatever reason, the kernel lets every held exec go.
pub(super) fn serve(agent: &OwnedFd) -> ExitCode {
    // A session of its own: neither the terminal nor a signal to the agent's group reaches the gate.
    let _ = rustix::process::setsid();
    match prepare_and_answer(agent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            let _ = wire::send(agent, Message::Failed { errno }, None);
            ExitCode::FAILURE
        }
    }
}

fn prepare_and_answer(agent: &OwnedFd) -> io::Result<()> {
    // Answers must not wait for a page to come from the disk. Not being allowed to is no reason to stop.
    let _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT);
    let group = sys::group()?;
    let marker_group = group.try_clone()?;
    let agent_process = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
    let unmarked = Arc::new(AtomicU32::new(0));
    let (processes, marker) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let mut gate = Gate {
        group: group.as_fd(),
        agent: agent.as_fd(),
        marker: marker.as_fd(),
        agent_process,
        begun: false,
        known: Known::new(),
        waiting: Vec::with_capacity(WAITING),
        execs: vec![(0, Key::default()); EXECS],
        next_exec: 0,
        loaders: Vec::with_capacity(LOADERS),
        next_id: 0,
        unanswered: 0,
        unmarked: Arc::clone(&unmarked),
        unread_since: None,
        told: (0, 0),
    };
    let marker_agent = agent.try_clone()?;
    // Detached: it may hang on a file system that does not answer, and ends with the process.
    std::thread::Builder::new().spawn(move || keep_marking(&marker_group, &marker_agent, &unmarked, &processes))?;
    gate.answer_until_the_agent_is_gone()
}

fn keep_marking(group: &OwnedFd, agent: &OwnedFd, unmarked: &AtomicU32, processes: &OwnedFd) {
    let failed = |error: &io::Error| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        let _ = wire::send(agent, Message::Failed { errno }, None);
    };
    let mut marks = match Marks::new(group.as_fd()) {
        Ok(marks) => marks,
        Err(error) => return failed(&error),
    };
    let mut ready = false;
    loop {
        match marks.update() {
            Ok(without) => unmarked.store(without, Ordering::Relaxed),
            Err(error) => return failed(&error),
        }
        if !ready {
            ready = wire::send(agent, Message::Ready, None).is_ok();
        }
        if let Err(error) = marks.wait(processes) {
            return failed(&error);
        }
        let mut process = [0; 4];
        while rustix::io::read(processes, &mut process) == Ok(4) {
            marks.add(u32::from_ne_bytes(process));
        }
    }
}

impl Gate<'_> {
    fn answer_until_the_agent_is_gone(&mut self) -> io::Result<()> {
        loop {
            let patience = self.let_go_who_waited_long_enough();
            self.tell_losses();
            let (events, agent) = {
                let mut fds = [PollFd::new(&self.group, PollFlags::IN), PollFd::new(&self.agent, PollFlags::IN)];
                match poll(&mut fds, patience.as_ref()) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                (!fds[0].revents().is_empty(), !fds[1].revents().is_empty())
            };
            // Answers first: they make room for those who come.
            if agent && !self.hear_the_agent()? {
                return Ok(());
            }
            if events {
                self.hold_or_let_go()?;
            }
        }
    }

    /// Ends the wait of everyone whose time is over; how long the next one has still.
    fn let_go_who_waited_long_enough(&mut self) -> Option<Timespec> {
        let now = Instant::now();
        // They wait in the order in which they came.
        let over = self.waiting.iter().take_while(|one| now.duration_since(one.since) >= patience()).count();
        for one in self.waiting.drain(..over) {
            let _ = sys::allow(self.group, &one.file);
            self.unanswered = self.unanswered.saturating_add(1);
        }
        let oldest = self.waiting.first()?;
        let left = patience().saturating_sub(now.duration_since(oldest.since));
        Timespec::try_from(left).ok()
    }

    fn tell_losses(&mut self) {
        let losses = (self.unanswered, self.unmarked.load(Ordering::Relaxed));
        if losses != self.told {
            let message = Message::Losses { unanswered: losses.0, unmarked: losses.1 };
            if wire::send(self.agent, message, None).is_ok() {
                self.told = losses;
            }
        }
    }

    /// Takes what the agent says; whether it is still there.
    fn hear_the_agent(&mut self) -> io::Result<bool> {
        loop {
            match wire::receive(self.agent, RecvFlags::DONTWAIT) {
                Ok(Some((Message::Answer { id, remember, key }, _))) => {
                    if remember != Remember::No {
                        self.known.insert(key);
                    }
                    if remember == Remember::AsLoader && self.loaders.len() < LOADERS && !self.loaders.contains(&key) {
                        self.loaders.push(key);
                    }
                    if let Some(place) = self.waiting.iter().position(|one| one.id == id) {
                        let one = self.waiting.remove(place);
                        let _ = sys::allow(self.group, &one.file);
                    }
                }
                Ok(Some((Message::Forget { key }, _))) => self.known.remove(&key),
                Ok(Some((Message::Begin, _))) => {
                    self.begun = true;
                    let _ = wire::send(self.agent, Message::Begun, None);
                }
                Ok(Some((Message::Watch, Some(file)))) => {
                    let _ = sys::watch(self.group, &file, libc::FAN_MARK_ADD);
                }
                Ok(Some((Message::Mounts { process }, _))) => {
                    // Never waits: where it is full, the namespace is not looked at.
                    let _ = rustix::io::write(self.marker, &process.to_ne_bytes());
                }
                Ok(Some((Message::Unwatch, Some(file)))) => {
                    let _ = sys::watch(self.group, &file, libc::FAN_MARK_REMOVE);
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) | Err(Errno::CONNRESET) => return Ok(false),
                Err(Errno::AGAIN) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes new execs: lets the known ones go and asks the agent about the others.
    fn hold_or_let_go(&mut self) -> io::Result<()> {
        let mut buffer = [0_u8; EVENTS * size_of::<libc::fanotify_event_metadata>()];
        let length = match rustix::io::read(self.group, &mut buffer) {
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            // The file of an event could not be opened (too many are): the kernel has denied nothing
            // yet and gives the event back; those that wait are let go to make room.
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => {
                let all = self.waiting.len();
                for one in self.waiting.drain(..) {
                    let _ = sys::allow(self.group, &one.file);
                }
                self.unanswered = self.unanswered.saturating_add(u32::try_from(all).unwrap_or(u32::MAX));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let mut events = buffer.get(..length).unwrap_or_default();
        while let Some(event) = sys::next_event(&mut events) {
            if !self.ask(&event) {
                let _ = sys::allow(self.group, &event.file);
                continue;
            }
            self.waiting.push(Waiting { file: event.file, id: self.next_id, since: Instant::now() });
        }
        Ok(())
    }

    /// Whether the agent does not listen, since somebody has stopped it: then nobody is made to wait, until it does.
    fn agent_is_absent(&mut self) -> bool {
        if !sys::unread(self.agent) {
            self.unread_since = None;
            return false;
        }
        self.unread_since.get_or_insert_with(Instant::now).elapsed() >= patience()
    }

    /// Asks the agent about an exec, if it is to be asked and can be. The exec waits under `next_id`.
    fn ask(&mut self, event: &sys::Event) -> bool {
        if !self.begun || event.process == self.agent_process {
            return false;
        }
        let Ok(key) = Key::of(&event.file) else {
            self.unanswered = self.unanswered.saturating_add(1);
            return false;
        };
        if self.is_answered_for(event, key) {
            return false;
        }
        self.next_id = self.next_id.wrapping_add(1);
        let (id, process) = (self.next_id, event.process);
        let at = sys::now();
        let message =
            if event.exec { Message::Held { id, process, key, at } } else { Message::Opened { id, process, key, at } };
        let asked = self.waiting.len() < WAITING
            && !self.agent_is_absent()
            && wire::send(self.agent, message, Some(event.file.as_fd())).is_ok();
        if !asked {
            self.unanswered = self.unanswered.saturating_add(1);
        }
        asked
    }

    /// Whether the agent need not be asked: it knows who executes this file, or it was asked when the process executed it.
    fn is_answered_for(&mut self, event: &sys::Event, key: Key) -> bool {
        if event.exec {
            // What the process has executed before: a program is followed by its loader.
            let (newer, older) = self.execs.split_at(self.next_exec);
            let mut before =
                newer.iter().rev().chain(older.iter().rev()).filter(|(process, _)| *process == event.process);
            let before = before.next().map(|(_, key)| *key);
            let loads = before.is_some_and(|before| !self.loaders.contains(&before));
            if let Some(place) = self.execs.get_mut(self.next_exec) {
                *place = (event.process, key);
            }
            self.next_exec = (self.next_exec + 1) % EXECS;
            return self.known.contains(&key) && (loads || !self.loaders.contains(&key));
        }
        self.execs.contains(&(event.process, key))
    }
}
