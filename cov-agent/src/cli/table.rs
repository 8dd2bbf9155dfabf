//! Tables of plain text: the first column to the left, the others to the right, paths shortened
//! from the left until the lines fit.

use super::console::{BOLD, Console, DIM, GREEN, RED, YELLOW};
use anstyle::Style;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// The least width that a shortened path is given.
const MIN_PATH: usize = 16;
/// Between two columns.
const GAP: &str = "  ";

/// A cell and how it looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A plain cell.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Style::new() }
    }

    /// A cell in a style.
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }

    /// A percentage, coloured at the thresholds that genhtml uses.
    pub(crate) fn percent(text: String, covered: u64, lines: u64) -> Self {
        let style = match (covered.saturating_mul(100), lines) {
            (_, 0) => DIM,
            (c, n) if c >= n.saturating_mul(90) => GREEN,
            (c, n) if c >= n.saturating_mul(75) => YELLOW,
            _ => RED,
        };
        Self::styled(text, style)
    }
}

/// A table: a heading, rows, a total.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// The columns' names; the first column holds paths.
    pub heading: Vec<&'static str>,
    /// The rows, each as long as the heading.
    pub rows: Vec<Vec<Cell>>,
    /// The last row, below a rule.
    pub total: Option<Vec<Cell>>,
    /// Whether the last column is text of any length, written behind the others.
    pub text_last: bool,
}

impl Table {
    /// The lines, each ended by a line break, none wider than the console unless its numbers are.
    pub(crate) fn render(&self, console: Console) -> String {
        let all = || self.rows.iter().chain(&self.total);
        let mut widths: Vec<usize> = self.heading.iter().map(|h| h.width()).collect();
        for row in all() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        if self.text_last
            && let (Some(width), Some(name)) = (widths.last_mut(), self.heading.last())
        {
            *width = name.width();
        }
        let numbers: usize = widths.iter().skip(1).map(|w| w + GAP.len()).sum();
        if let Some(path) = widths.first_mut() {
            *path = (*path).min(console.width().saturating_sub(numbers).max(MIN_PATH));
        }
        let rule = {
            let mark = if console.is_terminal() { "─" } else { "-" };
            console.paint(DIM, &mark.repeat(widths.first().copied().unwrap_or(0) + numbers))
        };
        let mut out = String::new();
        let heading: Vec<Cell> = self.heading.iter().map(|h| Cell::styled(*h, BOLD)).collect();
        self.push_row(&mut out, console, &widths, &heading);
        out.push_str(&format!("{rule}\n"));
        for row in &self.rows {
            self.push_row(&mut out, console, &widths, row);
        }
        if let Some(total) = &self.total {
            out.push_str(&format!("{rule}\n"));
            self.push_row(&mut out, console, &widths, total);
        }
        out
    }

    fn push_row(&self, out: &mut String, console: Console, widths: &[usize], row: &[Cell]) {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(widths).enumerate() {
            let text = if column == 0 { shorten(&cell.text, width, console.is_terminal()) } else { cell.text.clone() };
            let space = " ".repeat(width.saturating_sub(text.width()));
            let text = console.paint(cell.style, &text);
            if self.text_last && column + 1 == widths.len() {
                line.push_str(GAP);
                line.push_str(&text);
            } else if column == 0 {
                line.push_str(&text);
                line.push_str(&space);
            } else {
                line.push_str(GAP);
                line.push_str(&space);
                line.push_str(&text);
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// The end of `path` that fits `width` columns, after a sign that something is missing.
pub(crate) fn shorten(path: &str, width: usize, terminal: bool) -> String {
    if path.width() <= width {
        return path.to_owned();
    }
    let sign = if terminal { "…" } else { "..." };
    let mut room = width.saturating_sub(sign.width());
    let mut start = path.len();
    for (at, c) in path.char_indices().rev() {
        let Some(rest) = room.checked_sub(c.width().unwrap_or(0)) else { break };
        (room, start) = (rest, at);
    }
    format!("{sign}{}", path.get(start..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |path: &str, lines: &str, percent: &str| {
            vec![Cell::new(path), Cell::new(lines), Cell::percent(percent.to_owned(), 1, 2)]
        };
        Table {
            heading: vec!["File", "Lines", "Percent"],
            rows: vec![row("src/a.c", "7", "50.0%"), row("a/very/long/path/to/some/source/file.rs", "1234567", "0.1%")],
            total: Some(row("Total", "1234574", "0.1%")),
            text_last: false,
        }
    }

    #[test]
    fn plain_table_is_ascii_and_fits() {
        assert_eq!(
            table().render(Console::plain(40)),
            "\
File                      Lines  Percent
----------------------------------------
src/a.c                       7    50.0%
...some/source/file.rs  1234567     0.1%
----------------------------------------
Total                   1234574     0.1%
"
        );
    }

    #[test]
    fn paths_are_shortened_from_the_left_by_columns_not_bytes() {
        assert_eq!(shorten("src/main.c", 10, true), "src/main.c");
        assert_eq!(shorten("src/main.c", 9, true), "…c/main.c");
        assert_eq!(shorten("src/main.c", 9, false), "...main.c");
        assert_eq!(shorten("目录/文件.c", 7, true), "…文件.c");
        assert_eq!(shorten("abc", 1, true), "…");
    }
}
