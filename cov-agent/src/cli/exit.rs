//! The exit codes: a contract that scripts may rely on.
//!
//! | code | meaning |
//! |---|---|
//! | the program's own | `cov-agent run` ran the program; this is how it exited |
//! | 128 + N | `cov-agent run` ran the program and signal N ended it, as a shell says it |
//! | 0 | every other command: done |
//! | 1 | `cov-agent doctor`: `cov-agent run` would not work here |
//! | 2 | `cov-agent check`: too few lines were executed |
//! | 64 | the command line or the configuration was wrong (`EX_USAGE` of `sysexits.h`) |
//! | 125 | the agent failed; with `run`, the program was not started |
//! | 126 | `cov-agent run`: the program was found but cannot be executed |
//! | 127 | `cov-agent run`: the program was not found |
//!
//! Once the program runs, its status is the agent's, whatever happens to the measurement: a failure
//! of the agent is then told on stderr only. 125, 126 and 127 are what `env`, `timeout` and `nohup`
//! of the coreutils use in the same cases.

use std::process::ExitCode;

/// How the agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done: 0.
    Success,
    /// `doctor` found that `run` would not work: 1.
    NotReady,
    /// `check` found too few executed lines: 2.
    BelowThreshold,
    /// The command line or the configuration was wrong: 64.
    Usage,
    /// The agent failed: 125.
    Agent,
    /// The program cannot be executed: 126.
    NotExecutable,
    /// The program was not found: 127.
    NotFound,
    /// The program ended with this status; 128 + N where signal N ended it.
    Program(u8),
}

impl Exit {
    /// The number that the agent's parent sees.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::NotReady => 1,
            Self::BelowThreshold => 2,
            Self::Usage => 64,
            Self::Agent => 125,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::Program(status) => status,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones() {
        let all = [
            (Exit::Success, 0),
            (Exit::NotReady, 1),
            (Exit::BelowThreshold, 2),
            (Exit::Usage, 64),
            (Exit::Agent, 125),
            (Exit::NotExecutable, 126),
            (Exit::NotFound, 127),
            (Exit::Program(42), 42),
        ];
        for (exit, code) in all {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    /// The page of the manual has a row for each code, and no other.
    #[test]
    fn the_manual_explains_each_code() {
        const PAGE: &str = include_str!("../../../docs/src/reference/exit-codes.md");
        let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | ")).map(|(code, _)| code);
        let numbers: Vec<u8> = rows.filter_map(|code| code.parse().ok()).collect();
        let codes = |source: &str| {
            let (_, body) = source.split_once("fn code(self)").unwrap_or_default();
            let (body, _) = body.split_once("Self::Program(status)").unwrap_or_default();
            body.split("=> ").skip(1).filter_map(|arm| arm.split(',').next()?.parse().ok()).collect::<Vec<u8>>()
        };
        assert_eq!(numbers, codes(include_str!("exit.rs")));
        assert!(PAGE.contains("| the program's own | ") && PAGE.contains("| 128 + N | "));
    }
}
