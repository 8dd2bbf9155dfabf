//! Which file a command names, as execvp(3) finds it.

use super::{Identity, LaunchError};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Where execvp looks if PATH is not set.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// How much of a script's first line the kernel reads (`BINPRM_BUF_SIZE`).
const FIRST_LINE: u64 = 256;

/// The file that a command names.
#[derive(Debug)]
pub struct Executable {
    /// The path it is executed by.
    pub path: PathBuf,
    /// The file, opened before anything runs: what is probed.
    pub file: File,
    /// What its first line names after `#!`, where it is a script.
    pub interpreter: Option<PathBuf>,
    /// Whether its first line is text: a shell may run it where the kernel does not know it.
    pub(super) text: bool,
}

impl Executable {
    /// Finds the file: as it is if `program` has a slash, else in the directories of PATH.
    /// Executable is what `identity` may execute.
    pub(super) fn find(program: &OsStr, identity: &Identity) -> Result<Self, LaunchError> {
        let found = identity
            .with_rights(|| search(program, std::env::var_os("PATH").as_deref()))
            .map_err(|source| LaunchError::System { doing: "looking for the program", source })?;
        let path = match found {
            Ok(path) => path,
            Err(Errno::ENOENT) => return Err(LaunchError::NotFound { program: program.to_owned() }),
            Err(errno) => return Err(not_executable(program, errno.into())),
        };
        // With the agent's own rights: a program may be executable and not readable.
        let file = File::open(&path).map_err(|source| not_executable(program, source))?;
        let line = first_line(&file).map_err(|source| not_executable(program, source))?;
        Ok(Self { path, file, interpreter: interpreter(&line), text: !line.contains(&0) })
    }
}

fn not_executable(program: &OsStr, source: io::Error) -> LaunchError {
    LaunchError::NotExecutable { program: program.to_owned(), source }
}

/// The first candidate that can be executed. Like execvp it goes on where one cannot, and says that
/// it saw it if there is no other.
fn search(program: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, Errno> {
    if program.is_empty() {
        return Err(Errno::ENOENT);
    }
    if program.as_bytes().contains(&b'/') {
        return executable(Path::new(program)).map(|()| program.into());
    }
    let mut result = Errno::ENOENT;
    for dir in std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH))) {
        // An empty entry is the working directory.
        let candidate = if dir.as_os_str().is_empty() { Path::new(".").join(program) } else { dir.join(program) };
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES) => result = Errno::EACCES,
            Err(_) => {}
        }
    }
    Err(result)
}

fn executable(path: &Path) -> Result<(), Errno> {
    let error = |error: io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    if std::fs::metadata(path).map_err(error)?.is_file() {
        faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS)
    } else {
        Err(Errno::EACCES)
    }
}

/// The first line, as far as the kernel reads it.
fn first_line(mut file: &File) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.take(FIRST_LINE).read_to_end(&mut start)?;
    io::Seek::rewind(&mut file)?;
    start.truncate(start.iter().position(|&byte| byte == b'\n').unwrap_or(start.len()));
    Ok(start)
}

/// What a script's first line names.
fn interpreter(line: &[u8]) -> Option<PathBuf> {
    let mut words = line.strip_prefix(b"#!")?.split(|byte| b" \t".contains(byte));
    let word = words.find(|word| !word.is_empty())?;
    Some(OsString::from_vec(word.to_vec()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn directory(files: &[(&str, u32)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in files {
            let path = dir.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
        }
        dir
    }

    #[test]
    fn the_first_executable_in_path_is_taken() {
        let first = directory(&[("only-data", 0o644), ("both", 0o644)]);
        let second = directory(&[("both", 0o755)]);
        std::fs::create_dir(first.path().join("dir")).unwrap();
        let path = std::env::join_paths(["/nonexistent".as_ref(), first.path(), second.path()]).unwrap();
        let find = |name: &str| search(OsStr::new(name), Some(&path));
        assert_eq!(find("both"), Ok(second.path().join("both")));
        assert_eq!(find("only-data"), Err(Errno::EACCES));
        assert_eq!(find("dir"), Err(Errno::EACCES));
        assert_eq!(find("nothing"), Err(Errno::ENOENT));
        assert_eq!(find(""), Err(Errno::ENOENT));
        assert_eq!(find("./both"), Err(Errno::ENOENT));
        assert_eq!(
            search(OsStr::new("true"), None).map(|path| path.file_name().unwrap().to_owned()),
            Ok("true".into())
        );
    }

    #[test]
    fn an_interpreter_is_the_first_word() {
        let read = |text: &str| {
            let mut file = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut file, text.as_bytes()).unwrap();
            io::Seek::rewind(&mut file).unwrap();
            interpreter(&first_line(&file).unwrap())
        };
        assert_eq!(read("#! /usr/bin/env python3\n"), Some("/usr/bin/env".into()));
        assert_eq!(read("#!/bin/sh"), Some("/bin/sh".into()));
        assert_eq!(read("#!\n/bin/sh"), None);
        assert_eq!(read("\x7fELF"), None);
    }
}
