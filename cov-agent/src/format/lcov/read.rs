//! Reading tracefiles, of lcov 1 and 2 and of those who write like them.

use crate::coverage::{ExecutionCounter, FileCoverage, Losses, Run, RunId, Snapshot, Way};
use crate::format::error::Budget;
use crate::format::text::Hashed;
use crate::format::{Limits, ReadError};
use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read};

/// The format's name in messages.
const NAME: &str = "LCOV tracefile";
/// The longest line that is read.
const MAX_LINE: usize = 1 << 16;

/// What is skipped: totals, which the records give themselves, and conditions within branches.
const SKIPPED: [&str; 12] = ["VER", "FNF", "FNH", "LF", "LH", "BRF", "BRH", "MCDC", "MCF", "MCH", "BRL", "BA"];

/// Reads a tracefile. Records of one file are added up. Test names become the run's program; the
/// run's id comes from the content; the time is not known. Paths stay as they are.
///
/// # Errors
/// It cannot be read, is none, is cut off, damaged or beyond the limits.
pub fn read(from: impl Read, limits: Limits) -> Result<Snapshot, ReadError> {
    let mut hashed = Hashed::new(from);
    let mut reader = Reader { budget: Budget::new(limits), tests: BTreeSet::new(), files: Vec::new(), record: None };
    let mut input = BufReader::with_capacity(1 << 16, &mut hashed);
    let mut line = Vec::new();
    let mut number = 0u64;
    while next_line(&mut input, &mut line, number + 1)? {
        number += 1;
        // Paths in other encodings stay readable.
        reader.line(String::from_utf8_lossy(&line).trim_end()).map_err(|bad| match bad {
            Bad::Line(what) => ReadError::damaged(NAME, format!("{what} (line {number})")),
            Bad::TooBig(error) => error,
        })?;
    }
    drop(input);
    if reader.record.is_some() {
        return Err(ReadError::Truncated { format: NAME, at: format!("line {number}") });
    }
    let run = Run {
        id: RunId(hashed.digest()),
        end: 0,
        program: reader.tests.into_iter().collect::<Vec<_>>().join(", "),
        tool: String::new(),
        ..Run::default()
    };
    Ok(Snapshot::new(run, BTreeSet::new(), Losses::default(), reader.files))
}

fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>, number: u64) -> Result<bool, ReadError> {
    line.clear();
    input.take(MAX_LINE as u64 + 1).read_until(b'\n', line)?;
    if line.len() > MAX_LINE {
        return Err(ReadError::damaged(NAME, format!("line {number} is longer than {MAX_LINE} bytes")));
    }
    Ok(!line.is_empty())
}

enum Bad {
    Line(String),
    TooBig(ReadError),
}

impl From<ReadError> for Bad {
    fn from(error: ReadError) -> Self {
        Self::TooBig(error)
    }
}

struct Reader {
    budget: Budget,
    tests: BTreeSet<String>,
    files: Vec<FileCoverage>,
    record: Option<Record>,
}

/// From `SF` to `end_of_record`.
struct Record {
    file: FileCoverage,
    /// Lines of functions by name.
    functions: HashMap<String, u32>,
    /// Lines of functions by lcov 2's index.
    indices: HashMap<u32, u32>,
    /// How many branches there were, by line, shape and jump.
    branches: HashMap<(u32, u32, u32), u32>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), Bad> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if line == "end_of_record" {
            self.files.extend(self.record.take().map(|record| record.file));
            return Ok(());
        }
        let (directive, rest) = line.split_once(':').unwrap_or((line, ""));
        match directive {
            "TN" => {
                if !rest.is_empty() {
                    self.tests.insert(rest.into());
                }
                return Ok(());
            }
            "SF" if self.record.is_some() => {
                return Err(Bad::Line("SF before the end of the last record".into()));
            }
            "SF" => {
                self.budget.file()?;
                let file = FileCoverage::new(rest);
                self.record =
                    Some(Record { file, functions: HashMap::new(), indices: HashMap::new(), branches: HashMap::new() });
                return Ok(());
            }
            "DA" | "FN" | "FNDA" | "FNL" | "FNA" | "BRDA" => {}
            _ if SKIPPED.contains(&directive) => return Ok(()),
            _ => return Err(Bad::Line(format!("{line:?} is no LCOV record"))),
        }
        let record = self.record.as_mut().ok_or_else(|| Bad::Line(format!("{directive} before any SF")))?;
        self.budget.records(1)?;
        record.data(directive, rest)
    }
}

impl Record {
    fn data(&mut self, directive: &str, rest: &str) -> Result<(), Bad> {
        let (first, rest) = rest.split_once(',').unwrap_or((rest, ""));
        match directive {
            // A checksum may follow.
            "DA" => self.file.record(line(first)?, count(rest.split(',').next().unwrap_or(""))?, ""),
            "BRDA" => self.branch(line(first)?, rest)?,
            "FN" => {
                // lcov 1.15 to 2.1 may give the last line before the name.
                let name = match rest.split_once(',') {
                    Some((end, name)) if end.parse::<u32>().is_ok() => name,
                    _ => rest,
                };
                // A macro's functions are on no line.
                let line = if first == "0" { 1 } else { line(first)? };
                self.functions.insert(name.into(), line);
                self.file.function(line, name, ExecutionCounter::ZERO);
            }
            "FNDA" => {
                let count = count(first)?;
                if let Some(&line) = self.functions.get(rest) {
                    self.file.function(line, rest, count);
                }
            }
            "FNL" => {
                let start = rest.split(',').next().unwrap_or("");
                self.indices.insert(index(first)?, line(start)?);
            }
            _ => {
                let (hits, name) = rest.split_once(',').unwrap_or((rest, ""));
                if let Some(&line) = self.indices.get(&index(first)?) {
                    self.file.function(line, name, count(hits)?);
                }
            }
        }
        Ok(())
    }
}

impl Record {
    /// `BLOCK,BRANCH,TAKEN`. lcov 2 may put an `e` before the block of an exception, and an expression in the branch's
    /// place: such branches count in their order.
    fn branch(&mut self, line: u32, rest: &str) -> Result<(), Bad> {
        let (place, taken) = rest.rsplit_once(',').unwrap_or((rest, ""));
        let (block, branch) = place.split_once(',').unwrap_or((place, ""));
        let digits = block.trim_start_matches('e');
        let jump = digits.parse().map_err(|_| Bad::Line(format!("{block:?} is no block of branches")))?;
        let (shape, ahead) = (u32::from(digits.len() != block.len()), &mut self.branches);
        let order = ahead.entry((line, shape, jump)).or_default();
        let number = branch.parse().unwrap_or(*order);
        *order = order.saturating_add(1);
        let counter = if taken == "-" { ExecutionCounter::ZERO } else { count(taken)? };
        self.file.way(Way { line, shape, jump, number, to: 0 }, counter);
        Ok(())
    }
}

fn line(text: &str) -> Result<u32, Bad> {
    text.parse().ok().filter(|&line| line > 0).ok_or_else(|| Bad::Line(format!("{text:?} is no line number")))
}

fn index(text: &str) -> Result<u32, Bad> {
    text.parse().map_err(|_| Bad::Line(format!("{text:?} is no index of a function")))
}

/// A count. Negative ones, which gcov's races leave, are 0 as for lcov; those beyond 64 bits lower
/// bounds; some tools write big ones as floating point.
fn count(text: &str) -> Result<ExecutionCounter, Bad> {
    if let Ok(count) = text.parse() {
        return Ok(ExecutionCounter::exact(count));
    }
    let count = text.parse::<f64>().ok().filter(|count| count.is_finite() || text.bytes().all(|b| b.is_ascii_digit()));
    let count = count.ok_or_else(|| Bad::Line(format!("{text:?} is no count")))?;
    // 2^64, the first that does not fit.
    if count >= 18_446_744_073_709_551_616.0 {
        return Ok(ExecutionCounter::at_least(u64::MAX));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 0 and 2^64")]
    Ok(ExecutionCounter::exact(count.max(0.0) as u64))
}
