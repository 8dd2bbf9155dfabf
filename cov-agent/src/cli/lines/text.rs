//! `cov-agent lines` for people.

use super::view::{SlotNames, View};
use std::io::{self, Write};

/// Writes the view as text: a paragraph a file, a line a source line.
pub(super) fn write(view: &View, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}  {}", view.object.path, view.object.id)?;
    let slots = SlotNames::new(&view.probes);
    for file in &view.files {
        writeln!(out, "\n{}", file.path)?;
        let mut not_measurable = file.not_measurable.iter().peekable();
        for line in &file.lines {
            while let Some(without) = not_measurable.next_if(|n| n.line < line.line) {
                writeln!(out, "{:>7}  {}: not measurable, {}", without.line, without.addresses.join(" "), without.explanation)?;
            }
            writeln!(out, "{:>7}  {}: count = {}", line.line, line.addresses.join(" "), slots.sum(&line.count))?;
        }
        for without in not_measurable {
            writeln!(out, "{:>7}  {}: not measurable, {}", without.line, without.addresses.join(" "), without.explanation)?;
        }
    }
    let lines: usize = view.files.iter().map(|f| f.lines.len()).sum();
    let not_measurable: usize = view.files.iter().map(|f| f.not_measurable.len()).sum();
    let emulated = view.probes.iter().filter(|p| p.instruction == "emulated").count();
    writeln!(out, "\n{lines} lines in {} files, {not_measurable} not measurable", view.files.len())?;
    writeln!(out, "{} probes: {emulated} emulated, {} single-stepped", view.probes.len(), view.probes.len() - emulated)?;
    if view.files_left_out > 0 {
        writeln!(out, "{} files left out by --include and --exclude", view.files_left_out)?;
    }
    Ok(())
}
