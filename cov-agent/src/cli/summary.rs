//! What a run ends with: a table of the files, what was left out or lost, where the files are.

use super::console::{BOLD, Console};
use super::losses;
use super::message::one_line;
use super::table::{Cell, Table};
use crate::coverage::{ExecutionCounter, LineTracker, Snapshot, paths, percent};
use crate::process::Ending;
use std::path::Path;

/// What was left out by the filter, for one line of the summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// How many source files.
    pub files: usize,
    /// The directory that the default filter keeps to; `None` when the person gave patterns.
    pub outside: Option<String>,
}

/// Prints the summary, unless `-q`.
pub(crate) fn print(console: Console, snapshot: &Snapshot, left_out: &LeftOut, written: &[impl AsRef<Path>]) {
    console.block(&table(console, snapshot));
    let unmeasurable: usize = snapshot.files().iter().map(|f| f.unmeasurable_lines().count()).sum();
    if unmeasurable > 0 {
        let (lines, are) = plural(unmeasurable, "line is", "lines are");
        console.block(&format!("{lines} {are} not measurable and not counted; cov-agent lines OBJECT says why\n"));
    }
    if let Some(line) = left_out.line() {
        console.block(&line);
    }
    for message in losses::messages(&snapshot.losses()) {
        console.warning(&message);
    }
    let names: Vec<String> = written.iter().map(|p| one_line(&p.as_ref().display().to_string())).collect();
    console.block(&format!("Written: {}\n", names.join(", ")));
}

/// How many of the contexts that failed are named.
const NAMED: usize = 20;

/// Which contexts ended otherwise than with success, one a line: what they ran is counted all the same.
pub(crate) fn failed<'a>(endings: impl Iterator<Item = (&'a str, Ending)>) -> String {
    let mut all: Vec<_> = endings.filter(|(name, _)| !name.is_empty()).collect();
    all.sort_unstable();
    let more = all.len().saturating_sub(NAMED);
    all.truncate(NAMED);
    let mut text: String = all
        .iter()
        .map(|(name, ending)| format!("Failed, and counted until then: {} ({ending})\n", one_line(name)))
        .collect();
    if more > 0 {
        text.push_str(&format!("and {more} more failed\n"));
    }
    text
}

/// What is said where the kernel arms each probe on its own.
pub(crate) fn one_by_one(probes: usize) -> String {
    let (probes, were) = plural(probes, "probe was", "probes were");
    format!(
        "{probes} {were} armed one by one, for this kernel lacks uprobe.multi (Linux 6.6); disarming goes on in the background\n"
    )
}

impl LeftOut {
    fn line(&self) -> Option<String> {
        if self.files == 0 {
            return None;
        }
        let (files, were) = plural(self.files, "source file", "source files");
        Some(match &self.outside {
            Some(root) => {
                format!("{files} {were} outside {} left out; include them with --include '**'\n", one_line(root))
            }
            None => format!("{files} {were} left out by --include and --exclude\n"),
        })
    }
}

/// `n`, and the form that goes with it.
fn plural<'a>(n: usize, one: &'a str, many: &'a str) -> (usize, &'a str) {
    (n, if n == 1 { one } else { many })
}

/// The table of files, sorted by path, with totals.
pub(crate) fn table(console: Console, snapshot: &Snapshot) -> String {
    let mut total = (0, 0);
    let rows = snapshot.files().iter().filter(|file| !file.lines().is_empty()).map(|file| {
        let lines = file.lines();
        total = (total.0 + lines.len(), total.1 + lines.hit());
        let name = one_line(paths::relative(snapshot.directory(), file.path()));
        let mut row = vec![Cell::new(name)];
        row.extend(numbers(lines.len(), lines.hit()));
        let (line, count) = hottest(lines).map_or_else(Default::default, |(line, count)| {
            (line.to_string(), if console.is_terminal() { count.to_string() } else { plain(count) })
        });
        row.extend([Cell::new(line), Cell::new(count)]);
        row
    });
    let rows: Vec<_> = rows.collect();
    let name = match rows.len() {
        1 => "Total (1 file)".to_owned(),
        n => format!("Total ({n} files)"),
    };
    let mut last = vec![Cell::styled(name, BOLD)];
    last.extend(numbers(total.0, total.1));
    let heading = vec!["File", "Lines", "Covered", "Percent", "Hottest", "Count"];
    Table { heading, rows, total: Some(last), text_last: false }.render(console)
}

fn numbers(lines: usize, covered: usize) -> [Cell; 3] {
    let text = if lines == 0 { "-".to_owned() } else { format!("{}%", percent::display(covered, lines, 1)) };
    [Cell::new(lines.to_string()), Cell::new(covered.to_string()), Cell::percent(text, covered as u64, lines as u64)]
}

/// The line that was entered most often, the first of several.
fn hottest(lines: &LineTracker) -> Option<(u32, ExecutionCounter)> {
    lines.hits().max_by_key(|(line, counter)| (counter.value(), std::cmp::Reverse(*line)))
}

/// A counter in ASCII.
fn plain(counter: ExecutionCounter) -> String {
    format!("{}{}", if counter.is_lower_bound() { ">=" } else { "" }, counter.value())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::{CoverageCollector, LossKind, Run};

    fn snapshot() -> Snapshot {
        let collector = CoverageCollector::coverage_init();
        for line in 1..=2000 {
            collector.record("/w/src/a.c", line, ExecutionCounter::exact(u64::from(line % 1999 + 1)), "");
        }
        collector.executable("/w/src/a.c", 2001);
        collector.record("/usr/include/b.h", 3, ExecutionCounter::at_least(7), "");
        collector.record("/usr/include/b.h", 9, ExecutionCounter::exact(7), "");
        collector.executable("/w/none.c", 1);
        collector.unmeasurable("/w/only.c", 1, "reason");
        collector.losses_mut().add_detail(LossKind::UnattachedObjects, "/lib/x.so: damaged");
        collector.coverage_cleanup(Run { directory: "/w".into(), ..Run::default() })
    }

    #[test]
    fn the_table_is_plain_and_exact() {
        assert_eq!(
            table(Console::plain(80), &snapshot()),
            "\
File              Lines  Covered  Percent  Hottest  Count
---------------------------------------------------------
/usr/include/b.h      2        2   100.0%        3    >=7
none.c                1        0     0.0%
src/a.c            2001     2000    99.9%     1998   1999
---------------------------------------------------------
Total (3 files)    2004     2002    99.9%
"
        );
    }

    #[test]
    fn what_failed_is_named() {
        let endings =
            [("t2", Ending::Exited(4)), ("", Ending::Exited(1)), ("t1", Ending::Killed { signal: 6, core: false })];
        let text = "Failed, and counted until then: t1 (killed by SIGABRT)\n\
                    Failed, and counted until then: t2 (exit code 4)\n";
        assert_eq!(failed(endings.into_iter()), text);
        let names: Vec<String> = (0..23).map(|n| n.to_string()).collect();
        let said = failed(names.iter().map(|name| (name.as_str(), Ending::Exited(1))));
        assert_eq!((said.lines().count(), said.lines().last()), (21, Some("and 3 more failed")));
        assert_eq!(failed([].into_iter()), "");
    }

    #[test]
    fn files_left_out_are_told_with_the_way_to_include_them() {
        let line = |files, outside: Option<&str>| LeftOut { files, outside: outside.map(Into::into) }.line();
        assert_eq!(line(0, Some("/w")), None);
        assert_eq!(
            line(412, Some("/w")).as_deref(),
            Some("412 source files outside /w left out; include them with --include '**'\n")
        );
        assert_eq!(line(1, None).as_deref(), Some("1 source file left out by --include and --exclude\n"));
    }
}
