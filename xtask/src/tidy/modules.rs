//! Who may use whom: the table in ARCHITECTURE.md against the sources of `cov-agent`.

use anyhow::{Context as _, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

const SOURCES: &str = "cov-agent/src";
const MARK: &str = "<!-- tidy: modules -->";

/// What only some modules may use, and the words that show it in a source.
const GUARDED: &[(&str, &[&str])] = &[
    ("aya", &["aya::", "aya_"]),
    ("tokio", &["tokio::"]),
    ("anyhow", &["anyhow::"]),
    ("unsafe", &["unsafe {", "unsafe impl", "unsafe fn", "unsafe extern"]),
];

/// One row of the table.
#[derive(Debug, Default, PartialEq, Eq)]
struct Allowed {
    modules: BTreeSet<String>,
    guarded: BTreeSet<String>,
}

type Table = BTreeMap<String, Allowed>;

pub(super) fn check(architecture: &str, files: &[PathBuf], faults: &mut Vec<String>) -> Result<()> {
    let table = parse(architecture)?;
    let mut present = BTreeSet::new();
    for file in files {
        let Ok(inside) = file.strip_prefix(SOURCES) else { continue };
        let module = module_of(inside);
        if module != "lib" && file.extension().is_some_and(|e| e == "rs") {
            check_file(file, &module, &std::fs::read_to_string(file)?, &table, faults);
            present.insert(module);
        }
    }
    for module in table.keys().filter(|module| !present.contains(*module)) {
        faults.push(format!("ARCHITECTURE.md: no module {module} in {SOURCES}"));
    }
    Ok(())
}

fn check_file(file: &Path, module: &str, text: &str, table: &Table, faults: &mut Vec<String>) {
    let Some(allowed) = table.get(module) else {
        faults.push(format!("{}: ARCHITECTURE.md has no row for the module {module}", file.display()));
        return;
    };
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let place = || format!("{}:{}", file.display(), index + 1);
        for used in uses(code, table) {
            if used != module && !allowed.modules.contains(&used) {
                faults.push(format!("{}: {module} may not use {used}", place()));
            }
        }
        for (name, words) in GUARDED {
            if words.iter().any(|word| has_word(code, word)) && !allowed.guarded.contains(*name) {
                faults.push(format!("{}: {module} may not use {name}", place()));
            }
        }
    }
}

/// Whether `word` stands in `code` and does not continue another word.
fn has_word(code: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(inside))
}

/// The modules that `code` names after `crate::` or `cov_agent::`.
fn uses(code: &str, table: &Table) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for prefix in ["crate::", "cov_agent::"] {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            // In `crate::{a::{b, c}, d}` every name is looked at: those that are no module do no harm.
            let names = if rest.starts_with('{') { rest } else { rest.split_inclusive("::").next().unwrap_or(rest) };
            let words = names.split(|c: char| !c.is_alphanumeric() && c != '_');
            let first = if rest.starts_with('{') { usize::MAX } else { 1 };
            used.extend(words.take(first).filter(|word| table.contains_key(*word)).map(str::to_owned));
        }
    }
    used
}

/// `probe/kernel.rs` belongs to `probe`, `main.rs` to `main`.
fn module_of(inside: &Path) -> String {
    let first = inside.components().next().map(Component::as_os_str).unwrap_or_default();
    Path::new(first).file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Reads the table after the mark: module, modules it may use, other things it may use.
fn parse(architecture: &str) -> Result<Table> {
    let (_, rest) = architecture.split_once(MARK).with_context(|| format!("ARCHITECTURE.md has no {MARK}"))?;
    let rows = rest.lines().skip_while(|l| !l.starts_with('|')).take_while(|l| l.starts_with('|')).skip(2);
    let names = |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let mut table = Table::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').collect();
        let [module, modules, guarded, ..] = cells.as_slice() else { bail!("ARCHITECTURE.md: {row:?}") };
        let module = names(module).into_iter().next().with_context(|| format!("ARCHITECTURE.md: {row:?}"))?;
        table.insert(module, Allowed { modules: names(modules), guarded: names(guarded) });
    }
    for (module, allowed) in &table {
        for used in &allowed.modules {
            if !table.contains_key(used) {
                bail!("ARCHITECTURE.md: {module} may use {used}, which has no row");
            }
        }
        for name in &allowed.guarded {
            if !GUARDED.iter().any(|(guarded, _)| guarded == name) {
                bail!("ARCHITECTURE.md: {module} may use {name}, which tidy does not know");
            }
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "text\n<!-- tidy: modules -->\n\n| module | uses | also |\n|---|---|---|\n\
        | `object` | – | – |\n| `plan` | `object` | – |\n| `probe` | `plan`, `object` | `aya`, `unsafe` |\n\nmore\n";

    fn faults(module: &str, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        check_file(Path::new("x.rs"), module, text, &parse(TABLE).unwrap(), &mut faults);
        faults
    }

    #[test]
    fn the_table_is_read() {
        let table = parse(TABLE).unwrap();
        assert_eq!(table.len(), 3);
        assert_eq!(table["plan"].modules, BTreeSet::from(["object".to_owned()]));
        assert_eq!(table["probe"].guarded, BTreeSet::from(["aya".to_owned(), "unsafe".to_owned()]));
        assert!(parse(&TABLE.replace("`plan`, `object`", "`plan`, `objekt`")).is_err());
    }

    #[test]
    fn a_use_that_the_table_lacks_is_a_fault() {
        assert_eq!(faults("plan", "use crate::object::Row;\nuse crate::plan::Site;"), [""; 0]);
        assert_eq!(faults("plan", "use crate::probe::Probe;"), ["x.rs:1: plan may not use probe"]);
        assert_eq!(faults("object", "use crate::{object::{A, B}, plan};"), ["x.rs:1: object may not use plan"]);
        assert_eq!(faults("object", "fn f() -> cov_agent::plan::Site {"), ["x.rs:1: object may not use plan"]);
        assert_eq!(faults("object", "/// See [`crate::plan`]."), [""; 0]);
    }

    #[test]
    fn guarded_words_are_faults_elsewhere() {
        assert_eq!(faults("plan", "aya::maps::Array"), ["x.rs:1: plan may not use aya"]);
        assert_eq!(faults("plan", "let x = unsafe { f() };"), ["x.rs:1: plan may not use unsafe"]);
        assert_eq!(faults("probe", "let x = unsafe { aya::f() };"), [""; 0]);
        assert_eq!(faults("plan", "#![deny(unsafe_code)] himalaya::top()"), [""; 0]);
    }
}
