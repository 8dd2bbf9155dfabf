//! What debug info says of addresses, in the words of `llvm-dwarfdump`: another reader than the agent's.

use crate::Build;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// A file name, a line in it, and addresses that belong to it.
pub(crate) type Place = (String, u32, Range<u64>);

fn dump(what: &str, program: &Path) -> String {
    Build::with("llvm-dwarfdump-22", Path::new("/")).arg(what).arg(program).run()
}

/// The rows of the line table. An empty row has the first byte of what follows.
pub(crate) fn rows(program: &Path) -> Vec<Place> {
    let mut rows = Vec::new();
    let mut names = BTreeMap::new();
    let mut index = 0u32;
    let mut last: Option<(u64, u32, u32)> = None;
    for line in dump("--debug-line", program).lines() {
        if line.starts_with("debug_line[") {
            names.clear();
        } else if let Some(rest) = line.strip_prefix("file_names[") {
            index = rest.split(']').next().unwrap().trim().parse().unwrap();
        } else if let Some(rest) = line.trim_start().strip_prefix("name: \"") {
            names.insert(index, base_name(rest.strip_suffix('"').unwrap()));
        } else if let Some(rest) = line.strip_prefix("0x") {
            let fields: Vec<_> = rest.split_whitespace().collect();
            let address = hexadecimal(fields[0]);
            if let Some((begin, number, file)) = last.take() {
                rows.push((names[&file].clone(), number, begin..address.max(begin + 1)));
            }
            if !fields.contains(&"end_sequence") {
                last = Some((address, fields[1].parse().unwrap(), fields[3].parse().unwrap()));
            }
        }
    }
    assert!(!rows.is_empty(), "{} has no line table", program.display());
    rows
}

/// A debugging information entry, as far as functions need it.
#[derive(Default)]
struct Entry {
    is_function: bool,
    file: Option<String>,
    line: Option<u32>,
    /// The entry that this one is a copy or the definition of.
    origin: Option<u64>,
    low: Option<u64>,
    ranges: Vec<Range<u64>>,
}

/// The code of every function, inlined copies too, with the function's declaration line.
pub(crate) fn functions(program: &Path) -> Vec<Place> {
    let mut entries = BTreeMap::<u64, Entry>::new();
    let mut offset = 0;
    for line in dump("--debug-info", program).lines() {
        if let Some((at, tag)) = line.strip_prefix("0x").and_then(|rest| rest.split_once(": ")) {
            offset = hexadecimal(at);
            let is_function = tag.contains("DW_TAG_subprogram") || tag.contains("DW_TAG_inlined_subroutine");
            entries.insert(offset, Entry { is_function, ..Entry::default() });
            continue;
        }
        let Some(entry) = entries.get_mut(&offset) else { continue };
        let line = line.trim();
        if let Some(range) = line.strip_prefix("[0x") {
            let (begin, rest) = range.split_once(", 0x").unwrap();
            entry.ranges.push(hexadecimal(begin)..hexadecimal(rest.split(')').next().unwrap()));
            continue;
        }
        let Some((name, value)) = line.split_once("\t(") else { continue };
        let value = value.trim_end_matches(')');
        let number = || hexadecimal(value.trim_start_matches("0x").split(' ').next().unwrap());
        match name {
            "DW_AT_decl_file" => entry.file = Some(base_name(value.trim_matches('"'))),
            "DW_AT_decl_line" => entry.line = value.parse().ok(),
            "DW_AT_abstract_origin" | "DW_AT_specification" => entry.origin = Some(number()),
            "DW_AT_low_pc" => entry.low = Some(number()),
            "DW_AT_high_pc" => entry.ranges.extend(entry.low.map(|low| low..number())),
            _ => {}
        }
    }
    let mut functions = Vec::new();
    for entry in entries.values().filter(|entry| entry.is_function) {
        let chain = || std::iter::successors(Some(entry), |entry| entries.get(&entry.origin?)).take(4);
        let file = chain().find_map(|entry| entry.file.clone());
        let line = chain().find_map(|entry| entry.line);
        if let (Some(file), Some(line)) = (file, line) {
            functions.extend(entry.ranges.iter().map(|range| (file.clone(), line, range.clone())));
        }
    }
    assert!(!functions.is_empty(), "{} has no functions", program.display());
    functions
}

fn base_name(path: &str) -> String {
    path.rsplit('/').next().unwrap().to_owned()
}

pub(crate) fn hexadecimal(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap_or_else(|e| panic!("{text:?}: {e}"))
}
