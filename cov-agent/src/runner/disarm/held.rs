//! The memory of processes, held so that an exec is not missed: what was hit in one context must not go from a program
//! that the process executes in another.
//!
//! The memory that a process had when it was taken hold of is that of the context, if a hit in the context came later: amid
//! an exec nothing is hit, and behind it hits are in another context. Who asks is not answered before that, and asks again.

use crate::probe::Asked;
use crate::process::{Foreign, ForeignError, Removed};
use nix::time::ClockId;
use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// How many processes are held at the same time; each takes two descriptors.
const MOST: usize = 128;

/// By so much the kernel's programs and this process may differ in what they take the time to be.
const DOUBT: Duration = Duration::from_micros(20);

/// The processes that are held, by number.
pub(super) struct Held {
    processes: HashMap<u32, One>,
    /// By how much this process's clock is before the kernel's: in a time namespace.
    ahead: Duration,
}

struct One {
    process: Foreign,
    context: u32,
    /// When it was taken hold of.
    since: Duration,
    /// Whether a later hit in the context was seen.
    known: bool,
    /// When something was taken out of it last.
    took: Duration,
}

impl Held {
    /// None so far.
    pub(super) fn new() -> Self {
        let offsets = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        Self { processes: HashMap::new(), ahead: ahead(&offsets) }
    }

    /// How long ago the machine was started, as the kernel's programs have it. Where that is not known, nothing is late
    /// enough.
    fn now(&self) -> Duration {
        let own = ClockId::CLOCK_BOOTTIME.now().map(Duration::from);
        own.ok().and_then(|own| own.checked_sub(self.ahead)).unwrap_or(Duration::MAX)
    }

    /// Whether the memory of the process that asks is known to be that of the context of the hit. Else it is taken hold of.
    ///
    /// # Errors
    /// The process has ended, or may not be written to.
    pub(super) fn hold(&mut self, asked: &Asked) -> Result<bool, ForeignError> {
        let Asked { pid, context, time, .. } = *asked;
        if let Some(one) = self.processes.get_mut(&pid)
            && one.context == context
        {
            one.known |= time > one.since.saturating_add(DOUBT);
            return Ok(one.known);
        }
        if self.processes.len() >= MOST {
            self.processes.clear();
        }
        let process = Foreign::hold(pid)?;
        let one = One { process, context, since: self.now(), known: false, took: Duration::ZERO };
        self.processes.insert(pid, one);
        Ok(false)
    }

    /// Whether the hit is one after the last time that something was taken out of the process: what was hit before need
    /// not be there any more.
    pub(super) fn is_news(&self, asked: &Asked) -> bool {
        self.processes.get(&asked.pid).is_some_and(|one| asked.time > one.took)
    }

    /// Takes something out of the memory of a process that is known to be that of the context.
    ///
    /// # Errors
    /// It is not known, or what `remove` says.
    pub(super) fn with(
        &mut self,
        pid: u32,
        context: u32,
        remove: impl FnOnce(&Foreign) -> Result<Removed, ForeignError>,
    ) -> Result<Removed, ForeignError> {
        let one = self.processes.get(&pid).filter(|one| one.known && one.context == context);
        let removed = remove(&one.ok_or(ForeignError::Ended)?.process);
        let now = self.now();
        self.processes.entry(pid).and_modify(|one| one.took = now);
        removed
    }

    /// Lets go of a process: it has ended, or its memory is no longer what it was.
    pub(super) fn forget(&mut self, pid: u32) {
        self.processes.remove(&pid);
    }
}

/// By how much `/proc/self/timens_offsets` says that the time since the start is more than the kernel's own; of what is
/// less, that nothing can be told.
fn ahead(offsets: &str) -> Duration {
    let Some(line) = offsets.lines().find_map(|line| line.strip_prefix("boottime")) else { return Duration::ZERO };
    let mut numbers = line.split_whitespace();
    let seconds = numbers.next().and_then(|number| number.parse().ok());
    let nanos = numbers.next().and_then(|number| number.parse().ok());
    seconds.zip(nanos).map_or(Duration::MAX, |(seconds, nanos)| Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SlotId;

    #[test]
    fn nothing_goes_before_a_later_hit_in_the_same_context() {
        let object = postcard::from_bytes(&[0]).unwrap();
        let pid = std::process::id();
        let mut held = Held::new();
        let asked = |context, time| Asked { pid, context, time, address: 0, object, slot: SlotId(0), once: true };
        let is_known = |held: &mut Held, context, time| held.hold(&asked(context, time)).unwrap();
        let take = |held: &mut Held, context| held.with(pid, context, |_| Ok(Removed::default()));
        let before = held.now();
        assert!(!is_known(&mut held, 1, before), "it was hit before");
        assert!(!is_known(&mut held, 1, before), "this too, though it was told later");
        assert!(matches!(take(&mut held, 1), Err(ForeignError::Ended)));
        let later = held.now() + DOUBT;
        assert!(is_known(&mut held, 1, later) && held.is_news(&asked(1, later)));
        assert!(is_known(&mut held, 1, before), "once is enough");
        assert!(take(&mut held, 1).is_ok());
        assert!(!held.is_news(&asked(1, before)), "it may have gone");
        assert!(!is_known(&mut held, 2, later), "it has executed something else");
        assert!(take(&mut held, 1).is_err() && take(&mut held, 2).is_err());
        let later = held.now() + DOUBT;
        assert!(is_known(&mut held, 2, later));
        held.forget(pid);
        assert!(!is_known(&mut held, 2, later));
    }

    #[test]
    fn a_time_namespace_is_seen() {
        assert_eq!(ahead("monotonic           0         0\nboottime            0         0\n"), Duration::ZERO);
        assert_eq!(ahead("monotonic  1 0\nboottime      86400       500\n"), Duration::new(86_400, 500));
        assert_eq!(ahead("boottime      -7        0\n"), Duration::MAX, "nothing is known");
        assert_eq!(ahead(""), Duration::ZERO, "there are none");
    }
}
