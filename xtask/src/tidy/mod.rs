//! `cargo xtask tidy`: rules that no compiler knows.

mod docs;
mod files;
mod modules;
mod wordings;

use crate::shell::{command, output};
use anyhow::{Result, bail};
use std::path::PathBuf;

/// Checks them all.
pub(crate) fn run() -> Result<()> {
    let files = tracked()?;
    let mut faults = Vec::new();
    let architecture = std::fs::read_to_string("ARCHITECTURE.md")?;
    modules::check(&architecture, &files, &mut faults)?;
    files::check(&files, &mut faults)?;
    docs::check(&files, &mut faults)?;
    wordings::check(&files, &mut faults)?;
    if faults.is_empty() {
        return Ok(());
    }
    for fault in &faults {
        eprintln!("tidy: {fault}");
    }
    bail!("{} faults", faults.len())
}

/// The files of the repository, those not yet committed included.
pub(crate) fn tracked() -> Result<Vec<PathBuf>> {
    let listed = output(&mut command("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    let mut files: Vec<_> = listed.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    files.retain(|file| file.is_file());
    files.sort();
    files.dedup();
    Ok(files)
}
