//! INI files, read as Python's `configparser.ConfigParser(interpolation=None)` reads them.
//!
//! `=` or `:` after the name, whichever comes first; names in lower case, section names as written;
//! comments are whole lines that begin with `#` or `;`; a line that is indented deeper than the name
//! above it goes on with its value; no section and no name twice; `[DEFAULT]` stands in every section.

use super::document::{Entry, Line, Raw, Section, SyntaxError};
use std::collections::{HashMap, HashSet};

/// The section whose entries stand in every other.
const DEFAULT: &str = "DEFAULT";

/// The sections of `text`.
///
/// # Errors
///
/// The first line that is neither a section, a name with a value, nor their continuation; a section
/// or name that comes twice; an entry before the first section.
pub(crate) fn parse(text: &str) -> Result<Vec<Section>, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut parser = Parser::default();
    for (line, number) in text.split('\n').zip(1..) {
        parser.line(number, line)?;
    }
    Ok(parser.finish())
}

#[derive(Default)]
struct Parser {
    sections: Vec<Section>,
    /// Where each section begins.
    begun: HashMap<String, usize>,
    /// Each section's names.
    names: HashSet<(String, String)>,
    /// How deep the last section or name was indented.
    indent: usize,
    /// Whether the last section has an entry that a deeper line may go on with.
    open: bool,
}

impl Parser {
    fn line(&mut self, number: usize, line: &str) -> Result<(), SyntaxError> {
        let text = line.trim();
        if text.starts_with(['#', ';']) {
            return Ok(());
        }
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        if self.open
            && (text.is_empty() || indent > self.indent)
            && let Some(Raw::Text(lines)) =
                self.sections.last_mut().and_then(|s| s.entries.last_mut()).map(|e| &mut e.raw)
        {
            lines.push(Line { number, text: text.to_owned() });
            return Ok(());
        }
        if text.is_empty() {
            return Ok(());
        }
        self.indent = indent;
        match section_name(text) {
            Some(name) => self.section(number, name),
            None => self.entry(number, text),
        }
    }

    fn section(&mut self, number: usize, name: &str) -> Result<(), SyntaxError> {
        if let Some(earlier) = self.begun.insert(name.to_owned(), number)
            && name != DEFAULT
        {
            let text = format!("the section [{name}] stands on line {earlier} already");
            return Err(SyntaxError { line: number, text });
        }
        self.sections.push(Section { name: Line { number, text: name.to_owned() }, entries: Vec::new() });
        self.open = false;
        Ok(())
    }

    fn entry(&mut self, number: usize, text: &str) -> Result<(), SyntaxError> {
        let fail = |text: String| Err(SyntaxError { line: number, text });
        let Some(section) = self.sections.last_mut() else {
            return fail("an entry needs a section above it, such as [cov-agent]".to_owned());
        };
        let Some((name, value)) = text.split_once(['=', ':']) else {
            return fail(format!("{text:?} is neither a [section] nor 'name = value'"));
        };
        let name = name.trim().to_lowercase();
        if name.is_empty() {
            return fail("a name must stand before the '='".to_owned());
        }
        if !self.names.insert((section.name.text.clone(), name.clone())) {
            return fail(format!("'{name}' is given twice in [{}]", section.name.text));
        }
        section.entries.push(Entry {
            name: Line { number, text: name },
            raw: Raw::text(number, value.trim()),
            inherited: false,
        });
        self.open = true;
        Ok(())
    }

    /// Cuts the empty lines that end values, and gives every section what `[DEFAULT]` says.
    fn finish(mut self) -> Vec<Section> {
        for entry in self.sections.iter_mut().flat_map(|section| &mut section.entries) {
            if let Raw::Text(lines) = &mut entry.raw {
                while lines.len() > 1 && lines.last().is_some_and(|line| line.text.is_empty()) {
                    lines.pop();
                }
            }
        }
        let (defaults, mut sections): (Vec<_>, Vec<_>) =
            self.sections.into_iter().partition(|section| section.name.text == DEFAULT);
        for section in &mut sections {
            for entry in defaults.iter().flat_map(|section| &section.entries) {
                if !self.names.contains(&(section.name.text.clone(), entry.name.text.clone())) {
                    section.entries.push(Entry { inherited: true, ..entry.clone() });
                }
            }
        }
        sections
    }
}

/// `[name]`, with whatever behind the last bracket.
fn section_name(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('[')?.rsplit_once(']')?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// As JSON, `{section: {name: value}}`, in the order of the file.
    fn as_json(sections: &[Section]) -> serde_json::Value {
        let section = |s: &Section| {
            let entries = s.entries.iter().map(|e| {
                let Raw::Text(lines) = &e.raw else { panic!("not text") };
                let lines: Vec<&str> = lines.iter().map(|l| l.text.as_str()).collect();
                (e.name.text.clone(), lines.join("\n").into())
            });
            (s.name.text.clone(), serde_json::Value::Object(entries.collect()))
        };
        serde_json::Value::Object(sections.iter().map(section).collect())
    }

    /// What Python says: the same shape, or the name of its exception.
    fn python(texts: &[String]) -> Vec<serde_json::Value> {
        const SCRIPT: &str = r"
import configparser, io, json, sys
def read(text):
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_file(io.StringIO(text, newline=None))
    except configparser.Error as error:
        return type(error).__name__
    return {name: dict(parser[name]) for name in parser.sections()}
json.dump([read(text) for text in json.load(sys.stdin)], sys.stdout)
";
        let mut child = Command::new("python3")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let input = serde_json::to_vec(texts).expect("serializes");
        child.stdin.take().expect("piped").write_all(&input).expect("python reads");
        let output = child.wait_with_output().expect("python ends");
        assert!(output.status.success());
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn compare(texts: &[String]) {
        for (text, theirs) in texts.iter().zip(python(texts)) {
            match parse(text) {
                Ok(ours) => assert_eq!(as_json(&ours), theirs, "{text:?}"),
                Err(error) => assert!(theirs.is_string(), "{text:?}: we say {error:?}, Python reads {theirs}"),
            }
        }
    }

    #[test]
    fn python_reads_the_same() {
        let texts = [
            "",
            "[a]\nx=1\ny : 2\nZ = = 3\n",
            "[a]\nx =\n  1\n\n  2  \n\n\n[b]\nx:y=z",
            "[a]\nx = 1 ; not a comment\n# comment\n; comment\n   # comment\n  goes on\n",
            "[a]\n  x = 1\n  y = 2\n    deeper\n  z = 3\n w = 4",
            "[DEFAULT]\nd = 1\ne = 2\n[a]\nd = 3\n[b]\n",
            "[a]\n[b] trailing ]\nx=1",
            "[a] b]\nx=%(y)s\n",
            "[a]\nx=1\n[a]\ny=2",
            "[a]\nx=1\nX=2",
            "x=1",
            "  # only\n\n",
            "[a]\nnothing",
            "[a]\n= 1",
            "[]\nx=1",
            "[a\nx=1",
            "[a]\r\nx = 1\r\n  2\r\n",
            "[a]\n\n  x = 1\n\n    2\n # c\n\n    3",
            "[a]\nx\t=\t1\n\ty",
            "[A]\nx=1\n[a]\nx=2",
            "[a]\nx y = 1\nü = ä\n",
        ];
        compare(&texts.map(str::to_owned));
    }

    #[test]
    fn python_reads_the_same_of_anything() {
        use proptest::strategy::{Strategy as _, ValueTree as _};
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let line = proptest::sample::select(vec![
            "[a]",
            "[b]",
            "[DEFAULT]",
            " [c]",
            "x = 1",
            "y: 2",
            " z = 3",
            "  deeper",
            "\tx=",
            "",
            "  ",
            "# no",
            "  ; no",
            "w",
            "=",
            "x = a = b",
            "[d] e",
            "X=9",
            "y =",
        ]);
        let text = proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"));
        let texts: Vec<String> = (0..2000).map(|_| text.new_tree(&mut runner).expect("generates").current()).collect();
        assert!(texts.iter().filter(|text| parse(text).is_ok()).count() > 50);
        compare(&texts);
    }

    #[test]
    fn errors_name_the_line() {
        let cases = [
            ("\n[a]\nx=1\n\n[a]", 5, "the section [a] stands on line 2 already"),
            ("[a]\nx=1\nX=2", 3, "'x' is given twice in [a]"),
            ("\nx=1", 2, "an entry needs a section above it, such as [cov-agent]"),
            ("[a]\nnothing", 2, "\"nothing\" is neither a [section] nor 'name = value'"),
            ("[a]\n = 1", 2, "a name must stand before the '='"),
        ];
        for (text, line, says) in cases {
            assert_eq!(parse(text), Err(SyntaxError { line, text: says.to_owned() }));
        }
    }

    #[test]
    fn lines_are_counted() {
        let sections = parse("# c\n[a]\nx =\n\n  1\n").expect("parses");
        let [section] = &sections[..] else { panic!("one section") };
        assert_eq!((section.name.number, section.entries[0].name.number), (2, 3));
        let Raw::Text(lines) = &section.entries[0].raw else { panic!("text") };
        assert_eq!(lines.iter().map(|l| l.number).collect::<Vec<_>>(), [3, 4, 5]);
    }
}
