//! What a process that waits in open(2) wants of the file: to load it, or to read it.

use super::maps;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The x86-64 numbers of open, openat and openat2.
const OPENS: [&str; 3] = ["2", "257", "437"];
/// The entry of the auxiliary vector that says where the dynamic loader lies (`AT_BASE`).
const AT_BASE: u64 = 7;

/// How long a thread of which the kernel has told may run until it has gone to sleep.
const FALLING_ASLEEP: Duration = Duration::from_millis(5);
/// How long is waited at the most for one that is not given a processor: others wait meanwhile.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// What a file is opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// To be loaded: the dynamic loader opens it.
    Loading,
    /// To be read, by this program.
    Reading {
        /// The program's file.
        program: PathBuf,
    },
}

/// What process `pid` opens a file for, while it waits for leave to.
///
/// The loader is known by where the system call comes from: glibc's has calls of its own in its own file. musl's is the
/// C library itself, so that there all opening is loading.
///
/// # Errors
/// The process is gone, or may not be looked into.
pub fn opening(pid: u32) -> io::Result<Opening> {
    let program = fs::read_link(format!("/proc/{pid}/exe"))?;
    let loader = loader(pid)?;
    let loads = waiting_call(pid, |call| {
        let mut words = call.split_whitespace();
        OPENS.contains(&words.next()?).then_some(())?;
        let from = u64::from_str_radix(words.last()?.strip_prefix("0x")?, 16).ok()?;
        let file = maps::at(pid, from).ok()??;
        (is_loader(&file) || loader.as_ref() == Some(&file)).then_some(())
    });
    Ok(if loads.is_some() { Opening::Loading } else { Opening::Reading { program } })
}

/// What `wanted` makes of the system call in which a thread of process `pid` waits, as proc_pid_syscall(5) writes it. A
/// thread of which the kernel has just told may not have gone to sleep yet: then it is waited for, on a busy machine until
/// it was given time to.
pub(super) fn waiting_call<T>(pid: u32, wanted: impl Fn(&str) -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    let mut spent_before: HashMap<OsString, Option<Duration>> = HashMap::new();
    loop {
        let mut falling_asleep = false;
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            let task = task.ok()?;
            let Ok(call) = fs::read_to_string(task.path().join("syscall")) else { continue };
            if let Some(found) = wanted(&call) {
                return Some(found);
            }
            if call.starts_with("running") {
                let spent = spent(&task.path());
                let before = *spent_before.entry(task.file_name()).or_insert(spent);
                // Where the kernel does not tell, as if it ran all the time.
                let ran = spent.zip(before).map_or(begun.elapsed(), |(now, before)| now.saturating_sub(before));
                falling_asleep |= ran < FALLING_ASLEEP;
            }
        }
        if !falling_asleep || begun.elapsed() > LONGEST_WAIT {
            return None;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// How much time a thread has spent on processors.
fn spent(task: &Path) -> Option<Duration> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// Whether process `pid` executes code of this inode.
#[must_use]
pub fn executes(pid: u32, inode: u64) -> bool {
    maps::maps_inode(pid, inode, true).unwrap_or(false)
}

/// Whether process `pid` has the file of this inode open, or mapped, or is opening some file. Not once it has ended.
#[must_use]
pub fn still_uses(pid: u32, inode: u64) -> bool {
    let open = || {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        entries.filter_map(|entry| fs::metadata(entry.path()).ok()).any(|metadata| metadata.ino() == inode)
    };
    let opens = |call: &str| call.split_whitespace().next().filter(|number| OPENS.contains(number)).map(drop);
    let uses = || maps::maps_inode(pid, inode, false).unwrap_or(false) || open();
    // One that ran may have got it meanwhile.
    uses() || waiting_call(pid, opens).is_some() || uses()
}

/// The process that debugs `pid`, and its program: it traces it, and has the file of this inode open, to set breakpoints.
#[must_use]
pub fn debugger(pid: u32, inode: u64) -> Option<(u32, PathBuf)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().parse().ok()?;
    let debugs = tracer != 0 && still_uses(tracer, inode);
    debugs.then(|| (tracer, fs::read_link(format!("/proc/{tracer}/exe")).unwrap_or_default()))
}

/// Whether process `pid` has not ended.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    super::procfs::stat(pid).is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// The file of the process's dynamic loader, if the kernel loaded one.
fn loader(pid: u32) -> io::Result<Option<PathBuf>> {
    let vector = fs::read(format!("/proc/{pid}/auxv"))?;
    let words: Vec<u64> = vector.as_chunks().0.iter().copied().map(u64::from_ne_bytes).collect();
    let base = words.as_chunks::<2>().0.iter().find(|[kind, _]| *kind == AT_BASE).map(|[_, value]| *value);
    match base {
        Some(base) if base != 0 => maps::at(pid, base),
        _ => Ok(None),
    }
}

/// Whether a file is a dynamic loader by its name: one that is run by hand is no process's loader to the kernel.
#[must_use]
pub fn is_loader(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ["ld-linux", "ld-musl", "ld64.so", "ld.so", "ld-2."].iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loaders_have_their_names() {
        for path in ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1", "/usr/lib/ld-2.31.so"] {
            assert!(is_loader(Path::new(path)), "{path}");
        }
        for path in ["/usr/bin/ld", "/usr/bin/ld.gold", "/usr/bin/ld.lld", "/lib/libld.so", "/usr/bin/ldd"] {
            assert!(!is_loader(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn this_process_uses_its_own_program_and_opens_nothing() {
        let own = std::process::id();
        let inode = fs::metadata("/proc/self/exe").unwrap().ino();
        assert!(executes(own, inode) && still_uses(own, inode));
        assert!(!still_uses(u32::MAX, inode));
        assert!(
            matches!(opening(own).unwrap(), Opening::Reading { program } if program == std::env::current_exe().unwrap())
        );
        let loader = loader(own).unwrap().unwrap();
        assert!(is_loader(&loader), "{}", loader.display());
    }
}
