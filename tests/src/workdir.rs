//! A directory to work in, with files and the agent.

use crate::agent_command;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A directory of its own, removed at the end.
#[derive(Debug)]
pub struct Workdir {
    root: tempfile::TempDir,
}

/// How a command ended: its exit code, and what it printed.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// Standard output, with the directory's path as `$DIR`.
    pub out: String,
    /// Standard error, likewise.
    pub err: String,
}

impl Workdir {
    /// A directory with these files.
    #[must_use]
    pub fn new(files: &[(&str, &str)]) -> Self {
        let this = Self { root: tempfile::tempdir().unwrap() };
        files.iter().for_each(|(name, text)| this.write(name, text));
        this
    }

    /// The directory, without links on the way.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.root.path().canonicalize().unwrap()
    }

    /// Writes a file, and the directories that it lies in.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The text of a file.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.root.path().join(name)).unwrap()
    }

    /// The names in a directory, sorted.
    #[must_use]
    pub fn names(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.path().join(name)).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The agent with `args`, in the directory, without any setting of the person who tests.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = agent_command();
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("COV_AGENT_") || name == "NO_COLOR") {
                command.env_remove(name);
            }
        }
        command.env("XDG_CACHE_HOME", self.path().join(".cache"));
        command
    }

    /// Runs the agent.
    #[must_use]
    pub fn agent(&self, args: &[&str]) -> Said {
        self.said(&self.command(args).output().unwrap())
    }

    /// Runs the agent and expects that it succeeds and complains of nothing; what it printed.
    #[must_use]
    pub fn prints(&self, args: &[&str]) -> String {
        let said = self.agent(args);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{args:?}: {}", said.out);
        said.out
    }

    /// How a command ended.
    #[must_use]
    pub fn said(&self, output: &Output) -> Said {
        let root = self.path();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().replace(root.to_str().unwrap(), "$DIR");
        Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Runs git in the directory, as somebody whose name does not matter.
    pub fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"])
            .args(["-c", "commit.gpgSign=false", "-c", "core.hooksPath="])
            .args(args)
            .current_dir(self.path())
            .env("GIT_CONFIG_GLOBAL", "")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

impl AsRef<Path> for Workdir {
    fn as_ref(&self) -> &Path {
        self.root.path()
    }
}

/// A tracefile of lcov: for each file its path and the counts of its lines.
#[must_use]
pub fn tracefile(files: &[(&str, &[(u32, u64)])]) -> String {
    let file = |(path, lines): &(&str, &[(u32, u64)])| {
        let lines: String = lines.iter().map(|(line, count)| format!("DA:{line},{count}\n")).collect();
        format!("TN:\nSF:{path}\n{lines}end_of_record\n")
    };
    files.iter().map(file).collect()
}
