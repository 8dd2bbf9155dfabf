//! What the processes of this machine map as code from now on, as the kernel's performance events tell it
//! (perf_event_open(2), `PERF_RECORD_MMAP2`): the only notice of it that every kernel gives. Nobody waits for it to be read.
#![expect(unsafe_code, reason = "perf_event_open(2), and memory that is shared with the kernel")]

use memmap2::{MmapOptions, MmapRaw};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering, fence};

const PAGE: usize = 4096;
/// What all processors' rings take together, where each has its part within bounds.
const ALL_PAGES: usize = 2048;
/// The bounds of one processor's ring, powers of two.
const MIN_PAGES: usize = 4;
const MAX_PAGES: usize = 64;
/// Where the first page of a ring says how far the kernel has written, and how far was read (`data_head`, `data_tail`).
const HEAD: usize = 1024;
const TAIL: usize = 1032;
/// Kinds of records.
const LOST: u32 = 2;
const MMAP2: u32 = 10;

/// A process has mapped a file as code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// The process, as this process's namespace numbers it.
    pub process: u32,
    /// The device of the file, as [`Key::file`](super::gate::Key::file) writes it, and its inode.
    pub file: (u64, u64),
    /// Its path in the process's own view; it may have been deleted.
    pub path: PathBuf,
}

/// Tells what is mapped, whoever does it.
#[derive(Debug)]
pub struct Mappings(Vec<Ring>);

/// What one processor tells.
#[derive(Debug)]
struct Ring {
    memory: MmapRaw,
    /// As long as it is open, records are written.
    _event: OwnedFd,
}

impl Mappings {
    /// Begins to take note.
    ///
    /// # Errors
    /// Where the kernel, or its settings, do not allow it.
    pub fn begin() -> io::Result<Self> {
        let processors = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_CONF)?;
        let processors = processors.and_then(|number| i32::try_from(number).ok()).unwrap_or(1).max(1);
        let part = ALL_PAGES / processors.unsigned_abs() as usize;
        let pages = (1_usize << part.max(1).ilog2()).clamp(MIN_PAGES, MAX_PAGES);
        let mut rings = Vec::new();
        for processor in 0..processors {
            match event(processor) {
                Ok(event) => {
                    let memory = MmapOptions::new().len((pages + 1) * PAGE).map_raw(event.as_raw_fd())?;
                    rings.push(Ring { memory, _event: event });
                }
                // It is switched off.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self(rings))
    }

    /// What was mapped since the last call, and how many mappings are not known of.
    pub fn take(&mut self) -> (Vec<Mapped>, u64) {
        let (mut found, mut missed) = (Vec::new(), 0_u64);
        for ring in &mut self.0 {
            let bytes = ring.take();
            let mut rest = &*bytes;
            while let Some((kind, record)) = next_record(&mut rest) {
                match kind {
                    MMAP2 => found.extend(mapped(record)),
                    LOST => missed = missed.saturating_add(number(record, 16).unwrap_or(0)),
                    _ => {}
                }
            }
        }
        (found, missed)
    }
}

/// Opens the event of one processor that counts nothing and tells what is mapped as code.
fn event(processor: i32) -> io::Result<OwnedFd> {
    const SOFTWARE: u64 = 1;
    const DUMMY: u64 = 9;
    const SHORTEST: usize = 64;
    const MMAP: u64 = 1 << 8;
    const WITH_INODES: u64 = 1 << 23;
    const CLOSE_ON_EXEC: libc::c_ulong = 8;
    // Layout: type u32, size u32, config, period, sample type, read format, flags; each of the last five 8 bytes.
    let mut attributes = [0_u64; SHORTEST / 8];
    attributes[0] = SOFTWARE | (SHORTEST as u64) << 32;
    attributes[1] = DUMMY;
    attributes[5] = MMAP | WITH_INODES;
    // SAFETY: the attributes are as long as they say; the result is checked and owned by nobody else.
    unsafe {
        let fd = libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), -1, processor, -1, CLOSE_ON_EXEC);
        let fd = i32::try_from(fd).unwrap_or(-1);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

impl Ring {
    /// The bytes that were written since the last call.
    fn take(&mut self) -> Vec<u8> {
        let start = self.memory.as_mut_ptr();
        let length = (self.memory.len() - PAGE) as u64;
        // SAFETY: both lie in the first page, aligned; the kernel reads and writes them as whole words.
        let (head, tail) =
            unsafe { (AtomicU64::from_ptr(start.add(HEAD).cast()), AtomicU64::from_ptr(start.add(TAIL).cast())) };
        let (from, to) = (tail.load(Ordering::Relaxed), head.load(Ordering::Acquire));
        let taken = (from..to).step_by(8).flat_map(|at| {
            let at = usize::try_from(at % length).unwrap_or(0);
            // SAFETY: records are padded to whole words; below `head` the kernel has written them, and it writes there
            // again only when `tail` is beyond.
            unsafe { start.add(PAGE + at).cast::<[u8; 8]>().read_volatile() }
        });
        let taken = taken.collect();
        fence(Ordering::SeqCst);
        tail.store(to, Ordering::Release);
        taken
    }
}

/// The kind and all bytes of the record at the beginning of `bytes`, which then begins behind it.
fn next_record<'a>(bytes: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    // Layout: type u32, misc u16, size u16.
    let kind = bytes.get(..4)?.try_into().ok().map(u32::from_ne_bytes)?;
    let size = bytes.get(6..8)?.try_into().ok().map(u16::from_ne_bytes)?;
    let (record, rest) = bytes.split_at_checked(size.into()).filter(|(record, _)| record.len() >= 8)?;
    *bytes = rest;
    Some((kind, record))
}

/// What a record of a mapping tells; `None` where no file was mapped, or by nobody who has a number here.
fn mapped(record: &[u8]) -> Option<Mapped> {
    // Layout: header, pid u32, tid u32, address, length, offset, major u32, minor u32, inode, generation, protection
    // and flags u32, the name.
    let half = |at: usize| record.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let (process, major, minor, inode) = (half(8)?, half(40)?, half(44)?, number(record, 48)?);
    let name = record.get(72..)?;
    let name = name.get(..name.iter().position(|byte| *byte == 0)?)?;
    let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
    let file = (u64::from(major) << 32 | u64::from(minor), inode);
    let is_one = process != 0 && process != u32::MAX && inode != 0;
    is_one.then(|| Mapped { process, file, path: PathBuf::from(OsStr::from_bytes(name)) })
}

fn number(record: &[u8], at: usize) -> Option<u64> {
    record.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, words: &[u64], name: &[u8]) -> Vec<u8> {
        let size = u64::try_from(8 + words.len() * 8 + name.len()).unwrap();
        let head = u64::from(kind) | size << 48;
        let words = std::iter::once(head).chain(words.iter().copied());
        words.flat_map(u64::to_ne_bytes).chain(name.iter().copied()).collect()
    }

    #[test]
    fn records_are_taken_apart() {
        let words = [7, 0x1000, 0x2000, 0, 5 << 32 | 8, 4711, 0, 0];
        let one = record(MMAP2, &words, b"/lib/a b.so (deleted)\0\0\0");
        let all = [one.as_slice(), &record(4, &[1, 2], b""), &record(LOST, &[9, 3], b"")].concat();
        let mut rest = &*all;
        let (kind, bytes) = next_record(&mut rest).unwrap();
        let expected = Mapped { process: 7, file: (8 << 32 | 5, 4711), path: "/lib/a b.so".into() };
        assert_eq!((kind, mapped(bytes)), (MMAP2, Some(expected)));
        assert_eq!(next_record(&mut rest).map(|(kind, _)| kind), Some(4));
        let (kind, bytes) = next_record(&mut rest).unwrap();
        assert_eq!((kind, number(bytes, 16), rest), (LOST, Some(3), &[][..]));
        assert_eq!(next_record(&mut rest), None);
    }

    #[test]
    fn what_is_no_file_or_cut_off_is_passed_over() {
        assert_eq!(mapped(&record(MMAP2, &[7, 0, 0, 0, 0, 0, 0, 0], b"[vdso]\0\0")), None);
        assert_eq!(mapped(&record(MMAP2, &[0, 0, 0, 0, 1, 1, 0, 0], b"/x\0")), None);
        let whole = record(MMAP2, &[7, 0, 0, 0, 1, 1, 0, 0], b"/x\0");
        for length in 0..whole.len() {
            assert_eq!(mapped(&whole[..length]), None, "{length}");
        }
        assert_eq!(next_record(&mut &[0_u8; 16][..]), None, "a record without length ends it");
    }
}
