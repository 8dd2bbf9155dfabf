//! Asks git which lines differ from a commit.
//!
//! A repository's configuration may name programs that git runs. So git never runs as root for a
//! repository that is not root's: under sudo it runs as the user who called it, else as the
//! repository's owner, which also is what git itself insists on.

use super::message::{Message, Slug};
use super::patch::{self, PatchError, Touched};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What differs from a commit.
#[derive(Debug)]
pub(super) struct Changes {
    /// The repository's root, absolute.
    pub(super) root: PathBuf,
    /// The new and changed lines, by path below the root.
    pub(super) touched: Touched,
}

/// Why nobody knows what differs.
#[derive(Debug, thiserror::Error)]
pub(super) enum GitError {
    #[error("cannot run git, which tells the changed lines: {0}")]
    Run(#[source] io::Error),
    #[error("{directory} is not in a git repository: {git}", directory = directory.display())]
    NoRepository { directory: PathBuf, git: String },
    #[error("git knows no commit '{0}'; if it is a branch of a remote, fetch it first (git fetch origin BRANCH)")]
    NoCommit(String),
    #[error(
        "'{0}' and HEAD have no common commit here; a shallow clone must be deepened first (git fetch --unshallow)"
    )]
    NoCommonCommit(String),
    #[error("git diff failed: {0}")]
    Diff(String),
    #[error(transparent)]
    Patch(#[from] PatchError),
}

/// The message for it.
pub(super) fn message(error: &GitError) -> Message {
    Message::new(if matches!(error, GitError::Run(_)) { Slug::CannotRead } else { Slug::Git }, error)
}

/// How changed lines are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// As they are now.
    Now,
    /// As they were before; what was added is named by the lines around it.
    Before,
}

/// The lines of the work tree around `directory` that are not as they were where HEAD and `base`
/// parted: what a merge request changes, and what is not committed yet.
pub(super) fn changes(directory: &Path, base: &str, side: Side) -> Result<Changes, GitError> {
    let git = Git { directory, user: user(directory) };
    let root = git.run(["rev-parse", "--show-toplevel"])?;
    if !root.status.success() {
        return Err(GitError::NoRepository { directory: directory.to_owned(), git: complaint(&root) });
    }
    let root = PathBuf::from(OsStr::from_bytes(root.stdout.strip_suffix(b"\n").unwrap_or(&root.stdout)));
    let name = format!("{base}^{{commit}}");
    // What is behind --end-of-options is a name, whatever it begins with.
    let commit = git.run(["rev-parse", "--verify", "--quiet", "--end-of-options", &name])?;
    let commit = hash(&commit).ok_or_else(|| GitError::NoCommit(base.to_owned()))?;
    let parted = git.run(["merge-base", &commit, "HEAD"])?;
    let parted = hash(&parted).ok_or_else(|| GitError::NoCommonCommit(base.to_owned()))?;
    // The other way round, git names the sides the other way round too.
    let [reverse, from, to] = match side {
        Side::Now => ["--no-color-moved", "--src-prefix=a/", "--dst-prefix=b/"],
        Side::Before => ["-R", "--src-prefix=b/", "--dst-prefix=a/"],
    };
    let diff = git.run([
        "diff",
        reverse,
        "--unified=0",
        "--no-color",
        "--no-ext-diff",
        "--no-textconv",
        "--find-renames",
        "--ignore-submodules",
        from,
        to,
        "--inter-hunk-context=0",
        "--no-relative",
        &parted,
    ])?;
    if !diff.status.success() {
        return Err(GitError::Diff(complaint(&diff)));
    }
    Ok(Changes { root, touched: patch::parse(&diff.stdout, side == Side::Before)? })
}

/// git, as the right user.
struct Git<'a> {
    directory: &'a Path,
    user: Option<(u32, u32)>,
}

impl Git<'_> {
    fn run<const N: usize>(&self, args: [&str; N]) -> Result<Output, GitError> {
        let mut command = Command::new("git");
        command.args(["-c", "core.fsmonitor=false", "-c", "core.quotePath=false"]).args(args);
        command.current_dir(self.directory).stdin(Stdio::null());
        // Messages in English; no lock files in a repository that somebody else may be using.
        command.env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0");
        if let Some((user, group)) = self.user {
            // The home directory is another's; git gives up where it may not look for its files.
            command.uid(user).gid(group).env_remove("HOME").env_remove("XDG_CONFIG_HOME");
        }
        command.output().map_err(GitError::Run)
    }
}

/// As whom git runs, if not as we do.
fn user(directory: &Path) -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let caller = number("SUDO_UID").zip(number("SUDO_GID"));
    let owner = || {
        let repository = directory.ancestors().find(|directory| directory.join(".git").exists())?;
        let metadata = std::fs::metadata(repository).ok()?;
        Some((metadata.uid(), metadata.gid()))
    };
    caller.or_else(owner).filter(|(user, _)| *user != 0)
}

/// The name of an object that git printed.
fn hash(output: &Output) -> Option<String> {
    let text = std::str::from_utf8(&output.stdout).ok()?.lines().next()?;
    (output.status.success() && text.len() >= 40).then(|| text.to_owned())
}

/// What git said last.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.map_or_else(|| output.status.to_string(), |line| line.trim_start_matches("fatal: ").to_owned())
}
