//! Breakpoints in another process: taken out only where there is one, in what the file has, in that very process.

use crate::process::{Breakpoint, Foreign, ForeignError, Removed};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, copy, read_to_string};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A process that runs a copy of `sh`, past its beginning, and executes each line that it is given.
struct Shell {
    child: Child,
    file: File,
    /// Where its code is in the file, and in its memory.
    code: Breakpoint,
    dir: TempDir,
}

impl Shell {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shell");
        copy("/bin/sh", &path).unwrap();
        let mut child = Command::new(&path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(b"echo ready\n").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let maps = read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
        let line = maps.lines().find(|line| line.contains(" r-xp ") && line.ends_with("/shell")).unwrap();
        let mut words = line.split_whitespace();
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let start = number(words.next().unwrap().split('-').next().unwrap());
        let offset = number(words.nth(1).unwrap());
        // What initialises the program, and is over.
        let code = Breakpoint { address: start + 0x20, offset: offset + 0x20 };
        Self { file: File::open(&path).unwrap(), child, code, dir }
    }

    fn memory(&self) -> File {
        File::options().read(true).write(true).open(format!("/proc/{}/mem", self.child.id())).unwrap()
    }

    fn byte(&self, from: &File, at: u64) -> u8 {
        let mut byte = [0];
        assert_eq!(from.read_at(&mut byte, at).unwrap(), 1);
        byte[0]
    }

    fn remove(&self) -> Result<Removed, ForeignError> {
        Foreign::open(self.child.id())?.remove(&self.file, &[self.code])
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn only_a_breakpoint_is_taken_out_and_only_of_what_the_file_has() {
    let shell = Shell::start();
    let (memory, Breakpoint { address, offset }) = (shell.memory(), shell.code);
    let process = Foreign::open(shell.child.id()).unwrap();
    assert_eq!(process.places(&shell.file, &[offset, u64::MAX]).unwrap(), [shell.code]);
    let (gone, left) = (Removed { gone: 1, left: 0 }, Removed { gone: 0, left: 1 });
    assert_eq!(shell.remove().unwrap(), left, "there is none");
    let original = shell.byte(&shell.file, offset);
    memory.write_at(&[0xcc], address).unwrap();
    assert_eq!(shell.remove().unwrap(), gone);
    assert_eq!(shell.byte(&memory, address), original);

    // Somebody has changed the code beside it.
    memory.write_at(&[0xcc, !shell.byte(&shell.file, offset + 1)], address).unwrap();
    assert_eq!(shell.remove().unwrap(), left);
    assert_eq!(shell.byte(&memory, address), 0xcc);

    // Another file is mapped there.
    let other = File::open("/proc/self/exe").unwrap();
    assert_eq!(process.remove(&other, &[shell.code]).unwrap(), left);
    assert!(process.places(&other, &[offset]).unwrap().is_empty());
}

#[test]
fn a_number_that_is_given_away_means_nobody() {
    let mut shell = Shell::start();
    let process = Foreign::open(shell.child.id()).unwrap();
    kill_process(Pid::from_child(&shell.child), Signal::KILL).unwrap();
    shell.child.wait().unwrap();
    // Whoever has the number now, or will: what was taken hold of is gone.
    assert!(matches!(process.remove(&shell.file, &[shell.code]), Err(ForeignError::Ended)));
    assert!(matches!(process.places(&shell.file, &[shell.code.offset]), Err(ForeignError::Ended)));
}

#[test]
fn what_is_executed_in_between_is_left_alone() {
    let mut shell = Shell::start();
    let process = Foreign::open(shell.child.id()).unwrap();
    let mut said = BufReader::new(shell.child.stdout.take().unwrap());
    shell.child.stdin.as_mut().unwrap().write_all(b"exec /bin/sh -c 'echo ready; read line'\n").unwrap();
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    assert_eq!(process.remove(&shell.file, &[shell.code]).unwrap(), Removed { gone: 0, left: 1 });
    assert!(process.places(&shell.file, &[shell.code.offset]).unwrap().is_empty());
}

/// Even where that is the same file.
#[test]
fn memory_that_is_held_is_not_that_of_what_is_executed_later() {
    let mut shell = Shell::start();
    let held = Foreign::hold(shell.child.id()).unwrap();
    shell.memory().write_at(&[0xcc], shell.code.address).unwrap();
    assert_eq!(held.remove(&shell.file, &[shell.code]).unwrap().gone, 1);
    let mut said = BufReader::new(shell.child.stdout.take().unwrap());
    let script = format!("exec {} -c 'echo ready; read line'\n", shell.dir.path().join("shell").display());
    shell.child.stdin.as_mut().unwrap().write_all(script.as_bytes()).unwrap();
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let places = held.places(&shell.file, &[shell.code.offset]).unwrap();
    assert_eq!(places.len(), 1);
    shell.memory().write_at(&[0xcc], places[0].address).unwrap();
    assert!(matches!(held.remove(&shell.file, &places), Err(ForeignError::Ended)));
    assert_eq!(shell.byte(&shell.memory(), places[0].address), 0xcc);
    let now = Foreign::open(shell.child.id()).unwrap();
    assert_eq!(now.remove(&shell.file, &places).unwrap().gone, 1);
}
