//! What the agent says when something is wrong: one line each, with a name to look it up by.
//!
//! `docs/src/reference/messages.md` explains each; a test compares the two.

use super::exit::Exit;
use std::error::Error;
use std::fmt;

/// The name of a kind of message: it stands at the end of the line, in parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slug {
    /// The command line is wrong.
    Usage,
    /// The program was not found.
    ProgramNotFound,
    /// The program cannot be executed.
    ProgramNotExecutable,
    /// No user of this name.
    NoSuchUser,
    /// No process of this number.
    NoSuchProcess,
    /// The process ended before it could be measured.
    ProcessEnded,
    /// The process is of a kind that cannot be attached to.
    ProcessUnfit,
    /// The agent lacks a privilege.
    NoPrivilege,
    /// The kernel lacks what the agent needs.
    KernelTooOld,
    /// A file could not be read.
    CannotRead,
    /// A file is not an ELF object.
    NotElf,
    /// An ELF object is for another machine or word size.
    WrongMachine,
    /// An ELF object is damaged.
    DamagedElf,
    /// An object has no debug info, or it was not found.
    NoDebugInfo,
    /// Debug info is damaged.
    DamagedDebugInfo,
    /// Nothing to measure: no source file passed the filter.
    NothingToMeasure,
    /// The output directory cannot be written to.
    OutputNotWritable,
    /// The disk is full.
    DiskFull,
    /// The kernel refused to arm probes.
    ProbesRefused,
    /// Probes that have done their work stay armed.
    NotDisarmed,
    /// Something that should have been counted was not.
    Losses,
    /// An agent was killed, or what would be left of this one if it were.
    Interrupted,
    /// The configuration is wrong.
    Config,
    /// A file holds no coverage data, or damaged.
    NotCoverageData,
    /// The same run's data was given twice.
    DuplicateData,
    /// There is no coverage data.
    NoData,
    /// git cannot say what differs.
    Git,
    /// A source file is not there.
    NoSource,
    /// An exclusion marker has no partner.
    Marker,
    /// Lines of Python are not counted as was asked.
    Python,
    /// Plans cannot be kept where somebody wants them.
    Cache,
    /// Anything else that failed inside the agent.
    Failed,
}

impl Slug {
    /// Every kind, as the reference lists them.
    pub const ALL: [Self; 32] = [
        Self::Usage,
        Self::ProgramNotFound,
        Self::ProgramNotExecutable,
        Self::NoSuchUser,
        Self::NoSuchProcess,
        Self::ProcessEnded,
        Self::ProcessUnfit,
        Self::NoPrivilege,
        Self::KernelTooOld,
        Self::CannotRead,
        Self::NotElf,
        Self::WrongMachine,
        Self::DamagedElf,
        Self::NoDebugInfo,
        Self::DamagedDebugInfo,
        Self::NothingToMeasure,
        Self::OutputNotWritable,
        Self::DiskFull,
        Self::ProbesRefused,
        Self::NotDisarmed,
        Self::Losses,
        Self::Interrupted,
        Self::Config,
        Self::NotCoverageData,
        Self::DuplicateData,
        Self::NoData,
        Self::Git,
        Self::NoSource,
        Self::Marker,
        Self::Python,
        Self::Cache,
        Self::Failed,
    ];

    /// The name as it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::ProgramNotFound => "program-not-found",
            Self::ProgramNotExecutable => "program-not-executable",
            Self::NoSuchUser => "no-such-user",
            Self::NoSuchProcess => "no-such-process",
            Self::ProcessEnded => "process-ended",
            Self::ProcessUnfit => "process-unfit",
            Self::NoPrivilege => "no-privilege",
            Self::KernelTooOld => "kernel-too-old",
            Self::CannotRead => "cannot-read",
            Self::NotElf => "not-elf",
            Self::WrongMachine => "wrong-machine",
            Self::DamagedElf => "damaged-elf",
            Self::NoDebugInfo => "no-debug-info",
            Self::DamagedDebugInfo => "damaged-debug-info",
            Self::NothingToMeasure => "nothing-to-measure",
            Self::OutputNotWritable => "output-not-writable",
            Self::DiskFull => "disk-full",
            Self::ProbesRefused => "probes-refused",
            Self::NotDisarmed => "not-disarmed",
            Self::Losses => "losses",
            Self::Interrupted => "interrupted",
            Self::Config => "config",
            Self::NotCoverageData => "not-coverage-data",
            Self::DuplicateData => "duplicate-data",
            Self::NoData => "no-data",
            Self::Git => "git",
            Self::NoSource => "no-source",
            Self::Marker => "marker",
            Self::Python => "python",
            Self::Cache => "cache",
            Self::Failed => "failed",
        }
    }

    /// What a failed write is: the disk, or the place.
    pub(crate) fn of_write(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::OutputNotWritable,
        }
    }

    /// How the agent ends when this is an error before anything was started.
    #[must_use]
    pub fn exit(self) -> Exit {
        match self {
            Self::Usage | Self::Config => Exit::Usage,
            Self::ProgramNotFound => Exit::NotFound,
            Self::ProgramNotExecutable => Exit::NotExecutable,
            _ => Exit::Agent,
        }
    }
}

/// One line for a person: what is wrong and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What kind it is.
    pub slug: Slug,
    /// The line, without the slug.
    pub text: String,
}

impl Message {
    /// A message; line breaks and other control characters in `text` are made harmless.
    #[must_use]
    pub fn new(slug: Slug, text: impl fmt::Display) -> Self {
        Self { slug, text: one_line(&text.to_string()) }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.slug.as_str())
    }
}

impl Error for Message {}

/// An error and its causes in one line; a cause whose words the error already has is left out.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

/// `text` on one line, with nothing that a terminal obeys: file names may hold escape sequences.
#[must_use]
pub(crate) fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(' '),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::LossKind;

    const REFERENCE: &str = include_str!("../../../docs/src/reference/messages.md");

    #[test]
    fn the_reference_explains_each_message_once() {
        let headings: Vec<&str> = REFERENCE.lines().filter_map(|l| l.strip_prefix("## ")).collect();
        let mut slugs: Vec<&str> = Slug::ALL.iter().map(|s| s.as_str()).collect();
        slugs.sort_unstable();
        let mut sorted = headings.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, slugs);
    }

    /// Lists that tests go through have every variant: as many as there are names.
    #[test]
    fn all_are_all() {
        let names = |source: &str, function: &str| {
            let (_, body) = source.split_once(function).unwrap();
            body.split_once("\n    }\n").unwrap().0.matches("=> \"").count()
        };
        assert_eq!(names(include_str!("message.rs"), "pub fn as_str(self)"), Slug::ALL.len());
        assert_eq!(names(include_str!("../coverage/losses.rs"), "pub fn slug(self)"), LossKind::ALL.len());
    }

    #[test]
    fn the_manual_explains_each_loss() {
        const PAGE: &str = include_str!("../../../docs/src/how-to/troubleshooting.md");
        for kind in LossKind::ALL {
            let row = format!("\n| {kind} | ");
            assert_eq!(PAGE.matches(&row).count(), 1, "{kind}");
        }
    }

    /// Whoever adds a note that a person is to act on explains it.
    #[test]
    fn the_manual_explains_each_hint_on_tests_and_python() {
        const PAGE: &str = include_str!("../../../docs/src/how-to/troubleshooting.md");
        let sources =
            [include_str!("python.rs"), include_str!("test.rs"), include_str!("usdt.rs"), include_str!("run.rs")];
        for said in [
            "no Python process was counted",
            "all tests of unittest in a process share one context",
            "share a context",
            "mojo run compiles in memory",
        ] {
            assert!(sources.iter().any(|source| source.contains(said)), "nobody says: {said}");
            assert!(PAGE.contains(said), "{said}");
        }
    }

    #[test]
    fn a_message_is_one_harmless_line() {
        let message = Message::new(Slug::NotElf, "a\nb\x1b[31mc");
        assert_eq!(message.to_string(), "a b\\u{1b}[31mc (not-elf)");
    }
}
