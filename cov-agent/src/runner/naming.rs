//! The names of contexts, from what the kernel side tells.

use super::Prepared;
use super::marks::{Marks, stem};
use crate::config::ContextFrom;
use crate::probe::{Area, ContextNews, ContextOptions, NumberedMark, VARIABLE};
use cov_ebpf_common::ENTERED_BYTES;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// No name is longer, in bytes: it would fill every report.
const MAX_NAME: usize = 1000;

/// What is known of the commands of a suite.
#[derive(Debug, Clone, Default)]
pub struct Commands {
    /// The names of tests, by their arguments, each with a zero behind it.
    pub names: BTreeMap<Vec<u8>, String>,
    /// Whether the first program is a test as a whole, unless its framework tells tests apart.
    pub whole: bool,
    /// Whether unittest drives the tests, which only the engine `sys.monitoring` can tell apart.
    pub unittest: bool,
}

/// Gives contexts their names.
#[derive(Debug)]
pub struct Naming {
    from: ContextFrom,
    commands: Commands,
    groups: HashMap<u64, String>,
    marks: Marks,
}

impl Naming {
    /// Names as `from` says.
    #[must_use]
    pub fn new(from: ContextFrom, commands: Commands) -> Self {
        Self { from, commands, groups: HashMap::new(), marks: Marks::default() }
    }

    /// What the kernel side is to tell apart; `None` if nothing.
    #[must_use]
    pub fn wanted(&self) -> Option<ContextOptions> {
        let marks = self.from == ContextFrom::Test;
        self.executed_with().map(|area| ContextOptions { executed: Some(area), marks })
    }

    /// With what the executed programs are to come; `None` if they begin no context.
    fn executed_with(&self) -> Option<Area> {
        match self.from {
            ContextFrom::Nothing => None,
            ContextFrom::Variable(_) => Some(Area::Environment),
            ContextFrom::Argument(_)
            | ContextFrom::CommandLine
            | ContextFrom::ControlGroup
            | ContextFrom::Process
            | ContextFrom::Test => Some(Area::Arguments),
        }
    }

    /// The name of the context that a program began; `None` if it belongs to the one before.
    pub(super) fn executed(&mut self, news: &ContextNews) -> Option<String> {
        let ContextNews::Executed { before, process, time, cgroup, text, whole, .. } = news else { return None };
        let read;
        let text = if *whole {
            text
        } else {
            // There was more than the kernel side could tell; the process may still say it.
            let file = if self.executed_with() == Some(Area::Environment) { "environ" } else { "cmdline" };
            read = fs::read(format!("/proc/{process}/{file}")).ok().filter(|read| read.starts_with(text));
            read.as_ref().unwrap_or(text)
        };
        let name = match &self.from {
            ContextFrom::Nothing => None,
            ContextFrom::Variable(name) => variable(text, name),
            ContextFrom::Argument(number) => words(text).nth(*number as usize),
            ContextFrom::Test => self.test(text, *before == 0),
            ContextFrom::CommandLine => Some(command_line(text)),
            ContextFrom::ControlGroup => Some(self.group(*cgroup)),
            ContextFrom::Process => {
                Some(format!("{} [pid {process}, started {}]", command_line(text), clock(Duration::from_nanos(*time))))
            }
        };
        name.filter(|name| !name.is_empty()).map(shorten)
    }

    /// The name of the test that a program was started for; `first` if nobody counted started it.
    fn test(&self, text: &[u8], first: bool) -> Option<String> {
        let whole = || (first && self.commands.whole && self.marks.is_empty()).then(|| command_line(text));
        self.commands.names.get(text).cloned().or_else(|| test(text)).or_else(whole)
    }

    /// Whether the program that was executed may tell tests by variables of its environment.
    pub(super) fn may_set_variables(&self, news: &ContextNews) -> bool {
        let ContextNews::Executed { text, .. } = news else { return false };
        let program = words(text).next().unwrap_or_default();
        let name = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.from == ContextFrom::Test && name.starts_with("python")
    }

    /// The name of the context that begins at a mark.
    pub(super) fn entered(&self, news: &ContextNews) -> Option<String> {
        let ContextNews::Entered { mark, address, text, .. } = news else { return None };
        let [first, _] = text;
        let name = if *mark == VARIABLE { variable_name(first) } else { self.marks.name(*mark, *address, text) };
        name.map(shorten)
    }

    /// The marks of an object that are to be armed.
    pub(super) fn marks_of(&mut self, prepared: &Prepared) -> Vec<NumberedMark> {
        if self.from == ContextFrom::Test { self.marks.number(prepared) } else { Vec::new() }
    }

    /// The path of a control group of the unified hierarchy, by its directory's inode.
    fn group(&mut self, inode: u64) -> String {
        if !self.groups.contains_key(&inode) {
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            let root = mounts.lines().map(|line| line.split(' ').skip(1)).find_map(|mut words| {
                let place = words.next()?;
                (words.next()? == "cgroup2").then(|| PathBuf::from(place))
            });
            let root = root.unwrap_or_default();
            let mut left: Vec<PathBuf> = root.metadata().map(|_| root.clone()).into_iter().collect();
            while let Some(directory) = left.pop() {
                if let Ok(metadata) = directory.metadata() {
                    let below = directory.strip_prefix(&root).unwrap_or(&directory);
                    self.groups.insert(metadata.ino(), Path::new("/").join(below).display().to_string());
                }
                let inner = fs::read_dir(&directory).into_iter().flatten().flatten();
                left.extend(inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()));
            }
        }
        self.groups.get(&inode).cloned().unwrap_or_else(|| format!("control group {inode}"))
    }
}

/// The texts of a block in which each ends with a zero.
fn words(text: &[u8]) -> impl Iterator<Item = String> {
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    text.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned())
}

/// The value of an environment variable.
fn variable(text: &[u8], name: &str) -> Option<String> {
    words(text).find_map(|word| word.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// The name of the test that a program was started to run alone: by nextest, or by Automake's driver.
fn test(text: &[u8]) -> Option<String> {
    let mut words = words(text);
    let program = words.next()?;
    let mut rest = words.skip_while(|word| word != "--exact" && word != "--test-name");
    let (option, name) = (rest.next()?, rest.next()?);
    // libtest's marks give it the same name.
    Some(if option == "--exact" { format!("{}::{name}", stem(Path::new(&program))) } else { name })
}

/// The name of the test that `value`, of a variable, names; empty if it names none. What the kernel side sees of the
/// variable gives the same.
pub(super) fn test_named(value: &[u8]) -> String {
    let value = value.get(..ENTERED_BYTES - 1).unwrap_or(value);
    variable_name(value).map(shorten).unwrap_or_default()
}

/// The test that the value of a variable names. pytest adds the phase: `test_a.py::test (call)`.
fn variable_name(value: &[u8]) -> Option<String> {
    let value = String::from_utf8_lossy(value);
    let name = [" (setup)", " (call)", " (teardown)"].iter().find_map(|phase| value.strip_suffix(phase));
    Some(name.unwrap_or(&value).to_owned()).filter(|name| !name.is_empty())
}

/// Arguments as a person would write them in a shell.
fn command_line(text: &[u8]) -> String {
    words(text).map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-+=.,:/@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A time since the machine started, as UTC, to the hundredth of a second.
fn clock(since_start: Duration) -> String {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime = uptime.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0);
    let ago = Duration::try_from_secs_f64(uptime).unwrap_or_default().saturating_sub(since_start);
    let time = SystemTime::now().checked_sub(ago).and_then(|time| jiff::Timestamp::try_from(time).ok());
    time.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S%.2fZ").to_string()
}

fn shorten(name: String) -> String {
    if name.len() <= MAX_NAME {
        return name;
    }
    format!("{}…", &name[..name.floor_char_boundary(MAX_NAME)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(from: &str, text: &str) -> Option<String> {
        let mut naming = Naming::new(from.parse().unwrap(), Commands::default());
        let text = text.bytes().collect();
        let (context, before, process, time, cgroup, whole) = (2, 1, 77, 0, 0, true);
        naming.executed(&ContextNews::Executed { context, before, process, time, cgroup, text, whole })
    }

    #[test]
    fn names_are_what_was_asked_for() {
        let arguments = "./suite\0--exact\0a test\0it's\0\0";
        assert_eq!(named("arg:2", arguments).as_deref(), Some("a test"));
        assert_eq!(named("arg:9", arguments), None);
        assert_eq!(named("cmdline", arguments).as_deref(), Some(r"./suite --exact 'a test' 'it'\''s' ''"));
        let tests = "/d/suite-0123456789abcdef\0--exact\0a::b\0--nocapture\0";
        assert_eq!(named("test", tests).as_deref(), Some("suite::a::b"));
        assert_eq!(named("test", "test-driver\0--test-name\0a.sh\0").as_deref(), Some("a.sh"));
        assert_eq!(named("test", arguments.split_at(9).0), None);
        assert_eq!(variable_name(b"t/a.py::test[1] (call)").as_deref(), Some("t/a.py::test[1]"));
        assert_eq!(test_named(&[b'x'; 600]), "x".repeat(511));
        let environment = "A=1\0TEST=x=y\0TEST2=z\0EMPTY=\0";
        assert_eq!(named("env:TEST", environment).as_deref(), Some("x=y"));
        assert_eq!(named("env:TES", environment), None);
        assert_eq!(named("env:EMPTY", environment), None, "an empty name is none");
        let process = named("process", "./suite\0").unwrap();
        assert!(process.starts_with("./suite [pid 77, started 20") && process.ends_with("Z]"), "{process}");
    }

    #[test]
    fn names_have_an_end() {
        let long = "ä".repeat(3000);
        let name = named("arg:0", &long).unwrap();
        assert_eq!(name, format!("{}…", "ä".repeat(500)));
    }
}
