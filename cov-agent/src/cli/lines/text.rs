//! `cov-agent lines` for people.

use super::view::{FileView, LineView, NotMeasurableView, SlotNames, View};
use crate::cli::message::one_line;

/// The view as text: a paragraph a file, a line a source line.
pub(super) fn render(view: &View) -> String {
    let slots = SlotNames::new(&view.probes);
    let mut out = format!("{}  {}\n", one_line(&view.object.path), view.object.id);
    for file in &view.files {
        out.push_str(&format!("\n{}\n", one_line(&file.path)));
        push_lines(&mut out, file, &slots);
    }
    let lines: usize = view.files.iter().map(|f| f.lines.len()).sum();
    let not_measurable: usize = view.files.iter().map(|f| f.not_measurable.len()).sum();
    let emulated = view.probes.iter().filter(|p| p.instruction == "emulated").count();
    let stepped = view.probes.len() - emulated;
    out.push_str(&format!("\n{lines} lines in {} files, {not_measurable} not measurable\n", view.files.len()));
    out.push_str(&format!("{} probes: {emulated} emulated, {stepped} single-stepped\n", view.probes.len()));
    if view.files_left_out > 0 {
        out.push_str(&format!("{} files left out by --include and --exclude\n", view.files_left_out));
    }
    out
}

/// Lines of both kinds by rising number.
fn push_lines(out: &mut String, file: &FileView, slots: &SlotNames) {
    let mut without = file.not_measurable.iter().peekable();
    for line in &file.lines {
        while let Some(without) = without.next_if(|without| without.line < line.line) {
            push_not_measurable(out, without);
        }
        let LineView { line, addresses, count, .. } = line;
        out.push_str(&format!("{line:>7}  {}: count = {}\n", addresses.join(" "), slots.sum(count)));
    }
    without.for_each(|without| push_not_measurable(out, without));
}

fn push_not_measurable(out: &mut String, without: &NotMeasurableView) {
    let NotMeasurableView { line, addresses, explanation, .. } = without;
    out.push_str(&format!("{line:>7}  {}: not measurable, {explanation}\n", addresses.join(" ")));
}
