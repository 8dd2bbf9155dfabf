//! The arguments and the environment of a program that is not running yet: its process waits in execve(2), and has them
//! in its memory.

use super::opening::{is_loader, waiting_call};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// The x86-64 numbers of execve and execveat.
const EXECVE: &str = "59";
const EXECVEAT: &str = "322";
/// More words than this, or longer ones, are not read.
const MAX_WORDS: usize = 4096;
const MAX_WORD: usize = 1 << 17;

/// What a program will be given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecArguments {
    /// The file as the call names it: for a script that, not its interpreter.
    pub file: PathBuf,
    /// Its arguments; the first is its name.
    pub words: Vec<OsString>,
    /// Its environment, as `NAME=VALUE`.
    pub environment: Vec<OsString>,
    /// Where relative paths begin, in the agent's view.
    pub directory: PathBuf,
}

/// What process `pid` executes, while it waits in the call; `None` if it waits in another one, or is gone.
#[must_use]
pub fn exec_arguments(pid: u32) -> Option<ExecArguments> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let memory = File::open(process.join("mem")).ok()?;
    let directory = fs::read_link(process.join("cwd")).ok()?;
    let [file, words, environment] = waiting_call(pid, pointers)?;
    let [words, environment] = [words, environment].map(|at| vector(&memory, at).ok());
    let file = PathBuf::from(string(&memory, file).ok()?);
    Some(ExecArguments { file, words: words?, environment: environment?, directory })
}

impl ExecArguments {
    /// The value of an environment variable; empty if it is not set.
    #[must_use]
    pub fn variable(&self, name: &str) -> &[u8] {
        let value =
            |word: &'_ OsString| word.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=").map(<[u8]>::len);
        let found = self.environment.iter().find_map(|word| value(word).map(|length| (word, length)));
        found.and_then(|(word, length)| word.as_bytes().get(word.len() - length..)).unwrap_or_default()
    }

    /// Whether it is a dynamic loader that is executed, by hand.
    #[must_use]
    pub fn is_loader(&self) -> bool {
        is_loader(&self.file)
    }

    /// The program that a dynamic loader is asked to run (ld.so(8)).
    #[must_use]
    pub fn given_to_loader(&self) -> Option<PathBuf> {
        const WITH_VALUE: [&str; 6] =
            ["--library-path", "--inhibit-rpath", "--audit", "--argv0", "--preload", "--glibc-hwcaps-mask"];
        if !self.is_loader() {
            return None;
        }
        let mut words = self.words.iter().skip(1);
        while let Some(word) = words.next() {
            if WITH_VALUE.iter().any(|option| word == OsStr::new(option)) {
                words.next();
            } else if !word.as_bytes().starts_with(b"--") {
                return Some(self.directory.join(word));
            }
        }
        None
    }
}

/// Where the file's name, the arguments and the environment lie, by what proc_pid_syscall(5) says.
fn pointers(text: &str) -> Option<[u64; 3]> {
    let mut words = text.split_whitespace();
    let call = words.next()?;
    let mut pointer = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    if call == EXECVEAT {
        let _directory = pointer()?;
    } else if call != EXECVE {
        return None;
    }
    Some([pointer()?, pointer()?, pointer()?])
}

/// The strings that the array at `address` points to, up to the null at its end.
fn vector(memory: &File, mut address: u64) -> io::Result<Vec<OsString>> {
    let mut words = Vec::new();
    let mut bytes = [0; 8];
    while address != 0 && words.len() < MAX_WORDS {
        memory.read_exact_at(&mut bytes, address)?;
        let word = u64::from_ne_bytes(bytes);
        if word == 0 {
            break;
        }
        words.push(string(memory, word)?);
        address += 8;
    }
    Ok(words)
}

/// The string at `address`, up to its end; a part of it where it is too long.
fn string(memory: &File, address: u64) -> io::Result<OsString> {
    const PAGE: u64 = 4096;
    let mut all = Vec::new();
    let mut page = [0; 4096];
    while all.len() < MAX_WORD {
        let at = address + all.len() as u64;
        // Never beyond the page: the next one may not be there.
        let rest = usize::try_from(PAGE - at % PAGE).unwrap_or(0);
        let part = page.get_mut(..rest).unwrap_or_default();
        let read = memory.read_at(part, at)?;
        let part = part.get(..read).unwrap_or_default();
        match part.iter().position(|&byte| byte == 0) {
            Some(end) => {
                all.extend(part.iter().take(end));
                break;
            }
            None if read == 0 => break,
            None => all.extend(part),
        }
    }
    Ok(OsString::from_vec(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    #[test]
    fn words_are_read_out_of_memory() {
        let long = CString::new(vec![b'x'; 10_000]).unwrap();
        let short = CString::new("a b").unwrap();
        let pointers = [short.as_ptr() as u64, long.as_ptr() as u64, 0];
        let memory = File::open("/proc/self/mem").unwrap();
        let words = vector(&memory, pointers.as_ptr() as u64).unwrap();
        assert_eq!(words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>(), [short.as_bytes(), long.as_bytes()]);
        assert!(vector(&memory, 8).is_err());
        assert_eq!(vector(&memory, 0).unwrap(), Vec::<OsString>::new());
    }

    #[test]
    fn a_call_is_recognised() {
        assert_eq!(pointers("59 0x1 0x20 0x300 0x0 0x0 0x0 0x7ffc 0x7f00"), Some([0x1, 0x20, 0x300]));
        assert_eq!(pointers("322 0x5 0x1 0x20 0x300 0x0 0x0 0x7ffc 0x7f00"), Some([0x1, 0x20, 0x300]));
        for text in ["257 0x1 0x2 0x3 0x0 0x0 0x0 0x7ffc 0x7f00", "running", "-1 0x7ffc 0x7f00", ""] {
            assert_eq!(pointers(text), None, "{text}");
        }
    }

    #[test]
    fn the_loaders_program_is_found_behind_its_options() {
        let words = |file: &str, words: &[&str]| ExecArguments {
            file: file.into(),
            words: words.iter().map(OsString::from).collect(),
            environment: vec!["LD_PRELOADED=no".into(), "LD_PRELOAD=a.so".into()],
            directory: "/w".into(),
        };
        let given = |list: &[&str]| words("/lib64/ld-linux-x86-64.so.2", list).given_to_loader();
        assert_eq!(given(&["ld.so", "./prog", "--x"]), Some("/w/./prog".into()));
        assert_eq!(given(&["ld.so", "--library-path", "/l", "--list", "/bin/prog"]), Some("/bin/prog".into()));
        assert_eq!(given(&["ld.so", "--version"]), None);
        assert_eq!(words("/bin/cat", &["x", "prog"]).given_to_loader(), None);
        assert_eq!(words("", &[]).variable("LD_PRELOAD"), b"a.so");
        assert_eq!(words("", &[]).variable("LD_LIBRARY_PATH"), b"");
    }
}
