//! Marks: every superblock on which a program could lie, those mounted later included.

use crate::process::pidfd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::AtFlags;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// File systems of the kernel's own, from which nothing is executed; most refuse a mark.
const WITHOUT_PROGRAMS: [&str; 21] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "efivarfs",
    "fusectl",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "resctrl",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sysfs",
    "tracefs",
];

/// One line of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// `major:minor` of the superblock.
    device: String,
    /// Where it is mounted.
    point: PathBuf,
    /// The type, such as `ext4`.
    kind: String,
}

/// The superblocks that carry a mark of this group.
pub(super) struct Marks<'a> {
    group: BorrowedFd<'a>,
    namespaces: Vec<Namespace>,
    marked: HashSet<String>,
    refused: HashSet<String>,
}

/// A mount namespace, as a process sees it.
struct Namespace {
    /// The list of its mounts, which also keeps it: so it is given up when `process` ends.
    mounts: File,
    /// Where the list's paths begin.
    root: File,
    /// A descriptor of the process; `None` for this one.
    process: Option<OwnedFd>,
}

impl Namespace {
    fn of(process: &str) -> io::Result<Self> {
        let open = |name: &str| File::open(format!("/proc/{process}/{name}"));
        let pidfd = process.parse().map(pidfd::open).ok().transpose()?;
        Ok(Self { mounts: open("mountinfo")?, root: open("root")?, process: pidfd })
    }
}

impl<'a> Marks<'a> {
    /// Opens the list of mounts of this process's namespace.
    pub(super) fn new(group: BorrowedFd<'a>) -> io::Result<Self> {
        let namespaces = vec![Namespace::of("self")?];
        Ok(Self { group, namespaces, marked: HashSet::new(), refused: HashSet::new() })
    }

    /// Marks in the namespace of this process too, as long as it lives.
    pub(super) fn add(&mut self, process: u32) {
        // It may have ended already.
        self.namespaces.extend(Namespace::of(&process.to_string()));
    }

    /// Marks what is mounted and not marked yet; gives the number of superblocks without a mark.
    pub(super) fn update(&mut self) -> io::Result<u32> {
        let mut all = Vec::new();
        for (index, namespace) in self.namespaces.iter_mut().enumerate() {
            let mut text = Vec::new();
            namespace.mounts.rewind()?;
            namespace.mounts.read_to_end(&mut text)?;
            all.extend(text.split(|byte| *byte == b'\n').filter_map(parse).map(|mount| (index, mount)));
        }
        // A number is given anew after an unmount: what is not mounted any more is forgotten.
        self.marked.retain(|device| all.iter().any(|(_, mount)| mount.device == *device));
        self.refused.retain(|device| all.iter().any(|(_, mount)| mount.device == *device));
        for (index, mount) in all {
            if WITHOUT_PROGRAMS.contains(&mount.kind.as_str()) || self.marked.contains(&mount.device) {
                continue;
            }
            let Some(Namespace { root, .. }) = self.namespaces.get(index) else { continue };
            let below = mount.point.strip_prefix("/").unwrap_or(&mount.point);
            let point = if below.as_os_str().is_empty() { Path::new(".") } else { below };
            // A mount point may be hidden under another mount; then another of its mounts may not be.
            if is_on(root, point, &mount.device) && super::sys::mark(self.group, root, point).is_ok() {
                self.refused.remove(&mount.device);
                self.marked.insert(mount.device);
            } else {
                self.refused.insert(mount.device);
            }
        }
        Ok(u32::try_from(self.refused.len()).unwrap_or(u32::MAX))
    }

    /// Waits until something is mounted or unmounted, or `news` can be read.
    pub(super) fn wait(&mut self, news: impl AsFd) -> io::Result<()> {
        let processes: Vec<&OwnedFd> = self.namespaces.iter().filter_map(|space| space.process.as_ref()).collect();
        let mut fds = vec![PollFd::new(&news, PollFlags::IN)];
        fds.extend(self.namespaces.iter().map(|space| PollFd::new(&space.mounts, PollFlags::PRI)));
        fds.extend(processes.iter().map(|process| PollFd::new(process, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ended = |space: &Namespace| space.process.as_ref().is_some_and(pidfd::has_ended);
        self.namespaces.retain(|space| !ended(space));
        Ok(())
    }
}

/// Whether what is seen at `point`, below `root`, is the superblock `device`.
fn is_on(root: &File, point: &Path, device: &str) -> bool {
    rustix::fs::statat(root, point, AtFlags::empty()).is_ok_and(|stat| {
        let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        // Some (btrfs) show another number to stat than to the list of mounts.
        device == format!("{major}:{minor}") || major == 0
    })
}

fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?.to_owned();
    let point = PathBuf::from(unescape(fields.nth(1)?));
    let kind = std::str::from_utf8(fields.skip_while(|field| *field != b"-").nth(1)?).ok()?.to_owned();
    Some(Mount { device, point, kind })
}

/// Undoes the octal escapes of blanks and backslashes.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| after.get(..3)).flatten().and_then(octal_byte);
        match octal {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(out)
}

fn octal_byte(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn a_line_with_optional_fields_and_escapes() {
        let line = br"36 35 98:0 /mnt1 /mnt\0402\134x rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue";
        let expected = Mount { device: "98:0".into(), point: r"/mnt 2\x".into(), kind: "ext3".into() };
        assert_eq!(parse(line), Some(expected));
        let plain = b"36 35 0:5 / /dev rw - devtmpfs none rw";
        assert_eq!(parse(plain), Some(Mount { device: "0:5".into(), point: "/dev".into(), kind: "devtmpfs".into() }));
    }

    #[test]
    fn broken_lines_are_passed_over() {
        for line in [&b""[..], b"1 2", b"36 35 0:5 / /dev rw devtmpfs", b"36 35 0:5 / /dev rw -", b"\xff \xff \xff"] {
            assert_eq!(parse(line), None, "{:?}", OsString::from_vec(line.to_vec()));
        }
        assert_eq!(unescape(br"a\04").as_bytes(), br"a\04");
        assert_eq!(unescape(br"a\999").as_bytes(), br"a\999");
    }
}
