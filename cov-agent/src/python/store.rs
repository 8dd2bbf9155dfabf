//! The file that a process counts in; `monitor.py` writes it.
//!
//! Little-endian. A header of 64-bit words: magic, bytes of records that are valid, flags. From byte [`RECORDS`] on,
//! records: a kind, 32-bit numbers and, behind a length, bytes.
//!
//! | kind | content |
//! |---|---|
//! | `P` | length, the version of Python, a null byte, the path of the interpreter |
//! | `F` | length, the path of a source file; files are numbered from 0 in this order |
//! | `C` | number of a file, first counter, first line, number of lines: each line has a counter |
//!
//! From byte [`COUNTERS`] on, 64-bit counters.

use super::hits::Hits;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

const MAGIC: &[u8; 8] = b"COVPY\0\0\x01";
const RECORDS: u64 = 4 << 10;
const COUNTERS: u64 = RECORDS + (8 << 20);
const MAX_COUNTERS: u64 = (32 << 20) / 8;

/// No counter misses a hit.
const EXACT: u64 = 1;
/// Code was left out, since there was no room for more counters.
const FULL: u64 = 2;
/// A forked process adds to the same counters, and both may lose hits.
const SHARED: u64 = 4;

/// What one process left behind.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// The version of Python.
    pub(super) version: String,
    /// The interpreter, as Python itself names it.
    pub(super) executable: PathBuf,
    /// What it counted.
    pub(super) hits: Hits,
    /// Code was left out.
    pub(super) full: bool,
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "damaged")
}

/// Takes fields off the front of bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn number(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.bytes(4)?.try_into().map_err(|_| damaged())?))
    }

    fn text(&mut self) -> io::Result<&'a [u8]> {
        let length = self.number()?;
        self.bytes(length as usize)
    }
}

impl Store {
    /// Reads a process's file, which may still be written to.
    ///
    /// # Errors
    /// It cannot be read, or is no such file.
    pub(super) fn read(file: &File) -> io::Result<Self> {
        let mut header = [0; 24];
        file.read_exact_at(&mut header, 0)?;
        let words: Vec<u64> = header.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let [_, used, flags] = words[..] else { return Err(damaged()) };
        if !header.starts_with(MAGIC) || used > COUNTERS - RECORDS {
            return Err(damaged());
        }
        let mut records = vec![0; usize::try_from(used).map_err(|_| damaged())?];
        file.read_exact_at(&mut records, RECORDS)?;
        let mut store = Self { full: flags & FULL != 0, ..Self::default() };
        let exact = flags & EXACT != 0 && flags & SHARED == 0;
        let mut paths = Vec::new();
        let mut fields = Fields(&records);
        while !fields.0.is_empty() {
            match fields.bytes(1)? {
                b"P" => {
                    let text = fields.text()?;
                    let end = text.iter().position(|byte| *byte == 0).ok_or_else(damaged)?;
                    let (version, executable) = text.split_at(end);
                    store.version = String::from_utf8_lossy(version).into_owned();
                    store.executable = OsStr::from_bytes(executable.get(1..).unwrap_or_default()).into();
                }
                b"F" => paths.push(PathBuf::from(OsStr::from_bytes(fields.text()?))),
                b"C" => {
                    let path = paths.get(fields.number()? as usize).ok_or_else(damaged)?;
                    let (slot, first, count) = (fields.number()?, fields.number()?, fields.number()?);
                    if u64::from(slot) + u64::from(count) > MAX_COUNTERS {
                        return Err(damaged());
                    }
                    let mut counters = vec![0; count as usize * 8];
                    file.read_exact_at(&mut counters, COUNTERS + u64::from(slot) * 8)?;
                    let counters = counters.as_chunks().0.iter().map(|counter| u64::from_le_bytes(*counter));
                    let file = store.hits.file(path);
                    for (line, counter) in (first..).zip(counters).filter(|(_, counter)| *counter > 0) {
                        file.add(line, counter, exact);
                    }
                }
                _ => return Err(damaged()),
            }
        }
        Ok(store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn record(kind: u8, numbers: &[u32], text: &[u8]) -> Vec<u8> {
        let numbers = numbers.iter().flat_map(|n| n.to_le_bytes());
        std::iter::once(kind).chain(numbers).chain(text.iter().copied()).collect()
    }

    fn file(flags: u64, records: &[Vec<u8>], counters: &[u64]) -> File {
        let file = tempfile::tempfile().unwrap();
        let records = records.concat();
        let header = [*MAGIC, (records.len() as u64).to_le_bytes(), flags.to_le_bytes()].concat();
        file.write_all_at(&header, 0).unwrap();
        file.write_all_at(&records, RECORDS).unwrap();
        let counters: Vec<u8> = counters.iter().flat_map(|c| c.to_le_bytes()).collect();
        file.write_all_at(&counters, COUNTERS).unwrap();
        file
    }

    #[test]
    fn two_functions_of_one_file_add_up() {
        let records = [
            record(b'P', &[8], b"3.13.0\0p"),
            record(b'F', &[5], b"/a.py"),
            record(b'C', &[0, 0, 10, 3], b""),
            record(b'C', &[0, 3, 12, 1], b""),
        ];
        let store = Store::read(&file(EXACT, &records, &[4, 0, 5, 6])).unwrap();
        assert_eq!((store.version.as_str(), store.executable.as_path(), store.full), ("3.13.0", Path::new("p"), false));
        let lines: Vec<_> =
            store.hits.iter().flat_map(|(path, file)| file.iter().map(move |hit| (path, hit))).collect();
        let path = Path::new("/a.py");
        assert_eq!(lines, [(path, (10, 4, true)), (path, (12, 11, true))]);
        let shared = Store::read(&file(EXACT | SHARED | FULL, &records, &[4, 0, 5, 6])).unwrap();
        assert!(shared.full && shared.hits.iter().all(|(_, file)| file.iter().all(|(.., exact)| !exact)));
    }

    #[test]
    fn damaged_files_are_refused() {
        let bad = [
            record(b'X', &[], b""),
            record(b'F', &[9], b"/a.py"),
            record(b'C', &[0, 0, 1, 1], b""),
            [record(b'F', &[1], b"/"), record(b'C', &[0, u32::MAX, 1, u32::MAX], b"")].concat(),
            [record(b'F', &[1], b"/"), record(b'C', &[0, 0, 1, 1000], b"")].concat(),
        ];
        for records in bad {
            assert!(Store::read(&file(EXACT, &[records], &[0])).is_err());
        }
        assert!(Store::read(&tempfile::tempfile().unwrap()).is_err());
    }
}
