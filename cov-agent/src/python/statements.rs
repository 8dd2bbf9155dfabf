//! Which lines of Python files are executable: asked of the interpreter that runs them, whose compiler knows.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

/// The program that the interpreter runs.
const HELPER: &str = include_str!("statements.py");

/// More is no answer of the helper: 64 MiB.
const MAX_ANSWER: u64 = 64 << 20;

/// The statements of a file: first and last line of each. A line of Python that is not the first of a statement is no
/// line of its own, as with coverage.py.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statements(BTreeMap<u32, u32>);

impl Statements {
    /// First and last line of each statement, by rising line.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.0.iter().map(|(first, last)| (*first, *last))
    }
}

impl FromStr for Statements {
    /// Why there are no statements, in the interpreter's words.
    type Err = String;

    /// Reads a line of the helper.
    fn from_str(line: &str) -> Result<Self, String> {
        if let Some(reason) = line.strip_prefix('-') {
            return Err(reason.chars().filter(|c| !c.is_control()).take(200).collect());
        }
        let damaged = || "the interpreter gave no answer".to_owned();
        let (lines, several) = line.strip_prefix('+').and_then(|line| line.split_once(';')).ok_or_else(damaged)?;
        let list = |text: &str| text.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let mut statements = Self::default();
        for line in list(lines) {
            let line = line.parse().map_err(|_| damaged())?;
            statements.0.insert(line, line);
        }
        for range in list(several) {
            let (first, last) = range.split_once('-').ok_or_else(damaged)?;
            let (first, last): (u32, u32) =
                (first.parse().map_err(|_| damaged())?, last.parse().map_err(|_| damaged())?);
            if let Some(end) = statements.0.get_mut(&first) {
                *end = last;
            }
        }
        Ok(statements)
    }
}

/// A Python interpreter, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interpreter {
    /// The program.
    pub path: PathBuf,
    /// User and group that it ran as: those that it will run as again. The program's own word names it, so nobody else
    /// may run it.
    pub owner: (u32, u32),
}

impl Interpreter {
    /// Asks it for the statements of files, in their order.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn statements(&self, files: &[&Path]) -> io::Result<Vec<Result<Statements, String>>> {
        let mut command = Command::new(&self.path);
        // Nothing of the project, and no variable of Python's, has a say, and no file is written.
        command.args(["-I", "-S", "-B", "-W", "ignore", "-c", HELPER]).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if self.owner != own {
            command.uid(self.owner.0).gid(self.owner.1);
        }
        let mut child = command.spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let mut answer = Vec::new();
        std::thread::scope(|threads| {
            threads.spawn(move || {
                let paths = files.iter().flat_map(|path| path.as_os_str().as_bytes().iter().chain(&[0]));
                // An interpreter that ended early has no answer, which is noticed below.
                let _ = stdin.map(|mut stdin| stdin.write_all(&paths.copied().collect::<Vec<u8>>()));
            });
            stdout.map_or(Ok(0), |stdout| stdout.take(MAX_ANSWER).read_to_end(&mut answer))
        })?;
        child.wait()?;
        let answer = String::from_utf8_lossy(&answer);
        let mut lines = answer.lines();
        Ok(files.iter().map(|_| lines.next().unwrap_or_default().parse()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_damaged_ones_refused() {
        let statements: Statements = "+1,4;4-6,9-12".parse().unwrap();
        assert_eq!(statements.iter().collect::<Vec<_>>(), [(1, 1), (4, 6)]);
        assert_eq!("+;".parse(), Ok(Statements::default()));
        assert_eq!("-invalid syntax".parse::<Statements>(), Err("invalid syntax".to_owned()));
        for bad in ["", "+", "+x;", "+1;2", "1;"] {
            assert_eq!(bad.parse::<Statements>(), Err("the interpreter gave no answer".to_owned()), "{bad}");
        }
    }
}
