//! The file that a process counts in; `monitor.py` writes it.
//!
//! Little-endian. A header of 64-bit words: magic, bytes of records that are valid, flags. From byte [`RECORDS`] on,
//! records: a kind, 32-bit numbers and, behind a length, bytes.
//!
//! | kind | content |
//! |---|---|
//! | `P` | length, the version of Python, a null byte, the path of the interpreter |
//! | `S` | length, the number of the process that was started, a space, and when, in nanoseconds since the machine was |
//! | `X` | length, the name of a context; contexts are numbered from 1 in this order, 0 is the process's own |
//! | `F` | length, the path of a source file; files are numbered from 0 in this order |
//! | `C` | number of a file, first counter, first line, number of lines, context: each line has a counter |
//!
//! From byte [`COUNTERS`] on, 64-bit counters.

use super::hits::Hits;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

const MAGIC: &[u8; 8] = b"COVPY\0\0\x02";
const RECORDS: u64 = 4 << 10;
const COUNTERS: u64 = RECORDS + (64 << 20);
const MAX_COUNTERS: u64 = (1 << 30) / 8;

/// No counter misses a hit.
const EXACT: u64 = 1;
/// Code was left out, since there was no room for more counters.
const FULL: u64 = 2;
/// A forked process adds to the same counters, and both may lose hits.
const SHARED: u64 = 4;
/// Tests in several threads were counted in the same context.
const MIXED: u64 = 8;

/// What one process left behind.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// The version of Python.
    pub(super) version: String,
    /// The interpreter, as Python itself names it.
    pub(super) executable: PathBuf,
    /// The process that was started, and when, in nanoseconds since the machine was; processes that it forks have the
    /// same.
    pub(super) started: (u32, u64),
    /// What it counted, by context; the process's own has no name.
    pub(super) hits: BTreeMap<Vec<u8>, Hits>,
    /// Code was left out.
    pub(super) full: bool,
    /// Tests share contexts.
    pub(super) mixed: bool,
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
        let mut store = Self { full: flags & FULL != 0, mixed: flags & MIXED != 0, ..Self::default() };
        let exact = flags & EXACT != 0 && flags & SHARED == 0;
        let (mut paths, mut contexts) = (Vec::new(), vec![Vec::new()]);
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
                b"S" => store.started = started(fields.text()?).ok_or_else(damaged)?,
                b"X" => contexts.push(fields.text()?.to_vec()),
                b"F" => paths.push(PathBuf::from(OsStr::from_bytes(fields.text()?))),
                b"C" => {
                    let path = paths.get(fields.number()? as usize).ok_or_else(damaged)?;
                    let (slot, first, count) = (fields.number()?, fields.number()?, fields.number()?);
                    let context = contexts.get(fields.number()? as usize).ok_or_else(damaged)?;
                    if u64::from(slot) + u64::from(count) > MAX_COUNTERS {
                        return Err(damaged());
                    }
                    let mut counters = vec![0; count as usize * 8];
                    file.read_exact_at(&mut counters, COUNTERS + u64::from(slot) * 8)?;
                    let counters = counters.as_chunks().0.iter().map(|counter| u64::from_le_bytes(*counter));
                    let file = store.hits.entry(context.clone()).or_default().file(path);
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

/// The number of a process and a time.
fn started(text: &[u8]) -> Option<(u32, u64)> {
    let (process, time) = str::from_utf8(text).ok()?.split_once(' ')?;
    Some((process.parse().ok()?, time.parse().ok()?))
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
            record(b'S', &[4], b"77 5"),
            record(b'C', &[0, 0, 10, 3, 0], b""),
            record(b'C', &[0, 3, 12, 1, 0], b""),
            record(b'X', &[4], b"test"),
            record(b'C', &[0, 4, 12, 1, 1], b""),
        ];
        let store = Store::read(&file(EXACT, &records, &[4, 0, 5, 6, 9])).unwrap();
        assert_eq!((store.version.as_str(), store.executable.as_path(), store.full), ("3.13.0", Path::new("p"), false));
        assert_eq!((store.started, store.mixed), ((77, 5), false));
        let all = |store: &Store| -> Vec<(String, PathBuf, (u32, u64, bool))> {
            let mut all = Vec::new();
            for (context, hits) in &store.hits {
                let context = String::from_utf8_lossy(context).into_owned();
                for (path, file) in hits.iter() {
                    all.extend(file.iter().map(|hit| (context.clone(), path.to_path_buf(), hit)));
                }
            }
            all
        };
        let hit = |context: &str, hit| (context.to_owned(), PathBuf::from("/a.py"), hit);
        assert_eq!(all(&store), [hit("", (10, 4, true)), hit("", (12, 11, true)), hit("test", (12, 9, true))]);
        let shared = Store::read(&file(EXACT | SHARED | FULL | MIXED, &records, &[4, 0, 5, 6, 9])).unwrap();
        assert!(shared.full && shared.mixed && all(&shared).iter().all(|(_, _, (.., exact))| !exact));
    }

    #[test]
    fn damaged_files_are_refused() {
        let bad = [
            record(b'X', &[], b""),
            record(b'F', &[9], b"/a.py"),
            record(b'C', &[0, 0, 1, 1, 0], b""),
            record(b'S', &[3], b"x 5"),
            [record(b'F', &[1], b"/"), record(b'C', &[0, 0, 1, 1, 1], b"")].concat(),
            [record(b'F', &[1], b"/"), record(b'C', &[0, u32::MAX, 1, u32::MAX, 0], b"")].concat(),
            [record(b'F', &[1], b"/"), record(b'C', &[0, 0, 1, 1000, 0], b"")].concat(),
        ];
        for records in bad {
            assert!(Store::read(&file(EXACT, &[records], &[0])).is_err());
        }
        assert!(Store::read(&tempfile::tempfile().unwrap()).is_err());
    }
}
