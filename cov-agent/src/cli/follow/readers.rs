//! Programs that read an armed file: in a private mapping of it they would see the breakpoints.

use crate::process::gate::Key;
use crate::process::{is_alive, still_uses};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Programs that read files by read(2), which gives the true bytes, or map only parts without code; and the agent, which
/// maps files shared. They need nobody to disarm. Not debuggers: the kernel takes their breakpoints for probes.
const HARMLESS: [&str; 34] = [
    "b2sum",
    "cat",
    "cksum",
    "cmp",
    "comm",
    "cov-agent",
    "cp",
    "cut",
    "dd",
    "diff",
    "file",
    "head",
    "install",
    "ld",
    "ld.bfd",
    "ls",
    "md5sum",
    "mv",
    "nl",
    "od",
    "readelf",
    "rsync",
    "sha1sum",
    "sha224sum",
    "sha256sum",
    "sha384sum",
    "sha512sum",
    "sort",
    "sum",
    "tail",
    "tar",
    "tee",
    "uniq",
    "wc",
];

/// A reader has leave to open the file, but has not got it yet.
const GRACE: Duration = Duration::from_millis(50);

/// Whether this program never sees a breakpoint in a file that it reads.
pub(super) fn is_harmless(program: &Path) -> bool {
    program.file_name().and_then(OsStr::to_str).is_some_and(|name| HARMLESS.binary_search(&name).is_ok())
}

/// A process for which a file was disarmed.
struct Reader {
    process: u32,
    program: PathBuf,
    key: Key,
    path: PathBuf,
    file: File,
    /// Whether counted processes ran the file, so that it is to be armed again as soon as that can be.
    in_use: bool,
    since: Instant,
}

/// A file that may be armed again.
pub(super) struct Free {
    /// Which one.
    pub key: Key,
    /// Its path.
    pub path: PathBuf,
    /// The file.
    pub file: File,
}

/// Those that read now.
#[derive(Default)]
pub(super) struct Readers(Vec<Reader>);

impl Readers {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes that a file is not armed while `process` reads it. No other's reading ends its wait.
    pub(super) fn add(&mut self, key: Key, process: u32, program: PathBuf, object: (PathBuf, File), in_use: bool) {
        let (path, file) = object;
        self.0.push(Reader { process, program, key, path, file, in_use, since: Instant::now() });
    }

    /// The program that reads a file now, if one does.
    pub(super) fn of(&self, key: Key) -> Option<(&Path, u32)> {
        self.0.iter().find(|reader| reader.key == key).map(|reader| (&*reader.program, reader.process))
    }

    /// Forgets those that have done reading; the files that counted processes run and that nobody reads any more.
    pub(super) fn done(&mut self) -> Vec<Free> {
        let done = |reader: &mut Reader| {
            let inode = reader.file.metadata().map_or(0, |metadata| metadata.ino());
            let opening = reader.since.elapsed() < GRACE && is_alive(reader.process);
            !opening && !still_uses(reader.process, inode)
        };
        let ended: Vec<Reader> = self.0.extract_if(.., done).collect();
        let mut free: Vec<Free> = Vec::new();
        for Reader { key, path, file, in_use, .. } in ended {
            if let Some(other) = self.0.iter_mut().find(|reader| reader.key == key) {
                other.in_use |= in_use;
            } else if in_use && !free.iter().any(|one| one.key == key) {
                free.push(Free { key, path, file });
            }
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(HARMLESS.is_sorted());
        assert!(is_harmless(Path::new("/usr/bin/cat")) && !is_harmless(Path::new("/usr/bin/llvm-strip")));
    }

    #[test]
    fn a_file_is_free_when_its_last_reader_has_done() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        std::fs::write(&path, "x").unwrap();
        let open = || File::open(&path).unwrap();
        let key = Key::of(open()).unwrap();
        let mut readers = Readers::default();
        // This process has the file open as long as it is a reader here; the other is no process.
        readers.add(key, std::process::id(), "a".into(), (path.clone(), open()), false);
        readers.add(key, u32::MAX, "b".into(), (path.clone(), open()), true);
        assert!(readers.done().is_empty());
        assert_eq!(readers.of(key), Some((Path::new("a"), std::process::id())));
        assert!(readers.done().is_empty(), "the other one still reads");
        readers.0[0].process = u32::MAX;
        let free = readers.done();
        assert_eq!((free.len(), readers.is_empty()), (1, true), "it was in use");
        assert_eq!((free[0].key, &free[0].path), (key, &path));
        readers.add(key, u32::MAX, "b".into(), (path.clone(), open()), false);
        assert!(readers.done().is_empty() && readers.is_empty(), "nobody ran it");
    }
}
