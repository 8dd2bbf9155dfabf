//! Results as tables in Markdown.

use super::Measured;
use std::fmt::Write as _;

/// Two tables: what a run costs, and where the agent's own time and memory go.
pub(super) fn render(results: &[Measured]) -> String {
    let mut out = String::from(
        "| program | lines | probes | hits | plain | with the agent | as a ratio | from the cache | compiled for coverage | as a ratio |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for Measured { name, plain_ms, agent_ms, cached_ms, compiled_ms, said, .. } in results {
        let ratio = |ms: f64| format!("{:.1}", ms / plain_ms);
        let compiled = compiled_ms.map_or("–".to_owned(), |ms| format!("{ms:.1} ms"));
        let compiled_ratio = compiled_ms.map_or("–".to_owned(), ratio);
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} | {plain_ms:.1} ms | {agent_ms:.1} ms | {} | {cached_ms:.1} ms | {compiled} | {compiled_ratio} |",
            said.lines,
            said.probes,
            said.hits,
            ratio(*agent_ms),
        );
    }
    out.push_str(
        "\n| program | read | plan | both from the cache | arm | write | disarm afterwards | agent's memory | program's memory |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for Measured { name, said, disarm_ms, from_cache_ms, .. } in results {
        let _ = writeln!(
            out,
            "| {name} | {:.1} ms | {:.1} ms | {from_cache_ms:.1} ms | {:.1} ms | {:.1} ms | {disarm_ms:.0} ms | {:.0} MiB | {:.0} MiB |",
            said.read_ms, said.plan_ms, said.arm_ms, said.write_ms, said.agent_mib, said.program_mib,
        );
    }
    for Measured { name, processes, plain_ms, agent_ms, said, .. } in results {
        if *processes > 1 {
            let each = |ms: f64| ms / f64::from(*processes);
            let _ = writeln!(
                out,
                "\n{name}: a process takes {:.2} ms plain and {:.2} ms with {} probes armed.",
                each(*plain_ms),
                each(*agent_ms),
                said.probes
            );
        }
    }
    out
}
