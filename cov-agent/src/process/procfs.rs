//! What /proc tells of a process.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::{self, File};
use std::io;
use std::ops::Range;

/// A process's entry in its parent's records and the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// `R` running, `T` stopped, `Z` ended, and others (proc_pid_stat(5)).
    pub state: char,
    /// The parent's number; 0 if it has none here.
    pub parent: u32,
    /// Whether it is a thread of the kernel.
    pub of_kernel: bool,
}

/// The list of what is mounted, as a process sees it.
#[derive(Debug)]
pub struct MountList(File);

impl MountList {
    /// That of process `pid`.
    ///
    /// # Errors
    /// It has ended, or may not be looked into.
    pub fn of(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/mountinfo")).map(Self)
    }

    /// Whether it has changed since the last call.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::PRI)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

/// Reads /proc/PID/stat.
pub(super) fn stat(pid: u32) -> io::Result<Stat> {
    const PF_KTHREAD: u32 = 0x0020_0000;
    let fields = stat_fields(&pid.to_string())?;
    let number = |index: usize| fields.get(index).and_then(|field| field.parse().ok());
    Ok(Stat {
        state: fields.first().and_then(|field: &String| field.chars().next()).ok_or(io::ErrorKind::InvalidData)?,
        parent: number(1).unwrap_or(0),
        of_kernel: number(6).is_some_and(|flags: u32| flags & PF_KTHREAD != 0),
    })
}

/// The fields of /proc/PROCESS/stat from the third on.
fn stat_fields(process: &str) -> io::Result<Vec<String>> {
    let text = fs::read(format!("/proc/{process}/stat"))?;
    // The second field is a name in parentheses, and may itself hold anything.
    let rest = text.iter().rposition(|&byte| byte == b')').and_then(|at| text.get(at + 1..)).unwrap_or_default();
    Ok(String::from_utf8_lossy(rest).split_ascii_whitespace().map(str::to_owned).collect())
}

/// Where this process's command line lies in its memory; empty if the kernel does not say.
pub(super) fn own_arguments() -> io::Result<Range<usize>> {
    const ARG_START: usize = 48 - 3;
    let fields = stat_fields("self")?;
    let number = |index: usize| fields.get(index).and_then(|field| field.parse().ok()).unwrap_or(0);
    Ok(number(ARG_START)..number(ARG_START + 1))
}

/// The number of the process that `id`, a process or a thread, belongs to.
pub(super) fn process_of(id: u32) -> io::Result<u32> {
    let text = fs::read_to_string(format!("/proc/{id}/status"))?;
    let field = text.lines().find_map(|line| line.strip_prefix("Tgid:"));
    field.and_then(|field| field.trim().parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether `pid` is `ancestor` or was started by it, or by one that was, and so on.
pub(super) fn descends(pid: u32, ancestor: u32) -> bool {
    /// Parents change while one looks, so there could be a circle.
    const MAX_GENERATIONS: usize = 100;
    std::iter::successors(Some(pid), |&pid| stat(pid).ok().map(|stat| stat.parent))
        .take(MAX_GENERATIONS)
        .take_while(|&pid| pid > 1)
        .any(|pid| pid == ancestor)
}

/// The processes that there are now, as this process's namespace numbers them.
#[must_use]
pub fn running() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_descends_from_its_parent() {
        let (own, parent) = (std::process::id(), std::os::unix::process::parent_id());
        let stat = stat(own).unwrap();
        assert_eq!((stat.parent, stat.of_kernel), (parent, false));
        assert_eq!(process_of(own).unwrap(), own);
        assert!(descends(own, own) && descends(own, parent));
        assert!(!descends(parent, own));
        assert_eq!(own_arguments().unwrap().len(), fs::read("/proc/self/cmdline").unwrap().len());
        assert!(!descends(0, own) && !descends(u32::MAX, own));
    }
}
