//! Where a value comes from.

use std::fmt;
use std::path::PathBuf;

/// Where a value was given. The later of these wins over the earlier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody gave one: the embedded file.
    Default,
    /// A configuration file.
    File {
        /// The file, as it was looked for.
        path: PathBuf,
        /// The line of the name, counted from 1; 0 means the file as a whole.
        line: usize,
    },
    /// An environment variable.
    Environment(
        /// Its name.
        String,
    ),
    /// The command line.
    CommandLine(
        /// The option, with its dashes.
        &'static str,
    ),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0 } => write!(f, "{}", path.display()),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::CommandLine(option) => f.write_str(option),
        }
    }
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting<T> {
    /// The effective value.
    pub value: T,
    /// Where it was given.
    pub origin: Origin,
}

impl<T> Setting<T> {
    /// Replaces the value by what `option` of the command line says, if it says something.
    pub fn command_line(&mut self, option: &'static str, value: Option<T>) {
        if let Some(value) = value {
            *self = Self { value, origin: Origin::CommandLine(option) };
        }
    }
}

impl<T: Default> Default for Setting<T> {
    fn default() -> Self {
        Self { value: T::default(), origin: Origin::Default }
    }
}

impl<T> std::ops::Deref for Setting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
