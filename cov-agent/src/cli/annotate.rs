//! `cov-agent annotate`: sources with the count of each line.

use super::console::{BOLD, Console, DIM, GREEN, RED, YELLOW};
use super::data::{self, working_directory};
use super::data_args::AnnotateArgs;
use super::exit::Exit;
use super::invoker::{Invoker, invoker};
use super::message::{Message, Slug};
use super::refine::read_source;
use super::report::count;
use super::rows::{Row, shown};
use super::stdout;
use crate::config::Settings;
use crate::coverage::{ExecutionCounter, FileCoverage, Snapshot, paths};
use anstyle::Style;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// The least width of the column of counts.
const COUNT_WIDTH: usize = 8;

/// Prints the sources.
pub(super) fn annotate(
    args: &AnnotateArgs,
    settings: &Settings,
    console: Console,
    out: Console,
) -> Result<Exit, Message> {
    let invoker = invoker()?;
    let snapshot = data::load(&args.data, settings, args.input.allow_duplicates, &invoker, console)?;
    let directory = working_directory()?;
    let mut failed = None;
    let mut printed = false;
    for file in chosen(&snapshot, &args.sources, &directory)? {
        match source(file, &snapshot, &directory, &invoker) {
            Ok(text) => {
                let heading = if printed { "\n" } else { "" };
                stdout::print(&format!("{heading}{}", render(file, &text, &directory, settings.precision.0, out)))?;
                printed = true;
            }
            Err(error) => {
                // One source that is not there does not keep the others from being shown.
                if let Some(earlier) = failed.replace(error) {
                    console.warning(&earlier);
                }
            }
        }
    }
    match failed {
        Some(error) if printed => console.warning(&error),
        Some(error) => return Err(error),
        None => {}
    }
    Ok(Exit::Success)
}

/// The files that `names` mean: whole paths, or ends of paths. All of them without names.
pub(super) fn chosen<'a>(
    snapshot: &'a Snapshot,
    names: &[String],
    directory: &str,
) -> Result<Vec<&'a FileCoverage>, Message> {
    let files: Vec<&FileCoverage> = snapshot
        .files()
        .iter()
        .filter(|file| !file.lines().is_empty() || file.unmeasurable_lines().next().is_some())
        .collect();
    if files.is_empty() {
        return Err(Message::new(Slug::NoData, "no source file is in the data, or none is included"));
    }
    if names.is_empty() {
        return Ok(files);
    }
    let mut wanted = BTreeSet::new();
    for name in names {
        let whole = paths::normalize(directory, name);
        let end = paths::normalize("", name);
        let is_end = |path: &str| {
            path.strip_suffix(end.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('/'))
        };
        let exact = files.iter().position(|file| paths::normalize(directory, &**file.path()) == whole);
        let before = wanted.len();
        match exact {
            Some(at) => drop(wanted.insert(at)),
            None => wanted.extend(files.iter().enumerate().filter(|(_, file)| is_end(file.path())).map(|(at, _)| at)),
        }
        if wanted.len() == before && exact.is_none() {
            return Err(Message::new(Slug::NoSource, format!("{name}: no such source file is in the data")));
        }
    }
    Ok(files.into_iter().enumerate().filter(|(at, _)| wanted.contains(at)).map(|(_, file)| file).collect())
}

/// The text of a source, from where the data says that it is.
fn source(file: &FileCoverage, snapshot: &Snapshot, directory: &str, invoker: &Invoker) -> Result<String, Message> {
    // A relative path belongs to where we are, or to where the program ran.
    let here = paths::normalize(directory, &**file.path());
    let there = paths::normalize(snapshot.directory(), &**file.path());
    let read = |path: &str| read_source(path, invoker);
    let bytes = read(&here).or_else(|error| if there == here { Err(error) } else { read(&there).map_err(|_| error) });
    let error = |error: io::Error| Message::new(Slug::NoSource, format!("{}: {error}", file.path()));
    Ok(String::from_utf8_lossy(&bytes.map_err(error)?).into_owned())
}

/// A heading, then each line: a sign, the count, the number, the text.
fn render(file: &FileCoverage, text: &str, directory: &str, precision: usize, console: Console) -> String {
    let row = Row::of(file, directory);
    let unmeasurable: BTreeMap<u32, &str> = file.unmeasurable_lines().collect();
    let excluded: BTreeSet<u32> = file.excluded_lines().collect();
    let counts: BTreeMap<u32, String> =
        file.lines().iter().map(|(line, counter)| (line, count(counter, console))).collect();
    let wide = counts.values().map(|text| text.chars().count()).max().unwrap_or(0).max(COUNT_WIDTH);
    let lines = text.lines().count();
    let number_width = lines.max(1).to_string().len().max(4);
    let summary = format!(
        "{}: {} of {} lines executed, {}",
        shown(file.path(), directory),
        row.numbers.covered,
        row.numbers.lines,
        row.numbers.percent(precision)
    );
    let mut out = format!("{}\n", console.paint(BOLD, &summary));
    for (number, line) in (1u32..).zip(text.lines()) {
        let count = counts.get(&number).map_or("", String::as_str);
        let executed = file.lines().get(number).map(ExecutionCounter::is_hit);
        let (sign, style) = match executed {
            _ if excluded.contains(&number) => ('-', DIM),
            Some(true) => (' ', GREEN),
            Some(false) => ('!', RED),
            None if unmeasurable.contains_key(&number) => ('?', YELLOW),
            None => (' ', Style::new()),
        };
        let mut left = format!("{sign} {count:>wide$}  {number:>number_width$}  {}", harmless(line));
        left.truncate(left.trim_end().len());
        out.push_str(&console.paint(style, &left));
        if let Some(reason) = unmeasurable.get(&number) {
            out.push_str(&console.paint(DIM, &format!("  [not measurable: {}]", harmless(reason))));
        }
        out.push('\n');
    }
    let beyond = file.lines().iter().filter(|(line, _)| usize::try_from(*line).is_ok_and(|line| line > lines)).count();
    if beyond > 0 {
        let are = if beyond == 1 { "line is" } else { "lines are" };
        let text = format!("{beyond} executable {are} beyond the end: the file is not the one that was compiled");
        out.push_str(&format!("{}\n", console.paint(YELLOW, &text)));
    }
    out
}

/// Text with nothing that a terminal obeys, but tabs.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_sign_and_count() {
        let mut file = FileCoverage::new("/w/a.c");
        file.record(1, ExecutionCounter::exact(12), "");
        file.record(3, ExecutionCounter::at_least(1_000_000_000), "");
        file.executable(4);
        file.unmeasurable(5, "no \x1b[2J code");
        file.exclude(6);
        file.executable(9);
        let text = "int main() {\n\n\tloop();\x1b[31m\n  dead();\nodd();\nlog();\n}\n";
        let expected = "\
a.c: 2 of 4 lines executed, 50%
            12     1  int main() {
                   2
  >=1000000000     3  \tloop();\\u{1b}[31m
!            0     4    dead();
?                  5  odd();  [not measurable: no \\u{1b}[2J code]
-                  6  log();
                   7  }
1 executable line is beyond the end: the file is not the one that was compiled
";
        assert_eq!(render(&file, text, "/w", 0, Console::plain(80)), expected);
    }

    #[test]
    fn files_are_named_by_path_or_by_its_end() {
        let files = ["/w/src/a.c", "/w/lib/a.c", "/w/b.c", "/w/xb.c"].map(|path| {
            let mut file = FileCoverage::new(path);
            file.executable(1);
            file
        });
        let snapshot = Snapshot::new(Default::default(), Default::default(), Default::default(), files.into());
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let found = chosen(&snapshot, &names, "/w/src").map_err(|e| e.to_string())?;
            Ok::<_, String>(found.iter().map(|file| file.path().to_string()).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(names(&[]).unwrap(), "/w/b.c /w/lib/a.c /w/src/a.c /w/xb.c");
        assert_eq!(names(&["a.c"]).unwrap(), "/w/src/a.c");
        assert_eq!(names(&["lib/a.c", "b.c"]).unwrap(), "/w/b.c /w/lib/a.c");
        assert_eq!(names(&["../b.c"]).unwrap(), "/w/b.c");
        assert_eq!(names(&["c.c"]).unwrap_err(), "c.c: no such source file is in the data (no-source)");
    }
}
