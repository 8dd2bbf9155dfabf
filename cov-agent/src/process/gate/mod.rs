//! The gate: holds every exec on this machine until the agent has seen the file that is to run.
//!
//! It is a small process of its own, in its own session, that no terminal signal reaches. Files that
//! the agent has answered for are let go after one look at a table; others wait, at most 500 ms, for
//! the agent's answer. Only the gate has the fanotify group: when the gate ends, for whatever reason,
//! the kernel lets everyone go; when the agent ends, the gate does.

mod known;
mod marks;
mod server;
mod sys;
mod wire;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use wire::Message;

/// What the gate's process is called: the agent's program, run under this name, is the gate.
const NAME: &str = "cov-agent-gate";

/// How long an exec waits for the agent at the most. With what the gate itself takes, every exec is
/// answered within 500 ms.
const PATIENCE: Duration = Duration::from_millis(450);

/// Sets another time, in milliseconds, for tests of what is held: it says nothing to a release build. What they assert
/// holds on a machine that is busy with other tests too only where the agent is waited for.
const PATIENCE_OF_TESTS: &str = "COV_TEST_PATIENCE_MS";

/// How long an exec waits for the agent at the most.
#[must_use]
pub fn patience() -> Duration {
    static PATIENCE_HERE: LazyLock<Duration> = LazyLock::new(|| {
        let set = if cfg!(debug_assertions) { std::env::var(PATIENCE_OF_TESTS).ok() } else { None };
        set.and_then(|text| text.parse().ok()).map_or(PATIENCE, Duration::from_millis)
    });
    *PATIENCE_HERE
}

/// Which content of which file: device, inode, size, time of the last write and of the last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Key([u64; Self::WORDS]);

impl Key {
    const WORDS: usize = 6;

    /// Whether both are the same file, whatever its content.
    #[must_use]
    pub fn same_file(self, other: Self) -> bool {
        self.0[..2] == other.0[..2]
    }

    /// Whether both are the same content of the same file, which an overlay shows with another device than the file system
    /// below it: the inode, the size and the times to the nanosecond, also that of the last change, are the same.
    #[must_use]
    pub fn is_same(self, other: Self) -> bool {
        self.0[1..] == other.0[1..]
    }

    /// Which file: the device, its major number in the upper half, and the inode.
    #[must_use]
    pub fn file(self) -> (u64, u64) {
        (self.0[0], self.0[1])
    }

    /// The file's inode number.
    #[must_use]
    pub fn inode(self) -> u64 {
        self.0[1]
    }

    /// The key of an opened file. Never waits for a file server: what is known here is taken.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        let wanted = StatxFlags::INO | StatxFlags::SIZE | StatxFlags::MTIME | StatxFlags::CTIME;
        let got = statx(file, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, wanted)?;
        let device = u64::from(got.stx_dev_major) << 32 | u64::from(got.stx_dev_minor);
        let time = |seconds: i64, nanos: u32| {
            seconds.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(u64::from(nanos))
        };
        let written = time(got.stx_mtime.tv_sec, got.stx_mtime.tv_nsec);
        let changed = time(got.stx_ctime.tv_sec, got.stx_ctime.tv_nsec);
        Ok(Self([device, got.stx_ino, got.stx_size, written, changed, u64::from(got.stx_mode)]))
    }
}

/// An exec, or the opening of a watched file, that waits for [`Gate::answer`].
#[derive(Debug)]
pub struct Held {
    /// The process that waits, as this namespace numbers it; 0 if it has no number here.
    pub process: u32,
    /// The file that is to run. The dynamic loader and the interpreters of scripts are held too.
    pub file: File,
    /// Which file it is.
    pub key: Key,
    /// Since when it waits.
    pub since: Instant,
    /// Whether the process only opens the file, which is [watched](Gate::watch).
    pub opening: bool,
    id: u32,
}

/// What of an answer holds for those who execute the same content of the same file from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Remember {
    /// Nothing: each is asked about.
    No = 0,
    /// They are let go at once: the file is armed, or of no interest.
    Yes = 1,
    /// It is a dynamic loader: they are let go at once where it loads the program that they execute, but asked about
    /// where it is executed itself, since it is then given a program.
    AsLoader = 2,
}

impl Remember {
    fn from_number(number: u32) -> Option<Self> {
        [Self::No, Self::Yes, Self::AsLoader].into_iter().find(|one| *one as u32 == number)
    }
}

/// What the gate could not do, since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GateLosses {
    /// Execs that were let go before the agent had answered.
    pub unanswered: u32,
    /// File systems that are mounted now and on which no exec is held.
    pub unmarked: u32,
}

/// Why there is no gate.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// fanotify refused.
    #[error(
        "execs cannot be held: {source}; fanotify needs CAP_SYS_ADMIN and a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS"
    )]
    Refused {
        /// What the kernel said.
        source: io::Error,
    },
    /// The process could not be started, or was ended by somebody.
    #[error("the process that holds execs is gone: {source}")]
    Gone {
        /// What happened.
        source: io::Error,
    },
}

/// The agent's end. Dropping it ends the gate and lets everyone go.
#[derive(Debug)]
pub struct Gate {
    socket: OwnedFd,
    process: Child,
    losses: GateLosses,
}

/// Serves as the gate if this process was started as it: then gives the exit status. To be called
/// first of all in `main`.
#[must_use]
pub fn serve_if_asked() -> Option<ExitCode> {
    let asked = std::env::args_os().next().is_some_and(|name| name == NAME);
    if !asked {
        return None;
    }
    sys::close_others();
    match io::stdin().as_fd().try_clone_to_owned() {
        Ok(agent) => Some(server::serve(&agent)),
        Err(_) => Some(ExitCode::FAILURE),
    }
}

impl Gate {
    /// Starts the gate, which lets everyone go until [`begin`](Self::begin). `program` must call
    /// [`serve_if_asked`]; it is the agent itself.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(program: &std::path::Path) -> Result<Self, GateError> {
        let gone = |source| GateError::Gone { source };
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|errno| gone(errno.into()))?;
        let process = Command::new(program)
            .arg0(NAME)
            .env_clear()
            .envs(std::env::var_os(PATIENCE_OF_TESTS).map(|set| (PATIENCE_OF_TESTS, set)))
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(gone)?;
        Ok(Self { socket: ours, process, losses: GateLosses::default() })
    }

    /// Holds execs from now on. Waits until every file system that can be is marked, and all is
    /// [watched](Self::watch) that was to be until now.
    ///
    /// # Errors
    /// When fanotify refuses.
    pub fn begin(&mut self) -> Result<(), GateError> {
        let gone = |source| GateError::Gone { source };
        loop {
            match wire::receive(&self.socket, RecvFlags::empty()) {
                Ok(Some((Message::Ready, _))) => self.say(Message::Begin)?,
                Ok(Some((Message::Begun, _))) => return Ok(()),
                Ok(Some((Message::Losses { unanswered, unmarked }, _))) => {
                    self.losses = GateLosses { unanswered, unmarked };
                }
                Ok(Some((Message::Failed { errno }, _))) => {
                    return Err(GateError::Refused { source: io::Error::from_raw_os_error(errno) });
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return Err(gone(io::ErrorKind::UnexpectedEof.into())),
                Err(errno) => return Err(gone(errno.into())),
            }
        }
    }

    /// Waits until there may be an exec that waits. Needs a tokio runtime with I/O; may be cancelled.
    ///
    /// # Errors
    /// When the system gives no descriptors.
    pub async fn readable(&self) -> io::Result<()> {
        super::program::any_readable(std::iter::once(self.as_fd())).await
    }

    /// The next exec that waits; `None` when nothing waits at this moment. The descriptor of
    /// [`AsFd`] is readable when there may be one.
    ///
    /// # Errors
    /// When the gate is gone; nobody waits then.
    pub fn next_held(&mut self) -> Result<Option<Held>, GateError> {
        loop {
            match wire::receive(&self.socket, RecvFlags::DONTWAIT) {
                Ok(Some((
                    ref message @ (Message::Held { id, process, key, at } | Message::Opened { id, process, key, at }),
                    Some(file),
                ))) => {
                    let opening = matches!(message, Message::Opened { .. });
                    // This process may have been kept from its work meanwhile.
                    let waited = Duration::from_nanos(sys::now().saturating_sub(at));
                    let since = Instant::now().checked_sub(waited).unwrap_or_else(Instant::now);
                    return Ok(Some(Held { process, file: File::from(file), key, since, opening, id }));
                }
                // This process had no room for the descriptor: the file is not looked at.
                Ok(Some((Message::Held { id, key, .. } | Message::Opened { id, key, .. }, None))) => {
                    self.reply(id, Remember::No, key)?;
                }
                Ok(Some((Message::Losses { unanswered, unmarked }, _))) => {
                    self.losses = GateLosses { unanswered, unmarked };
                }
                Ok(Some((Message::Failed { errno }, _))) => {
                    return Err(GateError::Refused { source: io::Error::from_raw_os_error(errno) });
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Ok(None) => return Err(GateError::Gone { source: io::ErrorKind::UnexpectedEof.into() }),
                Err(errno) => return Err(GateError::Gone { source: errno.into() }),
            }
        }
    }

    /// Lets an exec go on.
    ///
    /// # Errors
    /// When the gate is gone.
    pub fn answer(&self, held: &Held, remember: Remember) -> Result<(), GateError> {
        self.reply(held.id, remember, held.key)
    }

    /// Does not hold who runs this file: it is armed already, or of no interest.
    ///
    /// # Errors
    /// When the gate is gone.
    pub fn remember(&self, key: Key) -> Result<(), GateError> {
        self.reply(0, Remember::Yes, key)
    }

    /// Holds whoever opens this file from now on; not its execs, which are held anyway. A file that is no regular one
    /// is not watched: for each event the kernel opens it, which would wake those who wait at a pipe.
    ///
    /// # Errors
    /// When the gate is gone.
    pub fn watch(&self, file: &File) -> Result<(), GateError> {
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok(());
        }
        self.pass(Message::Watch, file)
    }

    /// Holds them no longer.
    ///
    /// # Errors
    /// When the gate is gone.
    pub fn unwatch(&self, file: &File) -> Result<(), GateError> {
        self.pass(Message::Unwatch, file)
    }

    /// Holds execs on the file systems that process `pid` sees too, and on those that come to be there, as long as it
    /// lives: it has a mount namespace of its own.
    ///
    /// # Errors
    /// When the gate is gone.
    pub fn watch_mounts_of(&self, pid: u32) -> Result<(), GateError> {
        self.say(Message::Mounts { process: pid })
    }

    /// Sends a file, waiting for room: nobody else tells the gate of it.
    fn pass(&self, message: Message, file: &File) -> Result<(), GateError> {
        loop {
            match wire::send(&self.socket, message, Some(file.as_fd())) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN) => {
                    let mut fds = [PollFd::new(&self.socket, PollFlags::OUT)];
                    let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
                    let _ = poll(&mut fds, Some(&patience));
                }
                Err(errno) => return Err(GateError::Gone { source: errno.into() }),
            }
        }
    }

    /// Asks again about a file: it is not armed any more.
    ///
    /// # Errors
    /// When the gate is gone.
    pub fn forget(&self, key: Key) -> Result<(), GateError> {
        self.say(Message::Forget { key })
    }

    /// What could not be done so far; up to date after [`next_held`](Self::next_held) gave `None`.
    #[must_use]
    pub fn losses(&self) -> GateLosses {
        self.losses
    }

    /// The gate's process: an exec of its own making is never held.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    fn reply(&self, id: u32, remember: Remember, key: Key) -> Result<(), GateError> {
        self.say(Message::Answer { id, remember, key })
    }

    fn say(&self, message: Message) -> Result<(), GateError> {
        match wire::send(&self.socket, message, None) {
            // The gate is behind: the exec is let go by its patience, and told as a loss.
            Ok(()) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(GateError::Gone { source: errno.into() }),
        }
    }
}

impl AsFd for Gate {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // The end of the conversation is what ends the gate. The kernel takes its time to remove the marks: nobody is
        // held any more meanwhile, and nobody waits for it here.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let _ = self.process.try_wait();
    }
}
