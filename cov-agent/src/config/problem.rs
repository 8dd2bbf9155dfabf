//! What is wrong with a configuration, and where.

use super::origin::Origin;
use std::fmt;

/// One fault: where it stands, what it is and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file and line, or the environment variable.
    pub place: Origin,
    /// What is wrong and what is allowed.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// Faults that make a configuration useless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<Problem>);

/// The one of `names` that somebody who wrote `name` most likely meant.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let name = plain(name);
    let ranked = names.into_iter().map(|other| (strsim::damerau_levenshtein(&name, &plain(other)), other));
    ranked.filter(|(distance, other)| *distance <= (other.len() / 3).max(1)).min().map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let names = ["output", "output_format", "omit", "enabled"];
        let cases = [
            ("output-format", Some("output_format")),
            ("outputformat", Some("output_format")),
            ("Enabled", Some("enabled")),
            ("outptu", Some("output")),
            ("emit", Some("omit")),
            ("concurrency", None),
            ("x", None),
        ];
        for (name, expected) in cases {
            assert_eq!(nearest(name, names), expected, "{name}");
        }
    }
}
