//! The bytes of a file, mapped into memory and shared with the page cache.
//!
//! Shared, because a private mapping shows the breakpoints of armed probes instead of the file.
//!
//! Somebody else may cut the file short while it is mapped, and touching a page past its end raises
//! SIGBUS. As systemd does for its journals, a handler puts a page of zeros there instead, and the
//! mapping remembers it: parsing then ends in an error or in a check of [`Mapped::changed`], never in
//! the death of the agent. Signals that concern none of our mappings go the way they went before.
//!
//! Bytes can also change in place while they are read. Lengths are those of the slice and do not
//! change, so that everything stays in bounds; what was read twice may differ, which `changed` tells
//! afterwards. Text is copied before it is checked (`elf::text`).
#![expect(unsafe_code, reason = "mapping a file, and surviving when it is cut short")]

use super::ObjectError;
use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

/// A mapped file.
pub(super) struct Mapped {
    map: Mmap,
    guard: &'static Guard,
    file: File,
    stamp: Stamp,
}

/// What tells that a file was written to: its length and time of modification.
type Stamp = (u64, i64, i64);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.guard.release(); // before `map` is dropped, which unmaps it
    }
}

impl Mapped {
    /// Maps a regular file.
    ///
    /// # Errors
    /// If it is no regular file, cannot be mapped, or thousands are mapped already.
    pub(super) fn new(file: File) -> Result<Self, ObjectError> {
        if !file.metadata()?.is_file() {
            return Err(ObjectError::NotRegular);
        }
        let stamp = stamp(&file)?;
        HANDLER.as_ref().map_err(|&code| io::Error::from_raw_os_error(code))?;
        // SAFETY: the mapping is read-only and belongs to this value, which lends it out as a slice.
        // That others may write to the file is discussed above.
        let map = unsafe { Mmap::map(&file) }?;
        let guard = Guard::take(map.as_ptr() as usize, map.len())
            .ok_or(ObjectError::TooBig { what: "files mapped at once", limit: GUARDS.len() as u64 })?;
        Ok(Self { map, guard, file, stamp })
    }

    /// Whether the file was cut short or written to since it was mapped.
    pub(super) fn changed(&self) -> bool {
        self.guard.cut.load(Ordering::Acquire) || stamp(&self.file).ok() != Some(self.stamp)
    }
}

fn stamp(file: &File) -> io::Result<Stamp> {
    let data = file.metadata()?;
    Ok((data.len(), data.mtime(), data.mtime_nsec()))
}

/// One mapping that the handler knows. `start` is 0 where there is none.
struct Guard {
    start: AtomicUsize,
    len: AtomicUsize,
    cut: AtomicBool,
}

static GUARDS: [Guard; 4096] =
    [const { Guard { start: AtomicUsize::new(0), len: AtomicUsize::new(0), cut: AtomicBool::new(false) } }; 4096];
/// Held by who takes a guard; the handler takes none and needs no lock.
static TAKING: Mutex<()> = Mutex::new(());

impl Guard {
    fn take(start: usize, len: usize) -> Option<&'static Self> {
        let _lock = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = GUARDS.iter().find(|g| g.start.load(Ordering::Acquire) == 0)?;
        guard.cut.store(false, Ordering::Release);
        guard.len.store(len, Ordering::Release);
        guard.start.store(start, Ordering::Release);
        Some(guard)
    }

    fn release(&self) {
        self.start.store(0, Ordering::Release);
    }

    fn covers(&self, address: usize) -> bool {
        let start = self.start.load(Ordering::Acquire);
        let pages = self.len.load(Ordering::Acquire).next_multiple_of(PAGE);
        start != 0 && address.checked_sub(start).is_some_and(|offset| offset < pages)
    }
}

/// The size of a page on x86-64.
const PAGE: usize = 4096;
/// What SIGBUS did before.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
/// Whether the handler could be installed, once; else the error's number.
static HANDLER: LazyLock<Result<(), i32>> = LazyLock::new(|| {
    let failed = |()| io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    // SAFETY: a zeroed `sigaction` is a valid one: default action, empty mask.
    let mut before: Box<libc::sigaction> = Box::new(unsafe { std::mem::zeroed() });
    // SAFETY: only the old action is asked for, and there is room for it.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut *before) } != 0 {
        return Err(failed(()));
    }
    let mut action = *before;
    action.sa_sigaction = handle as *const () as usize;
    // On the alternate stack, where there is one: Rust's own handler of overflown stacks needs it.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    BEFORE.store(Box::into_raw(before), Ordering::Release);
    // SAFETY: `handle` has the type that SA_SIGINFO asks for, and does only what a handler may.
    if unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) } != 0 {
        return Err(failed(()));
    }
    Ok(())
});

/// Runs in the thread that touched the page. Calls nothing but system calls; touches only atomics.
extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t`.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    if code == libc::BUS_ADRERR
        && let Some(guard) = GUARDS.iter().find(|g| g.covers(address))
    {
        guard.cut.store(true, Ordering::Release);
        let page = (address & !(PAGE - 1)) as *mut libc::c_void;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: the page belongs to a mapping of ours that is still there: the thread that was
        // interrupted is reading it. It stays readable, which is all that anybody does with it.
        let placed = unsafe { libc::mmap(page, PAGE, libc::PROT_READ, flags, -1, 0) };
        if placed != libc::MAP_FAILED {
            return;
        }
    }
    // Not ours: back to what was before. A fault repeats itself when this returns; a signal that
    // somebody sent is sent once more.
    // SAFETY: `BEFORE` was filled before this handler was installed, and is never freed.
    unsafe {
        libc::sigaction(signal, BEFORE.load(Ordering::Acquire), ptr::null_mut());
        if code <= 0 {
            libc::raise(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_file_that_is_cut_short_reads_as_zeros_and_is_told() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 3 * PAGE]).unwrap();
        let mapped = Mapped::new(file.try_clone().unwrap()).unwrap();
        assert_eq!(mapped.as_ref()[2 * PAGE], 7);
        assert!(!mapped.changed());
        file.set_len(PAGE as u64).unwrap();
        assert_eq!(mapped.as_ref().iter().filter(|&&b| b == 7).count(), PAGE);
        assert!(mapped.guard.cut.load(Ordering::Acquire));
        assert!(mapped.changed());
    }

    #[test]
    fn a_file_that_is_written_to_is_told() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"old").unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        let mapped = Mapped::new(file.try_clone().unwrap()).unwrap();
        assert!(!mapped.changed());
        file.write_all(b"new").unwrap();
        assert!(mapped.changed());
    }

    #[test]
    fn only_regular_files_are_mapped() {
        for path in ["/dev/null", "/"] {
            assert!(matches!(Mapped::new(File::open(path).unwrap()), Err(ObjectError::NotRegular)), "{path}");
        }
        assert_eq!(Mapped::new(tempfile::tempfile().unwrap()).unwrap().as_ref(), b"");
    }

    #[test]
    fn guards_are_given_back() {
        let before = GUARDS.iter().filter(|g| g.start.load(Ordering::Acquire) != 0).count();
        for _ in 0..GUARDS.len() + 1 {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(b"x").unwrap();
            assert_eq!(Mapped::new(file).unwrap().as_ref(), b"x");
        }
        assert!(before < GUARDS.len());
    }
}
