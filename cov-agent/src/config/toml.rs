//! TOML files: `[tool.cov-agent]`, and `[tool.coverage.…]` as coverage.py names its sections.

use super::coverage_py::SECTIONS;
use super::document::{Entry, Line, Raw, Section, SyntaxError};
use toml_edit::{Document, Item, Key, TableLike, Value};

/// The sections of `text` by the names that they have in an INI file: `cov-agent`, `coverage:run`.
///
/// With `own` the file is for nothing but coverage, and `tool.` and `tool.coverage.` may be left out.
///
/// # Errors
///
/// Text that is not TOML; a section that is not a table; an array of anything but plain values.
pub(crate) fn parse(text: &str, own: bool) -> Result<Vec<Section>, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = Lines::of(text);
    let document = Document::parse(text).map_err(|error| SyntaxError {
        line: error.span().map_or(1, |span| lines.number(span.start)),
        text: error.message().replace('\n', "; "),
    })?;
    let root: &dyn TableLike = document.as_table();
    let mut sections = Vec::new();
    for parent in [root.get("tool").and_then(Item::as_table_like), own.then_some(root)].into_iter().flatten() {
        if let Some((key, item)) = parent.get_key_value("cov-agent") {
            sections.push(lines.section(lines.name(key, ""), item)?);
        }
        let coverage = parent.get("coverage").and_then(Item::as_table_like);
        for (key, item) in coverage.into_iter().flat_map(keys) {
            sections.push(lines.section(lines.name(key, "coverage:"), item)?);
        }
    }
    // `[run]` at the top, as `.coveragerc.toml` has it.
    for (key, item) in keys(root).filter(|(key, _)| own && SECTIONS.contains(&key.get())) {
        sections.push(lines.section(lines.name(key, ""), item)?);
    }
    Ok(sections)
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    /// The number of the line that holds the byte `at`.
    fn number(&self, at: usize) -> usize {
        self.0.partition_point(|begin| *begin <= at) + 1
    }

    fn name(&self, key: &Key, prefix: &str) -> Line {
        let number = key.span().map_or(1, |span| self.number(span.start));
        Line { number, text: format!("{prefix}{}", key.get()) }
    }

    fn section(&self, name: Line, item: &Item) -> Result<Section, SyntaxError> {
        let Some(table) = item.as_table_like() else {
            let text = format!("'{}' must be a table, [tool.{0}]", name.text.replace(':', "."));
            return Err(SyntaxError { line: name.number, text });
        };
        let entry = |(key, item)| {
            let name = self.name(key, "");
            Ok(Entry { raw: self.value(&name, item)?, name, inherited: false })
        };
        Ok(Section { name, entries: keys(table).map(entry).collect::<Result<_, _>>()? })
    }

    fn value(&self, name: &Line, item: &Item) -> Result<Raw, SyntaxError> {
        let line = item.span().map_or(name.number, |span| self.number(span.start));
        if let Some(table) = item.as_table_like() {
            let row = |(key, item)| {
                let name = self.name(key, "");
                let raw = self.value(&name, item)?;
                Ok((name, raw))
            };
            return Ok(Raw::Table(keys(table).map(row).collect::<Result<_, _>>()?));
        }
        let fail = |line, what| Err(SyntaxError { line, text: format!("'{}' holds {what}", name.text) });
        match item.as_value() {
            Some(Value::Array(items)) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    let number = item.span().map_or(line, |span| self.number(span.start));
                    let Some(text) = plain(item) else { return fail(number, "an array of more than plain values") };
                    list.push(Line { number, text });
                }
                Ok(Raw::Items(list))
            }
            Some(value) => match plain(value) {
                Some(text) => Ok(Raw::text(line, &text)),
                None => fail(line, "no value"),
            },
            None => fail(line, "an array of tables"),
        }
    }
}

/// The entries of a table, with their keys as written.
fn keys(table: &dyn TableLike) -> impl Iterator<Item = (&Key, &Item)> {
    table.iter().filter_map(move |(name, _)| table.get_key_value(name))
}

/// A value that is one text.
fn plain(value: &Value) -> Option<String> {
    Some(match value {
        Value::String(text) => text.value().clone(),
        Value::Integer(number) => number.value().to_string(),
        Value::Float(number) => number.value().to_string(),
        Value::Boolean(truth) => truth.value().to_string(),
        Value::Datetime(time) => time.value().to_string(),
        Value::Array(_) | Value::InlineTable(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `section.key@line = text@line | …`, one a line.
    fn show(text: &str, own: bool) -> Vec<String> {
        fn raw(value: &Raw) -> String {
            let join = |lines: &[Line], with| {
                lines.iter().map(|l| format!("{}@{}", l.text, l.number)).collect::<Vec<_>>().join(with)
            };
            match value {
                Raw::Text(lines) => join(lines, "\\n"),
                Raw::Items(lines) => format!("[{}]", join(lines, ", ")),
                Raw::Table(rows) => rows
                    .iter()
                    .map(|(k, v)| format!("{}@{}: {}", k.text, k.number, raw(v)))
                    .collect::<Vec<_>>()
                    .join("; "),
            }
        }
        let sections = parse(text, own).expect("parses");
        let rows = sections.iter().flat_map(|s| s.entries.iter().map(move |e| (s, e)));
        rows.map(|(s, e)| format!("{}.{}@{} = {}", s.name.text, e.name.text, e.name.number, raw(&e.raw))).collect()
    }

    #[test]
    fn sections_have_the_names_of_ini_files() {
        let text = r#"
[project]
name = "x"
[tool.cov-agent]
enabled = true
include_patterns = [
  "src/**",
  "lib/**",
]
precision = 2
fail_under = 79.5
context = """a
b"""
paths = { source = ["src", "/ci/src"] }
[tool.coverage.run]
omit = ["a"]
[tool.coverage.paths]
source = ["src"]
"#;
        let expected = [
            "cov-agent.enabled@5 = true@5",
            "cov-agent.include_patterns@6 = [src/**@7, lib/**@8]",
            "cov-agent.precision@10 = 2@10",
            "cov-agent.fail_under@11 = 79.5@11",
            "cov-agent.context@12 = a@12\\nb@13",
            "cov-agent.paths@14 = source@14: [src@14, /ci/src@14]",
            "coverage:run.omit@16 = [a@16]",
            "coverage:paths.source@18 = [src@18]",
        ];
        assert_eq!(show(text, false), expected);
        assert_eq!(show("cov-agent.enabled = false", true), ["cov-agent.enabled@1 = false@1"]);
        assert!(show("cov-agent.enabled = false", false).is_empty());
        assert!(show("tool = 1\ncoverage = 2", true).is_empty());
    }

    #[test]
    fn errors_name_the_line() {
        let cases = [
            ("\n[tool.cov-agent]\nx = ", 3, "string values must be quoted, expected literal string"),
            ("[tool.coverage]\nrun = 1", 2, "'coverage.run' must be a table, [tool.coverage.run]"),
            ("[tool]\ncov-agent = 1", 2, "'cov-agent' must be a table, [tool.cov-agent]"),
            ("[tool.cov-agent]\nx = [1,\n[2]]", 3, "'x' holds an array of more than plain values"),
            ("[tool.cov-agent]\n[[tool.cov-agent.x]]", 2, "'x' holds an array of tables"),
        ];
        for (text, line, says) in cases {
            assert_eq!(parse(text, false), Err(SyntaxError { line, text: says.to_owned() }), "{text}");
        }
    }
}
