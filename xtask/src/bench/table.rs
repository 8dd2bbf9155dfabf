//! Figures as tables in Markdown.

use super::linear::Linear;
use super::ways::{self, BREAKPOINTS, CLANG, DEFAULT, EXACT, KEPT, LINES_ONLY, PLAIN};
use super::{Measured, Outcome, programs};
use std::fmt::Write as _;

/// The columns, in this order; such as nothing was measured for are left out.
const ORDER: [&str; 10] =
    [PLAIN, DEFAULT, EXACT, LINES_ONLY, KEPT, programs::GCOV, programs::ATOMIC, CLANG, programs::LLVM, BREAKPOINTS];

/// How long a bar is at most.
const BAR: u32 = 40;

/// Which outcomes of a program a table is about.
type Pick = fn(&Measured) -> &[Outcome];

pub(super) fn row<S: AsRef<str>>(out: &mut String, name: &str, cells: impl IntoIterator<Item = S>) {
    let _ = write!(out, "| {name} |");
    for cell in cells {
        let _ = write!(out, " {} |", cell.as_ref());
    }
    out.push('\n');
}

/// A row for each program that was measured so, a column for each way that is not in `without`.
pub(super) fn by_way(
    programs: &[Measured],
    pick: Pick,
    without: &[&str],
    cell: impl Fn(&Outcome) -> Option<String>,
) -> String {
    let programs: Vec<&Measured> = programs.iter().filter(|program| !pick(program).is_empty()).collect();
    let there = |way: &&str| programs.iter().any(|program| pick(program).iter().any(|outcome| outcome.way == *way));
    let ways: Vec<&str> = ORDER.into_iter().filter(|way| !without.contains(way)).filter(there).collect();
    let mut out = String::new();
    row(&mut out, "program", &ways);
    row(&mut out, "---", ways.iter().map(|_| "---:"));
    for program in programs {
        let of = |way: &&str| pick(program).iter().find(|outcome| outcome.way == *way).and_then(&cell);
        row(&mut out, &program.name, ways.iter().map(|way| of(way).unwrap_or_else(|| "–".to_owned())));
    }
    out
}

/// What a run costs once, and what it costs for as long as it takes: from its short and its long runs.
pub(super) fn fixed_and_steady(programs: &[Measured]) -> String {
    let mut out = String::new();
    row(&mut out, "program", ["way", "once", "then, as a ratio"]);
    row(&mut out, "---", ["---", "---:", "---:"]);
    for program in programs {
        for long in program.long.iter().filter(|long| ![PLAIN, CLANG].contains(&long.way)) {
            let Some(short) = program.short.iter().find(|short| short.way == long.way) else { continue };
            let steady = (long.wall_ms - short.wall_ms) / (long.plain_ms - short.plain_ms);
            let once = short.wall_ms - steady * short.plain_ms;
            row(&mut out, &program.name, [long.way.to_owned(), format!("{once:.0} ms"), format!("{steady:.2}")]);
        }
    }
    out
}

/// Where the agent's own time goes.
pub(super) fn stages(programs: &[Measured]) -> String {
    let mut out = String::new();
    let head = [
        "lines",
        "probes",
        "of them emulated",
        "read",
        "plan",
        "both from the cache",
        "arm",
        "write",
        "disarm afterwards",
    ];
    row(&mut out, "program", head.into_iter().chain(["agent's memory"]));
    row(&mut out, "---", ["---:"; 10]);
    for program in programs {
        let of = |way: &str| program.short.iter().find(|outcome| outcome.way == way);
        let Some((exact, said)) = of(EXACT).and_then(|exact| Some((exact, exact.said?))) else { continue };
        let kept = of(KEPT).and_then(|kept| kept.said).map(|said| said.read_ms);
        let ms = |ms: Option<f64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.1} ms"));
        let cells = [
            said.lines.to_string(),
            said.probes.to_string(),
            said.emulated.to_string(),
            ms(Some(said.read_ms)),
            ms(said.plan_ms),
            ms(kept),
            ms(Some(said.arm_ms)),
            ms(Some(said.write_ms)),
            format!("{:.0} ms", exact.after_ms),
            format!("{:.0} MiB", said.agent_mib),
        ];
        row(&mut out, &program.name, cells);
    }
    out
}

/// What a hit costs by the runs that count every one.
pub(super) fn hits(programs: &[Measured]) -> String {
    let mut out = String::new();
    row(&mut out, "program", ["hits", "of them on dear instructions", "a hit"]);
    row(&mut out, "---", ["---:"; 3]);
    for program in programs {
        let exact = program.short.iter().find(|outcome| outcome.way == EXACT);
        let Some((exact, said)) = exact.and_then(|exact| Some((exact, exact.said?))) else { continue };
        let started = said.read_ms + said.plan_ms.unwrap_or_default() + said.arm_ms + said.write_ms;
        let each = (exact.wall_ms - exact.plain_ms - started).max(0.0) * 1e3 / said.hits.max(1) as f64;
        let each = if said.hits < 10_000 { "–".to_owned() } else { format!("{each:.1} µs") };
        let dear = said.dear_hits.map_or_else(|| "–".to_owned(), |dear| dear.to_string());
        row(&mut out, &program.name, [said.hits.to_string(), dear, each]);
    }
    out
}

/// How long each process of the suites takes.
pub(super) fn suites(programs: &[Measured]) -> String {
    let mut out = String::new();
    for program in programs.iter().filter(|program| program.processes > 1) {
        let each =
            |outcome: &Outcome| format!("{} {:.2} ms", outcome.way, outcome.wall_ms / f64::from(program.processes));
        let all: Vec<String> = program.short.iter().map(each).collect();
        let _ = writeln!(out, "{}: a process takes {}.", program.name, all.join(", "));
    }
    out
}

/// Points as numbers and as bars, and the straight line that they lie on.
pub(super) fn grows(linear: &Linear) -> String {
    let (begin, rise) = linear.line();
    let most = linear.points.iter().map(|point| point.1).fold(0.0, f64::max);
    let mut out = String::new();
    row(&mut out, linear.of, [linear.what, ""]);
    row(&mut out, "---:", ["---:", "---"]);
    for &(n, ms) in &linear.points {
        let bar: String = (0..BAR).take_while(|&n| f64::from(n) < ms / most * f64::from(BAR)).map(|_| '▇').collect();
        row(&mut out, &n.to_string(), [format!("{ms:.1} ms"), bar]);
    }
    let off = linear.points.iter().map(|&(n, ms)| (begin + rise * n - ms).abs()).fold(0.0, f64::max);
    let _ = writeln!(
        out,
        "\nA straight line: {begin:.1} ms and {:.1} µs for each; no point is further from it than {off:.1} ms.",
        rise * 1e3
    );
    out
}

/// Milliseconds, and the ratio where there is something to compare with.
pub(super) fn time(outcome: &Outcome) -> Option<String> {
    Some(match outcome.way {
        PLAIN | CLANG => format!("{:.1} ms", outcome.wall_ms),
        _ => format!("{:.1} ms ({:.1})", outcome.wall_ms, outcome.ratio),
    })
}

/// The ratio, or of plain programs the time in seconds.
pub(super) fn ratio(outcome: &Outcome) -> Option<String> {
    Some(match outcome.way {
        PLAIN | CLANG => format!("{:.2} s", outcome.wall_ms / 1e3),
        _ => format!("{:.2}", outcome.ratio),
    })
}

/// The same of processor time.
pub(super) fn cpu_ratio(outcome: &Outcome) -> Option<String> {
    Some(match outcome.way {
        PLAIN | CLANG => format!("{:.2} s", outcome.cpu_ms / 1e3),
        _ => format!("{:.2}", outcome.cpu_ratio),
    })
}

/// The ratio of peak memory, or of plain programs that memory.
pub(super) fn memory(outcome: &Outcome) -> Option<String> {
    let mib = outcome.peak_mib?;
    Some(match outcome.way {
        PLAIN | CLANG => format!("{mib:.1} MiB"),
        way if ways::is_agent(way) => {
            format!("{:.2}, and {:.0} MiB", outcome.memory_ratio?, outcome.said.map_or(0.0, |said| said.agent_mib))
        }
        _ => format!("{:.2}", outcome.memory_ratio?),
    })
}
