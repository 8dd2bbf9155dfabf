//! What the kernel programs would have told of a process's program, had they been there when it was executed.

use super::{Area, ContextNews};
use rustix::param::clock_ticks_per_second;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// More of a process's arguments or environment is not read: 1 MiB.
const MAX_TEXT: usize = 1 << 20;

/// That the process began the context `context` with the program that it runs. Of a process that is gone nothing is
/// known but its number.
pub(super) fn executed(process: u32, context: u32, area: Area) -> ContextNews {
    let file = match area {
        Area::Arguments => "cmdline",
        Area::Environment => "environ",
    };
    let mut text = fs::read(format!("/proc/{process}/{file}")).unwrap_or_default();
    text.truncate(MAX_TEXT);
    let (time, cgroup) = (started(process).unwrap_or(0), group(process).unwrap_or(0));
    ContextNews::Executed { context, before: 0, process, time, cgroup, text, whole: true }
}

/// When it began, in nanoseconds since the machine started.
fn started(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Behind the name, which may contain anything, the fields are numbers; field 22 counts from the first of all.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    ticks.checked_mul(1_000_000_000)?.checked_div(clock_ticks_per_second())
}

/// The inode of its control group's directory, in the unified hierarchy.
fn group(process: u32) -> Option<u64> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let root = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        (words.next()? == "cgroup2").then_some(place)
    })?;
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    fs::metadata(Path::new(root).join(path)).ok().map(|metadata| metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known() {
        let ContextNews::Executed { context, before, process, time, text, whole, .. } =
            executed(std::process::id(), 7, Area::Arguments)
        else {
            panic!("a program")
        };
        assert_eq!((context, before, process, whole), (7, 0, std::process::id(), true));
        let first = std::env::args().next().unwrap();
        assert!(time > 0 && text.starts_with(first.as_bytes()), "{time} {text:?}");
    }
}
