//! `cov-agent doctor`: what this machine can do, what is missing, and how to get it.

use super::console::{BOLD, Console, DIM, GREEN, RED, YELLOW};
use super::exit::Exit;
use super::message::{Message, Slug, one_line};
use super::object_args::DoctorArgs;
use super::stdout;
use crate::probe::{Fact, Facts, Prices, Verdict, facts};
use crate::process::may_write;
use serde::Serialize;
use std::time::Duration;

/// Looks, prints what it found, and tells by the exit code whether programs can be measured.
pub(super) fn run(args: DoctorArgs, stdout: Console) -> Result<Exit, Message> {
    let mut facts = facts();
    let after = facts.facts.iter().position(|fact| fact.name == "fanotify").map_or(facts.facts.len(), |at| at + 1);
    facts.facts.insert(after, code(may_write()));
    stdout::print(&if args.json { json(&facts)? } else { text(&facts, stdout) })?;
    Ok(if facts.ready() { Exit::Success } else { Exit::NotReady })
}

/// Whether probes can be taken out of running processes.
fn code(writable: bool) -> Fact {
    let (verdict, found, remedy) = match writable {
        true => (Verdict::Good, "code of running processes can be written to", None),
        false => {
            let remedy = "without it counts are exact whatever they cost, and --lines-only helps processes that start \
                          later; boot with proc_mem.force_override=always";
            (Verdict::Limited, "the kernel does not let code of running processes be written to", Some(remedy))
        }
    };
    Fact { name: "proc_mem", verdict, found: found.to_owned(), remedy }
}

/// The verdict as it is printed.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "ok",
        Verdict::Limited => "limited",
        Verdict::Missing => "missing",
        Verdict::Unknown => "unknown",
    }
}

/// A line for each fact, its remedy below, and what it comes to.
fn text(facts: &Facts, console: Console) -> String {
    let names = facts.facts.iter().map(|fact| fact.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for fact in &facts.facts {
        let style = match fact.verdict {
            Verdict::Good => GREEN,
            Verdict::Limited | Verdict::Unknown => YELLOW,
            Verdict::Missing => RED,
        };
        let verdict = console.paint(style, &format!("{:7}", word(fact.verdict)));
        out.push_str(&format!("{verdict}  {:names$}  {}\n", fact.name, one_line(&fact.found)));
        if let Some(remedy) = fact.remedy {
            let margin = " ".repeat(names + 11);
            out.push_str(&console.paint(DIM, &format!("{margin}{remedy}")));
            out.push('\n');
        }
    }
    out.push('\n');
    if let Some(prices) = facts.prices {
        out.push_str(&format!(
            "A hit costs {} at an instruction that the kernel emulates, {} at one that it single-steps.\n",
            micros(prices.emulated),
            micros(prices.single_stepped)
        ));
    }
    let ready = if facts.ready() {
        "Programs can be measured."
    } else if facts.facts.iter().any(|fact| fact.verdict == Verdict::Missing) {
        "Programs cannot be measured: see what is missing."
    } else {
        "Whether programs can be measured is not known."
    };
    out.push_str(&console.paint(BOLD, ready));
    out.push('\n');
    out
}

fn micros(time: Duration) -> String {
    format!("{:.2} µs", time.as_secs_f64() * 1e6)
}

/// What `--json` prints.
#[derive(Serialize)]
struct View<'a> {
    version: u32,
    ready: bool,
    facts: Vec<FactView<'a>>,
    hit_ns: Option<HitView>,
}

#[derive(Serialize)]
struct FactView<'a> {
    name: &'a str,
    verdict: &'a str,
    found: &'a str,
    remedy: Option<&'a str>,
}

#[derive(Serialize)]
struct HitView {
    emulated: u64,
    single_stepped: u64,
}

fn json(facts: &Facts) -> Result<String, Message> {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let hit = |Prices { emulated, single_stepped }| HitView {
        emulated: nanos(emulated),
        single_stepped: nanos(single_stepped),
    };
    let view = View {
        version: 1,
        ready: facts.ready(),
        facts: facts
            .facts
            .iter()
            .map(|fact| FactView {
                name: fact.name,
                verdict: word(fact.verdict),
                found: &fact.found,
                remedy: fact.remedy,
            })
            .collect(),
        hit_ns: facts.prices.map(hit),
    };
    let mut text = serde_json::to_string_pretty(&view)
        .map_err(|error| Message::new(Slug::Failed, format!("cannot write JSON: {error}")))?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Fact;

    fn sample() -> Facts {
        let fact = |name, found: &str, verdict, remedy| Fact { name, found: found.into(), verdict, remedy };
        Facts {
            facts: vec![
                fact("kernel", "Linux 6.18.0", Verdict::Good, None),
                fact("CAP_BPF", "no", Verdict::Missing, Some("run as root")),
                fact("fanotify", "not\nchecked", Verdict::Unknown, Some("needs a capability")),
            ],
            prices: None,
        }
    }

    #[test]
    fn the_text_is_aligned() {
        assert_eq!(
            text(&sample(), Console::plain(80)),
            "\
ok       kernel    Linux 6.18.0
missing  CAP_BPF   no
                   run as root
unknown  fanotify  not checked
                   needs a capability

Programs cannot be measured: see what is missing.
"
        );
    }

    #[test]
    fn prices_are_told_in_microseconds() {
        let mut facts = sample();
        facts.facts.truncate(1);
        facts.prices = Some(Prices::TYPICAL);
        assert_eq!(
            text(&facts, Console::plain(80)),
            "\
ok       kernel  Linux 6.18.0

A hit costs 0.65 µs at an instruction that the kernel emulates, 11.00 µs at one that it single-steps.
Programs can be measured.
"
        );
        let json: serde_json::Value = serde_json::from_str(&json(&facts).unwrap()).unwrap();
        let expected = serde_json::json!({
            "version": 1,
            "ready": true,
            "facts": [{"name": "kernel", "verdict": "ok", "found": "Linux 6.18.0", "remedy": null}],
            "hit_ns": {"emulated": 650, "single_stepped": 11_000},
        });
        assert_eq!(json, expected);
    }
}
