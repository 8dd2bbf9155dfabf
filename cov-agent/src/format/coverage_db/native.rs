//! Native files in `.coverage`: the rows that carry their executable lines.
//!
//! coverage.py reads a Python file's executable lines off its text and has no place for other files' lines. They
//! travel as names in the table `context` that no line refers to: `combine` copies all context names, of any file and
//! in every version, while it drops tables and `meta` keys that it does not know. The plugin `cov_agent_coverage`
//! reads them back, and so does [`super::read()`].

use super::numbits;
use crate::coverage::FileCoverage;
use crate::format::ReadError;
use crate::format::error::Budget;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// What the name of such a context begins with; the number is the version of what follows.
pub(super) const PREFIX: &str = "cov-agent:lines:1:";

/// Whether coverage.py leaves the file to others: anything but Python text.
pub(super) fn is_native(path: &str) -> bool {
    !matches!(extension(path), Some("py" | "pyw"))
}

/// Whether coverage.py, without the plugin, passes over a native file in silence. It does if it can open the file,
/// cannot parse it and does not expect it to be Python, which it does where there is no extension or one in `.py`.
pub(super) fn is_skipped_without_plugin(path: &str) -> bool {
    extension(path).is_some_and(|extension| !extension.starts_with("py")) && std::path::Path::new(path).is_file()
}

fn extension(path: &str) -> Option<&str> {
    std::path::Path::new(path).extension()?.to_str()
}

/// The name of the context that carries the executable and excluded lines of `file`, which the data calls `path`.
pub(super) fn context(file: &FileCoverage, path: &str) -> String {
    let mut name = String::from(PREFIX);
    for lines in
        [numbits::from_lines(file.lines().iter().map(|(line, _)| line)), numbits::from_lines(file.excluded_lines())]
    {
        BASE64_STANDARD.encode_string(lines, &mut name);
        name.push(':');
    }
    name + path
}

/// The carried lines of many files.
#[derive(Default)]
pub(super) struct Rows(Vec<Row>);

struct Row {
    /// The path, last component first, so that rows which share trailing components stand together.
    key: String,
    executable: Vec<u8>,
    excluded: Vec<u8>,
}

impl Rows {
    /// Takes the name of a context, if it is one that carries lines. `None`: it begins like one and is damaged.
    pub(super) fn add(&mut self, context: &str) -> Option<bool> {
        let Some(rest) = context.strip_prefix(PREFIX) else { return Some(false) };
        let (executable, rest) = rest.split_once(':')?;
        let (excluded, path) = rest.split_once(':')?;
        let executable = BASE64_STANDARD.decode(executable).ok()?;
        let excluded = BASE64_STANDARD.decode(excluded).ok()?;
        let key = reversed(path);
        if key.is_empty() {
            return None;
        }
        self.0.push(Row { key, executable, excluded });
        Some(true)
    }

    /// Makes the rows ready to be asked.
    pub(super) fn sort(&mut self) {
        self.0.sort_by(|a, b| a.key.cmp(&b.key));
    }

    /// The rows of the file at `path`: those that share most trailing path components with it, as `combine` may have
    /// moved the file.
    fn of(&self, path: &str) -> &[Row] {
        let key = reversed(path);
        let at = self.0.partition_point(|row| row.key < key);
        let neighbours = self.0.iter().skip(at.saturating_sub(1)).take(2);
        let shared = neighbours.map(|row| common(&row.key, &key)).max().unwrap_or(0);
        let shared = key.get(..shared).unwrap_or("");
        if shared.is_empty() {
            return &[];
        }
        let rows = self.0.get(self.0.partition_point(|row| row.key.as_str() < shared)..).unwrap_or(&[]);
        rows.get(..rows.partition_point(|row| row.key.starts_with(shared))).unwrap_or(&[])
    }

    /// Adds the carried lines to `file`. Fails with a line number that is too high, or too many lines.
    pub(super) fn apply(&self, file: &mut FileCoverage, budget: &mut Budget) -> Result<(), ReadError> {
        let path = file.path().clone();
        for row in self.of(&path) {
            for line in numbits::lines(&row.executable)? {
                budget.records(1)?;
                file.executable(line);
            }
            for line in numbits::lines(&row.excluded)? {
                budget.records(1)?;
                file.exclude(line);
            }
        }
        Ok(())
    }
}

/// The components of a path of any system, last first, each followed by a NUL, which no path holds.
fn reversed(path: &str) -> String {
    let parts = path.rsplit(['/', '\\']).filter(|part| !part.is_empty());
    parts.flat_map(|part| [part, "\0"]).collect()
}

/// How many bytes of whole components two reversed paths share at the beginning.
fn common(a: &str, b: &str) -> usize {
    a.split_inclusive('\0').zip(b.split_inclusive('\0')).take_while(|(a, b)| a == b).map(|(a, _)| a.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Limits;

    fn row(path: &str, executable: &[u32], excluded: &[u32]) -> String {
        let mut file = FileCoverage::new(path);
        executable.iter().for_each(|&line| file.executable(line));
        excluded.iter().for_each(|&line| file.exclude(line));
        context(&file, path)
    }

    fn found(rows: &Rows, path: &str) -> (Vec<u32>, Vec<u32>) {
        let mut file = FileCoverage::new(path);
        rows.apply(&mut file, &mut Budget::new(Limits::default())).unwrap();
        (file.lines().iter().map(|(line, _)| line).collect(), file.excluded_lines().collect())
    }

    #[test]
    fn a_moved_file_finds_its_lines() {
        let mut rows = Rows::default();
        for context in [
            row("/ci/1/src/a/main.c", &[1, 2], &[9]),
            row("/ci/2/src/a/main.c", &[2, 3], &[]),
            row(r"D:\ci\src\b\main.c", &[7], &[]),
            row("/ci/x:y.c", &[5], &[]),
        ] {
            assert_eq!(rows.add(&context), Some(true), "{context}");
        }
        rows.sort();
        assert_eq!(found(&rows, "/home/me/src/a/main.c"), (vec![1, 2, 3], vec![9]));
        assert_eq!(found(&rows, "a/main.c"), (vec![1, 2, 3], vec![9]));
        assert_eq!(found(&rows, "main.c"), (vec![1, 2, 3, 7], vec![9]));
        assert_eq!(found(&rows, "/ci/1/src/a/main.c"), (vec![1, 2], vec![9]));
        assert_eq!(found(&rows, "src/b/main.c"), (vec![7], vec![]));
        assert_eq!(found(&rows, "x:y.c"), (vec![5], vec![]));
        assert_eq!(found(&rows, "/other.c"), (vec![], vec![]));
    }

    #[test]
    fn other_contexts_carry_nothing_and_damaged_ones_are_told() {
        let mut rows = Rows::default();
        assert_eq!(rows.add("test_a|run"), Some(false));
        for damaged in ["", "====:", "AA==:AA==", "AA==:!:x.c", "A:AA==:x.c", "AA==:AA==:"] {
            assert_eq!(rows.add(&format!("{PREFIX}{damaged}")), None, "{damaged}");
        }
    }

    #[test]
    fn what_is_native() {
        assert!(["/a.c", "/a.rs", "/x/vector", "/a.pyx", "/a.py/b.c"].into_iter().all(is_native));
        assert!(!["/a.py", "x.pyw"].into_iter().any(is_native));
        assert!(!is_skipped_without_plugin("/nowhere/a.c"));
    }
}
