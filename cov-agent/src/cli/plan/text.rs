//! `cov-agent plan` for people.

use super::view::{FormulaView, View};
use crate::cli::lines::SlotNames;
use crate::cli::message::one_line;

/// The view as text: what there is and what it costs; `only_lines`: the formulas alone.
pub(super) fn render(view: &View, only_lines: bool) -> String {
    let slots = SlotNames::new(view.probes.iter().map(|priced| &priced.probe));
    let formulas: String = view.lines.iter().map(|line| formula(line, &slots)).collect();
    if only_lines {
        return formulas;
    }
    let emulated = view.probes.iter().filter(|p| p.probe.instruction == "emulated").count();
    let stepped = view.probes.len() - emulated;
    let mut out = format!("{}  {}\n\n", one_line(&view.object.path), view.object.id);
    out.push_str(&format!(
        "{} functions, {} blocks, {} unresolved\n",
        view.functions,
        view.blocks,
        view.unresolved.len()
    ));
    for unresolved in &view.unresolved {
        let name = unresolved.name.as_deref().unwrap_or("?");
        out.push_str(&format!("  {} {}: {}\n", unresolved.address, one_line(name), unresolved.reason));
    }
    let (dear, cheap) = (view.prices.single_stepped_ns, view.prices.emulated_ns);
    out.push_str(&format!(
        "{} probes for {}: {emulated} emulated ({cheap} ns a hit), {stepped} single-stepped ({dear} ns), prices {}\n",
        view.probes.len(),
        view.aim,
        view.prices.origin,
    ));
    let ms = |us: u64| format!("{}.{} ms", us / 1000, us % 1000 / 100);
    let (exec, pass) = (ms(view.expected.exec_us), ms(view.expected.pass_us));
    out.push_str(&format!("expected: {exec} more for each exec, {pass} for a hit of every probe\n"));
    out
}

fn formula(line: &FormulaView, slots: &SlotNames) -> String {
    let mut out = format!("{}:{}\n", one_line(&line.path), line.line);
    if !line.count.is_empty() {
        let sign = if line.exact { "=" } else { ">=" };
        out.push_str(&format!("  count {sign} {}\n", slots.sum(&line.count)));
    }
    let seen: Vec<String> = line.seen.iter().map(|sum| slots.sum(sum)).collect();
    out.push_str(&format!("  executed if one is above 0: {}\n", seen.join(", ")));
    out
}
