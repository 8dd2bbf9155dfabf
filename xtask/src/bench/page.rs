//! The page of the manual that has the figures.

use super::python::Python;
use super::ways::KEPT;
use super::{Figures, table};
use crate::shell::{command, output};
use std::fs;

/// All of it, in Markdown.
pub(super) fn render(figures: &Figures) -> String {
    let Figures { programs, execs, python, linear } = figures;
    let mut out = format!(
        "# Figures\n\n<!-- `cargo xtask bench --write` writes this page. -->\n\n\
        Measured on {}. Medians of runs in turns, so that what else the machine does hits all ways alike. Ratios are to the \
        same program, by the same compiler, without anything. `cargo xtask bench` (as root) measures the same on your \
        machine, `--json` for scripts. [What it costs](cost.md) explains them.\n",
        machine()
    );
    let mut section = |title: &str, intro: &str, body: &str| {
        out.push_str(&format!("\n## {title}\n\n{intro}\n\n{body}"));
    };
    let long = |cell| table::by_way(programs, |p| &p.long, &[], cell);
    let is_long = programs.iter().any(|program| !program.long.is_empty());
    if is_long {
        section(
            "Runs of more than a second",
            "Time from start to end, as a ratio:",
            &long(table::ratio as fn(&super::Outcome) -> Option<String>),
        );
        section("Their processor time", "The agent's own included, as a ratio:", &long(table::cpu_ratio));
        section(
            "Once, and then",
            "A run costs something once: the start, each probe's first hit, writing the results. What it does again and \
            again costs a share of its time. From the same work done once and often:",
            &table::fixed_and_steady(programs),
        );
    }
    section(
        "Runs of milliseconds",
        "Here the start is all that counts, and a program does much in each microsecond. `exact` counts every entry of every \
        line, `plan kept` is `lines only` with the plan out of the cache, `gdb` counts breakpoints on all statements:",
        &table::by_way(programs, |p| &p.short, &[], table::time),
    );
    section("Many processes", "Each pays for its own exec:", &table::suites(programs));
    section(
        "Memory",
        "The program's peak as a ratio, and beside it the agent's own:",
        &table::by_way(programs, |p| &p.short, &[KEPT], table::memory),
    );
    section("The agent's own time", "In the runs that count everything:", &table::stages(programs));
    section("Hits", "In the same runs; time beyond the agent's own, for each hit:", &table::hits(programs));
    section("Execs", "What the gate costs those who start programs, 10 000 of them a minute:", &execs.render());
    if !python.is_empty() {
        section("Lines of Python", "The tests of boltons but for those that wait for a time:", &Python::render(python));
    }
    for grown in linear {
        let title = format!("More {}: {}", grown.of, grown.what);
        section(&title, "How much longer it takes with the agent:", &table::grows(grown));
    }
    out
}

/// The machine, in a few words.
fn machine() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel: String = kernel.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processors = info.lines().filter(|line| line.starts_with("processor")).count();
    let is_virtual = info.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor"));
    let kind = if is_virtual { "a virtual machine" } else { "a machine" };
    let gcc = output(&mut command("gcc", ["-dumpfullversion"])).unwrap_or_default();
    format!("{kind} with {processors} processors and Linux {kernel}, with gcc {}", gcc.trim())
}
