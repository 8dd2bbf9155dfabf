//! Where the names of contexts come from.

use super::document::Raw;
use super::value::{Bad, Value, one};
use std::fmt;
use std::str::FromStr;

/// What the context of a program that is executed is named after.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ContextFrom {
    /// Nothing: programs begin no context.
    #[default]
    Nothing,
    /// The value of an environment variable.
    Variable(String),
    /// An argument; 0 is the program's name.
    Argument(u32),
    /// All arguments.
    CommandLine,
    /// The control group.
    ControlGroup,
    /// The process: its arguments, number and start.
    Process,
    /// The test, as the test framework tells it.
    Test,
}

impl FromStr for ContextFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.split_once(':') {
            None => match text {
                "" => Some(Self::Nothing),
                "cmdline" => Some(Self::CommandLine),
                "cgroup" => Some(Self::ControlGroup),
                "process" => Some(Self::Process),
                "test" => Some(Self::Test),
                _ => None,
            },
            Some(("env", name)) => {
                let plain = !name.is_empty() && !name.contains(['=', '\0']);
                plain.then(|| Self::Variable(name.to_owned()))
            }
            Some(("arg", number)) => number.parse().ok().map(Self::Argument),
            Some(_) => None,
        };
        parsed.ok_or_else(|| format!("give {}", Self::allowed()))
    }
}

impl fmt::Display for ContextFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::Argument(number) => write!(f, "arg:{number}"),
            Self::CommandLine => f.write_str("cmdline"),
            Self::ControlGroup => f.write_str("cgroup"),
            Self::Process => f.write_str("process"),
            Self::Test => f.write_str("test"),
        }
    }
}

impl Value for ContextFrom {
    fn allowed() -> String {
        "test, env:NAME, arg:NUMBER, cmdline, cgroup, process, or nothing".to_owned()
    }

    fn read(raw: &Raw) -> Result<Self, Bad> {
        one(raw, |text| text.parse().ok())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_shown() {
        for text in ["", "env:TEST_NAME", "arg:2", "cmdline", "cgroup", "process", "test"] {
            assert_eq!(text.parse::<ContextFrom>().unwrap().show(), text);
        }
        for bad in ["env:", "env:A=B", "arg:", "arg:-1", "arg:x", "process:1", "comm"] {
            assert!(bad.parse::<ContextFrom>().is_err(), "{bad}");
        }
    }
}
