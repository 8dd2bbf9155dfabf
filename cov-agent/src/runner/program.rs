//! Which file a program's name means, as execvp(3) finds it.

use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// What `PATH` is taken to be where it is not set (`_CS_PATH` of glibc).
const DEFAULT_PATH: &str = "/bin:/usr/bin";
/// The kernel reads so much of a file to find out what it is (`BINPRM_BUF_SIZE`).
const HEAD: usize = 256;
/// Scripts may be interpreted by scripts; the kernel follows so many.
const MAX_INTERPRETERS: usize = 5;

/// Why a name is no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// A path that does not exist.
    #[error("{}: no such file", .0.display())]
    NoSuchFile(PathBuf),
    /// A name that no directory of `PATH` has.
    #[error("{}: not found in PATH; give its path, such as ./{}", .0.display(), .0.display())]
    NotInPath(PathBuf),
    /// A directory, a device.
    #[error("{}: is not a regular file and cannot be executed", .0.display())]
    NotAFile(PathBuf),
    /// No execute permission.
    #[error("{}: no permission to execute it; chmod +x it, or name its interpreter", .0.display())]
    NoPermission(PathBuf),
}

impl ProgramError {
    /// Whether there is no such program, as opposed to one that cannot be executed.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NoSuchFile(_) | Self::NotInPath(_))
    }
}

/// A program that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What to hand to execve(2).
    pub path: PathBuf,
    /// Its arguments, the name as it was given first.
    pub argv: Vec<OsString>,
    /// The file whose code will run: `path`, or the interpreter of a script.
    pub object: PathBuf,
}

impl Program {
    /// Finds the program that `command` (its name and its arguments) means under `search`, the value
    /// of `PATH`. As execvp(3) has it, a script without `#!` is one for `/bin/sh`.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be executed.
    pub fn find(command: &[OsString], search: Option<&OsStr>) -> Result<Self, ProgramError> {
        let name = command.first().map(OsString::as_os_str).unwrap_or_default();
        let path = search_path(name, search.unwrap_or(OsStr::new(DEFAULT_PATH)))?;
        let mut program = Self { object: path.clone(), path, argv: command.to_vec() };
        for _ in 0..MAX_INTERPRETERS {
            match head(&program.object) {
                Head::Binary => break,
                Head::Script(interpreter) => program.object = interpreter,
                Head::Text => {
                    let shell = PathBuf::from("/bin/sh");
                    let rest = program.argv.split_off(1.min(program.argv.len()));
                    program.argv = [shell.clone().into_os_string(), program.path.into_os_string()].into();
                    program.argv.extend(rest);
                    program.path = shell.clone();
                    program.object = shell;
                    break;
                }
            }
        }
        Ok(program)
    }
}

fn search_path(name: &OsStr, search: &OsStr) -> Result<PathBuf, ProgramError> {
    if name.is_empty() || name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return executable(&path).map(|()| path);
    }
    let mut denied = None;
    for directory in search.as_bytes().split(|byte| *byte == b':') {
        let directory = Path::new(OsStr::from_bytes(directory));
        // An empty element means the working directory: `join` then gives the bare name.
        let path = directory.join(name);
        match executable(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.is_not_found() => {}
            Err(error) => denied = denied.or(Some(error)),
        }
    }
    Err(denied.unwrap_or_else(|| ProgramError::NotInPath(name.into())))
}

fn executable(path: &Path) -> Result<(), ProgramError> {
    let Ok(metadata) = std::fs::metadata(path) else { return Err(ProgramError::NoSuchFile(path.into())) };
    if !metadata.is_file() {
        return Err(ProgramError::NotAFile(path.into()));
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).map_err(|_| ProgramError::NoPermission(path.into()))
}

/// What the first bytes of a file say.
enum Head {
    /// A format that the kernel may know, or a file that cannot be read.
    Binary,
    /// `#!` and this interpreter.
    Script(PathBuf),
    /// Neither: execve(2) refuses it with `ENOEXEC`.
    Text,
}

fn head(path: &Path) -> Head {
    let mut bytes = Vec::with_capacity(HEAD);
    let read = File::open(path).and_then(|f| f.take(HEAD as u64).read_to_end(&mut bytes));
    if read.is_err() || bytes.starts_with(b"\x7fELF") {
        return Head::Binary;
    }
    let Some(rest) = bytes.strip_prefix(b"#!") else {
        // A binary of another format (binfmt_misc) has bytes that no text has; the kernel decides.
        return if bytes.contains(&0) { Head::Binary } else { Head::Text };
    };
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let word = line.split(|byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty());
    word.map_or(Head::Text, |word| Head::Script(OsString::from_vec(word.to_vec()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn file(dir: &Path, name: &str, content: &[u8], mode: u32) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    }

    fn find(name: &OsStr, search: &str) -> Result<Program, ProgramError> {
        Program::find(&[name.into(), "-x".into()], Some(OsStr::new(search)))
    }

    #[test]
    fn names_are_searched_for_and_paths_are_not() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        file(a.path(), "one", b"\x7fELF", 0o644);
        let one = file(b.path(), "one", b"\x7fELF", 0o755);
        std::fs::create_dir(a.path().join("dir")).unwrap();
        file(a.path(), "plain", b"\x7fELF", 0o644);
        let search = format!("/nonexistent:{}:{}", a.path().display(), b.path().display());

        let found = find(OsStr::new("one"), &search).unwrap();
        assert_eq!((&found.path, &found.object), (&one, &one));
        assert_eq!(found.argv, ["one", "-x"]);
        assert_eq!(find(one.as_os_str(), "").unwrap().path, one);

        let error = |name: &str| find(OsStr::new(name), &search).unwrap_err();
        assert_eq!(error("two"), ProgramError::NotInPath("two".into()));
        assert_eq!(error("dir"), ProgramError::NotAFile(a.path().join("dir")));
        assert_eq!(error("plain"), ProgramError::NoPermission(a.path().join("plain")));
        assert_eq!(error("./two"), ProgramError::NoSuchFile("./two".into()));
        assert_eq!(error(""), ProgramError::NoSuchFile("".into()));
        assert!(error("two").is_not_found() && error("").is_not_found() && !error("dir").is_not_found());
    }

    #[test]
    fn scripts_run_in_their_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let outer = file(dir.path(), "outer", b"#! \t/usr/bin/env  -S x\n", 0o755);
        let found = find(outer.as_os_str(), "").unwrap();
        assert_eq!((found.path, found.object), (outer.clone(), "/usr/bin/env".into()));
        assert_eq!(found.argv, [outer.as_os_str(), OsStr::new("-x")]);

        let bare = file(dir.path(), "bare", b"echo hello\n", 0o755);
        let found = find(bare.as_os_str(), "").unwrap();
        assert_eq!((found.path, found.object), ("/bin/sh".into(), "/bin/sh".into()));
        assert_eq!(found.argv, [OsStr::new("/bin/sh"), bare.as_os_str(), OsStr::new("-x")]);

        let around = dir.path().join("around");
        file(dir.path(), "around", format!("#!{}\n", around.display()).as_bytes(), 0o755);
        assert_eq!(find(around.as_os_str(), "").unwrap().object, around);
    }
}
