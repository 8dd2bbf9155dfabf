//! Which run, of what, and when.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Names one run of the agent, so that the same data is not counted twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RunId(pub [u8; 16]);

impl RunId {
    /// A new one, from the system's randomness, or from time and process where that fails.
    #[must_use]
    pub fn random() -> Self {
        let mut id = [0; 16];
        if getrandom::fill(&mut id).is_err() {
            let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
            id = (nanos ^ (u128::from(std::process::id()) << 96)).to_le_bytes();
        }
        Self(id)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// One run of the agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// Its id; two data with a common id hold the same hits.
    pub id: RunId,
    /// When it ended, in seconds since 1970 (UTC).
    pub end: u64,
    /// What ran, for people: the program's name, or "pid 7, pid 8".
    pub program: String,
    /// The working directory, absolute; reports name the files below it relative to it.
    pub directory: String,
    /// The agent's version.
    pub tool: String,
    /// The source's commit, where it is known.
    pub commit: String,
    /// Which part of a bigger run, where somebody named it.
    pub shard: String,
    /// What of the sources was measured, in the words of the command line; empty where nothing was left out.
    pub selection: String,
}

impl Run {
    /// The same run, ending now.
    #[must_use]
    pub fn now(self) -> Self {
        Self { end: seconds(), ..self }
    }
}

/// Seconds since 1970.
fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

impl Default for Run {
    /// A new run that ends now.
    fn default() -> Self {
        Self {
            id: RunId::random(),
            end: seconds(),
            program: String::new(),
            directory: String::new(),
            tool: env!("CARGO_PKG_VERSION").into(),
            commit: String::new(),
            shard: String::new(),
            selection: String::new(),
        }
    }
}

/// An object whose code was counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// The build-id in hexadecimal, or `sha256:…` of its content.
    pub build_id: String,
    /// Where it was seen.
    pub path: String,
}
