//! What `cov-agent run -v` says of itself.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// What stands before the time that finding a plan in the cache took.
const CACHED: &str = "plan found in the cache in ";

/// The figures of one run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Said {
    /// Executable lines.
    pub(super) lines: u64,
    /// Armed probes.
    pub(super) probes: u64,
    /// How many of them sit on instructions that the kernel emulates.
    pub(super) emulated: u64,
    /// Hits of probes.
    pub(super) hits: u64,
    /// Those of them on instructions that are single-stepped.
    pub(super) dear_hits: Option<u64>,
    /// Reading the debug info, in milliseconds; or finding the plan in the cache.
    pub(super) read_ms: f64,
    /// Planning, in milliseconds; `None` where the plan was in the cache.
    pub(super) plan_ms: Option<f64>,
    /// Arming, in milliseconds.
    pub(super) arm_ms: f64,
    /// Writing the results, in milliseconds.
    pub(super) write_ms: f64,
    /// The agent's peak memory, in MiB.
    pub(super) agent_mib: f64,
}

impl Said {
    pub(super) fn json(&self) -> Value {
        let Self { lines, probes, emulated, hits, dear_hits, read_ms, plan_ms, arm_ms, write_ms, agent_mib } = *self;
        json!({
            "lines": lines,
            "probes": probes,
            "emulated": emulated,
            "hits": hits,
            "dear_hits": dear_hits,
            "read_ms": read_ms,
            "plan_ms": plan_ms,
            "arm_ms": arm_ms,
            "write_ms": write_ms,
            "peak_mib": agent_mib,
        })
    }

    /// Finds the figures in what the agent said.
    pub(super) fn read(text: &str) -> Result<Self> {
        let find = |before: &str, after: &str| {
            let found = text.split_once(before).and_then(|(_, rest)| rest.split_once(after));
            found.map(|(found, _)| found.trim().to_owned()).with_context(|| format!("no `{before}…` in {text}"))
        };
        let number = |before, after| -> Result<u64> { find(before, after)?.parse().context(before) };
        let time = |before, after| millis(&find(before, after)?).context(before);
        let mib = |before| -> Result<f64> { Ok(find(before, "kB")?.parse::<f64>().context(before)? / 1024.0) };
        let kept = text.contains(CACHED);
        let lines = find(": ", " lines, ")?;
        let lines = lines.rsplit(' ').next().unwrap_or_default();
        Ok(Self {
            lines: lines.parse().with_context(|| format!("lines: {lines}"))?,
            probes: number("armed ", " probes in")?,
            emulated: number(" probes (", " emulated")?,
            hits: number("counted ", " hits")?,
            dear_hits: number("; single-stepped ", "\n").ok(),
            read_ms: if kept { time(CACHED, "\n")? } else { time(", read in ", ",")? },
            plan_ms: if kept { None } else { Some(time("planned in ", "\n")?) },
            arm_ms: time(" probes in ", "\n")?,
            write_ms: time("wrote the results in ", "\n")?,
            agent_mib: mib("peak memory ")?,
        })
    }
}

/// How many probes were armed, in all objects.
pub(super) fn armed(text: &str) -> Result<f64> {
    let armed = text.split("cov-agent: armed ").skip(1).filter_map(|rest| rest.split_once(" probes in"));
    let counts: Vec<f64> = armed.map(|(count, _)| count.parse()).collect::<Result<_, _>>()?;
    anyhow::ensure!(!counts.is_empty(), "nothing was armed: {text}");
    Ok(counts.iter().sum())
}

/// A time as the agent prints it: `4.3ms`.
fn millis(text: &str) -> Result<f64> {
    let at = text.find(|c: char| c.is_alphabetic() || c == 'µ').context("a time without unit")?;
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "ns" => 1e-6,
        "µs" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        _ => anyhow::bail!("an unknown unit: {unit}"),
    };
    Ok(number.parse::<f64>()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found() {
        let text = "\
cov-agent: not measured: /lib/libc.so.6: a library of the system
cov-agent: read 1 objects in 14.9ms
cov-agent: ./a: b: 31 lines, 0 not measurable, 24 probes (18 emulated, 6 single-stepped) from 0x1179 to 0x132f, debug info \
in the object, read in 386.5µs, planned in 4.3ms
cov-agent: armed 24 probes in 1.5s
cov-agent: counted 77 hits, read in 91.6µs; single-stepped 5
cov-agent: wrote the results in 18.8ms
cov-agent: peak memory 10240 kB, of the program 2048 kB
";
        let said = Said::read(text).unwrap();
        let expected = Said {
            lines: 31,
            probes: 24,
            emulated: 18,
            hits: 77,
            dear_hits: Some(5),
            read_ms: 0.3865,
            plan_ms: Some(4.3),
            arm_ms: 1500.0,
            write_ms: 18.8,
            agent_mib: 10.0,
        };
        assert_eq!(said, expected);
        assert!(Said::read("nothing").is_err());
        assert!(millis("3 apples").is_err());
        let kept = text.replace("read in 386.5µs, planned in 4.3ms", "plan found in the cache in 2.5ms");
        assert_eq!(Said::read(&kept).unwrap(), Said { read_ms: 2.5, plan_ms: None, ..expected });
    }
}
