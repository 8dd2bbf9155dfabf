//! Marks: every superblock on which a program could lie, those mounted later included.

use rustix::event::{PollFd, PollFlags, poll};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::BorrowedFd;
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
    mounts: File,
    marked: HashSet<String>,
    refused: HashSet<String>,
}

impl<'a> Marks<'a> {
    /// Opens the list of mounts of this process's namespace.
    pub(super) fn new(group: BorrowedFd<'a>) -> io::Result<Self> {
        let mounts = File::open("/proc/self/mountinfo")?;
        Ok(Self { group, mounts, marked: HashSet::new(), refused: HashSet::new() })
    }

    /// Marks what is mounted and not marked yet; gives the number of superblocks without a mark.
    pub(super) fn update(&mut self) -> io::Result<u32> {
        let mut text = Vec::new();
        self.mounts.rewind()?;
        self.mounts.read_to_end(&mut text)?;
        let mounts: Vec<Mount> = text.split(|byte| *byte == b'\n').filter_map(parse).collect();
        // A number is given anew after an unmount: what is not mounted any more is forgotten.
        self.marked.retain(|device| mounts.iter().any(|mount| mount.device == *device));
        self.refused.retain(|device| mounts.iter().any(|mount| mount.device == *device));
        for mount in mounts {
            if WITHOUT_PROGRAMS.contains(&mount.kind.as_str()) || self.marked.contains(&mount.device) {
                continue;
            }
            // A mount point may be hidden under another mount; then another of its mounts may not be.
            if is_on(&mount.point, &mount.device) && super::sys::mark(self.group, &mount.point).is_ok() {
                self.refused.remove(&mount.device);
                self.marked.insert(mount.device);
            } else {
                self.refused.insert(mount.device);
            }
        }
        Ok(u32::try_from(self.refused.len()).unwrap_or(u32::MAX))
    }

    /// Waits until something is mounted or unmounted.
    pub(super) fn wait(&self) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.mounts, PollFlags::PRI)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether what is seen at `point` is the superblock `device`.
fn is_on(point: &Path, device: &str) -> bool {
    rustix::fs::stat(point).is_ok_and(|stat| {
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
