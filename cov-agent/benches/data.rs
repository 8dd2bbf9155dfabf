//! What big data costs: writing, reading and merging a made-up project of 10 000 files with 10 million executable
//! lines. `cargo xtask bench --data` runs it.
//!
//! Every figure is taken in a process of its own, so that none has another's memory. Memory is the peak of the
//! resident set beyond what was resident before.

use anyhow::{Context as _, Result, bail, ensure};
use cov_agent::coverage::synthetic::synthetic;
use cov_agent::coverage::{ExecutionCounter, LineTracker, Snapshot};
use cov_agent::format::output::{OutputDir, OwnRights};
use cov_agent::format::{self, Format, Limits, coverage_db, input};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How big the data is.
#[derive(Clone, Copy)]
struct Size {
    files: u32,
    lines: u32,
    /// Raw files that are merged.
    shards: u64,
}

const REAL: Size = Size { files: 10_000, lines: 1_000, shards: 100 };
/// Proves that it works.
const SMOKE: Size = Size { files: 50, lines: 100, shards: 4 };

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let size = if has("--smoke") { SMOKE } else { REAL };
    let words: Vec<&str> = args.iter().map(String::as_str).filter(|arg| !arg.starts_with("--")).collect();
    if let [action, what, directory] = words[..] {
        let figures = measure(action, what, Path::new(directory), size)?;
        println!("{figures}");
        return Ok(());
    }
    let directory = PathBuf::from(words.first().copied().unwrap_or("target/bench-data"));
    fs::create_dir_all(&directory)?;
    let rows = all(&directory, has("--smoke"))?;
    if has("--json") {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        table(&rows);
    }
    let over: Vec<_> = rows.iter().filter(|row| row["over"] == true).map(|row| row["what"].to_string()).collect();
    ensure!(over.is_empty(), "above the limit: {}", over.join(", "));
    Ok(())
}

/// Takes every figure.
fn all(directory: &Path, smoke: bool) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    let apart = |action: &str, what: &str| -> Result<Value> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([action, what]).arg(directory).args(smoke.then_some("--smoke"));
        let output = command.stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "{action} {what}: {}", output.status);
        serde_json::from_slice(&output.stdout).with_context(|| format!("{action} {what}"))
    };
    let mut take = |action: &str, what: &str, limits: (f64, f64)| -> Result<()> {
        eprintln!("{action} {what}");
        let mut row = apart(action, what)?;
        let above = |key: &str, limit: f64| row[key].as_f64().is_some_and(|figure| figure > limit);
        let over = above("seconds", limits.0) || above("mib", limits.1) || above("bytes_a_line", 40.0);
        row["over"] = (over && !smoke).into();
        row["what"] = format!("{action} {what}").into();
        rows.push(row);
        Ok(())
    };
    let any = f64::INFINITY;
    for what in ["dense", "sparse"] {
        take("memory", what, (any, any))?;
    }
    for format in Format::ALL {
        take("write", format.name(), (2.0, any))?;
    }
    for format in Format::ALL {
        take("read", format.name(), (if format == Format::Raw { 1.0 } else { any }, any))?;
    }
    apart("shards", "raw")?;
    take("merge", "raw", (any, 100.0))?;
    Ok(rows)
}

fn measure(action: &str, what: &str, directory: &Path, size: Size) -> Result<Value> {
    match action {
        "memory" => memory(what, size),
        "write" => write(what.parse()?, directory, size),
        "read" => read(what.parse()?, directory),
        "shards" => shards(directory, size),
        "merge" => merge(directory, size),
        _ => bail!("{action}: memory, write, read, shards or merge"),
    }
}

/// Lines of one run in memory; dense: all of a file, rising; sparse: each four-hundredth, scattered.
fn memory(what: &str, size: Size) -> Result<Value> {
    let before = resident()?;
    let mut trackers = Vec::with_capacity(size.files as usize);
    for _ in 0..size.files {
        let mut lines = LineTracker::default();
        for at in 0..size.lines {
            // 7919 is prime to every size here, so each line comes once.
            let line = if what == "dense" { at + 1 } else { (at * 7919 % size.lines) * 400 + 1 };
            lines.record(line, ExecutionCounter::exact(u64::from(at)));
        }
        trackers.push(lines);
    }
    let bytes = resident()?.saturating_sub(before) as f64;
    let lines: usize = trackers.iter().map(LineTracker::len).sum();
    Ok(json!({ "bytes_a_line": bytes / lines as f64 }))
}

fn write(format: Format, directory: &Path, size: Size) -> Result<Value> {
    let snapshot = synthetic(1, size.files, size.lines);
    let output = OutputDir::open(directory, &OwnRights)?;
    let all = |out: &mut dyn Write| match format {
        // Without the plugin it keeps only files that are there.
        Format::Coverage => {
            let options = coverage_db::Options { plugin: true, ..coverage_db::Options::default() };
            coverage_db::write(&snapshot, &options, out)
        }
        format => format::write(format, &snapshot, out),
    };
    let mut figures = timed(|| Ok(output.replace(vec![(format.file_name(), all)])?))?.1;
    let bytes = fs::metadata(directory.join(format.file_name()))?.len();
    figures["file_mib"] = mib(bytes).into();
    Ok(figures)
}

/// Reads what [`write`] wrote.
fn read(format: Format, directory: &Path) -> Result<Value> {
    let file = File::open(directory.join(format.file_name()))?;
    let (snapshot, figures) = timed(|| Ok(input::read(&file, Limits::default())?))?;
    ensure!(!snapshot.files().is_empty(), "nothing was read");
    Ok(figures)
}

/// Makes what [`merge`] merges, in another process: what it frees would hide what merging takes.
fn shards(directory: &Path, size: Size) -> Result<Value> {
    let shards = directory.join(format!("shards-{}", size.files));
    fs::create_dir_all(&shards)?;
    let output = OutputDir::open(&shards, &OwnRights)?;
    for run in 1..=size.shards {
        let name = format!("{run}.dat");
        if !shards.join(&name).exists() {
            let snapshot: Snapshot = synthetic(run, size.files, size.lines);
            output.replace(vec![(&*name, |out: &mut dyn Write| format::write(Format::Raw, &snapshot, out))])?;
        }
    }
    Ok(Value::Null)
}

fn merge(directory: &Path, size: Size) -> Result<Value> {
    let inputs = input::find([directory.join(format!("shards-{}", size.files))])?;
    ensure!(inputs.len() as u64 == size.shards, "{} shards", inputs.len());
    let mut out = File::create(directory.join("merged"))?;
    Ok(timed(|| Ok(input::merge_to_raw(&inputs, &input::Options::default(), &mut out)?))?.1)
}

/// Time and peak memory of `act`.
fn timed<T>(act: impl FnOnce() -> Result<T>) -> Result<(T, Value)> {
    // The peak starts anew (proc(5), clear_refs).
    fs::write("/proc/self/clear_refs", "5")?;
    let (before, cpu) = (resident()?, cpu_seconds()?);
    let start = Instant::now();
    let result = act()?;
    let took: Duration = start.elapsed();
    let peak = status("VmHWM:")?.saturating_sub(before);
    let cpu = cpu_seconds()? - cpu;
    Ok((result, json!({ "seconds": took.as_secs_f64(), "cpu_seconds": cpu, "mib": mib(peak) })))
}

/// What all threads of this process took of the processors, the kernel's work for them included.
fn cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may hold anything: utime and stime are the fields 14 and 15 of proc(5), in 1/100 s.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("/proc/self/stat")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn resident() -> Result<u64> {
    status("VmRSS:")
}

/// A size of this process in bytes.
fn status(key: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)).context("no such key")?;
    let kib: u64 = value.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

fn table(rows: &[Value]) {
    println!("| what | time | processor time | peak memory beyond | file | a line |");
    println!("|---|---:|---:|---:|---:|---:|");
    for row in rows {
        let cell = |key: &str, unit: &str, digits: usize| {
            row[key].as_f64().map_or_else(String::new, |figure| format!("{figure:.digits$} {unit}"))
        };
        println!(
            "| {}{} | {} | {} | {} | {} | {} |",
            row["what"].as_str().unwrap_or_default(),
            if row["over"] == true { " (above the limit)" } else { "" },
            cell("seconds", "s", 2),
            cell("cpu_seconds", "s", 2),
            cell("mib", "MiB", 0),
            cell("file_mib", "MiB", 0),
            cell("bytes_a_line", "bytes", 1),
        );
    }
}
