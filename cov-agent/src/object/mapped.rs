//! The bytes of a file, mapped.

use super::ObjectError;
use memmap2::Mmap;
use std::fs::File;

/// A mapped file.
pub(super) struct Mapped(Mmap);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Maps a regular file, shared: a private mapping would show the breakpoints of armed probes.
pub(super) fn map(file: &File) -> Result<Mapped, ObjectError> {
    if !file.metadata()?.is_file() {
        return Err(ObjectError::NotRegular);
    }
    #[expect(unsafe_code, reason = "mapping a file")]
    // SAFETY: the mapping is read-only; see the module's documentation for a file that changes.
    let map = unsafe { Mmap::map(file) }?;
    Ok(Mapped(map))
}
