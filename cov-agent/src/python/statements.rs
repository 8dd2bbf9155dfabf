//! Which lines of Python files are executable: asked of the interpreter that runs them, whose compiler knows.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

/// The program that the interpreter runs.
const HELPER: &str = include_str!("statements.py");

/// More is no answer of the helper: 64 MiB.
const MAX_ANSWER: u64 = 64 << 20;

/// For fewer files than that another process takes longer to begin than to answer.
const WORTH_IT: usize = 8;

/// What is said of a file that the interpreter says nothing about.
const NO_ANSWER: &str = "the interpreter gave no answer";

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
        let damaged = || NO_ANSWER.to_owned();
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
    /// Asks it for the statements of files, in their order; where there are many, several of it at the same time.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn statements(&self, files: &[&Path]) -> io::Result<Vec<Result<Statements, String>>> {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let parts = (files.len() / WORTH_IT).clamp(1, processors);
        // Files of a project differ in size, and big ones may lie side by side: each part has some of all.
        let part = |n: usize| files.iter().skip(n).step_by(parts).copied().collect::<Vec<_>>();
        let mut answers = std::thread::scope(|threads| {
            let asked: Vec<_> = (1..parts).map(|n| threads.spawn(move || self.ask(&part(n)))).collect();
            let mut answers = vec![self.ask(&part(0))];
            let failed = || Err(io::Error::other("asking the interpreter ended in a panic"));
            answers.extend(asked.into_iter().map(|thread| thread.join().unwrap_or_else(|_| failed())));
            let answers = answers.into_iter().map(|answer| answer.map(Vec::into_iter));
            answers.collect::<io::Result<Vec<_>>>()
        })?;
        let in_order = (0..files.len()).map(|n| answers.get_mut(n % parts).and_then(Iterator::next));
        Ok(in_order.map(|answer| answer.unwrap_or_else(|| Err(NO_ANSWER.to_owned()))).collect())
    }

    fn ask(&self, files: &[&Path]) -> io::Result<Vec<Result<Statements, String>>> {
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

    /// However many processes are asked, each file has its own answer.
    #[test]
    fn answers_come_in_the_order_of_the_files() {
        let Ok(python) = which("python3") else { return };
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let interpreter = Interpreter { path: python, owner: own };
        let dir = tempfile::tempdir().unwrap();
        for count in [0, 1, 7, 8, 16, 41] {
            let files: Vec<PathBuf> = (0..count).map(|n| dir.path().join(format!("{n}.py"))).collect();
            files.iter().enumerate().for_each(|(n, file)| std::fs::write(file, "\n".repeat(n) + "x = 1\n").unwrap());
            let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
            let answers = interpreter.statements(&paths).unwrap();
            let lines =
                answers.into_iter().map(|answer| answer.unwrap().iter().map(|(first, _)| first).collect::<Vec<_>>());
            assert_eq!(lines.collect::<Vec<_>>(), (1..=count).map(|n| vec![n]).collect::<Vec<_>>());
        }
    }

    /// The path of a program in `PATH`.
    fn which(name: &str) -> Result<PathBuf, std::env::VarError> {
        let path = std::env::var("PATH")?;
        let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file());
        found.ok_or(std::env::VarError::NotPresent)
    }

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
