//! Where plans of earlier runs are kept.

use super::console::Console;
use super::message::{Message, Slug};
use crate::config::Settings;
use crate::runner::Cache;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The most that all plans together may take on disk.
const MAX_BYTES: u64 = 256 << 20;

/// The cache of the settings, if they have one; `shape` is what shapes plans beside objects. A directory that was asked for
/// and cannot be used is told.
pub(super) fn open(settings: &Settings, directory: &Path, shape: String, console: Console) -> Option<Cache> {
    if !*settings.plan_cache {
        return None;
    }
    let asked = &settings.cache.value;
    let path = if asked.as_os_str().is_empty() { by_default()? } else { directory.join(asked) };
    let problem = match Cache::open(&path, MAX_BYTES, shape) {
        Ok(cache) => return Some(cache),
        Err(problem) => problem,
    };
    if asked.as_os_str().is_empty() {
        console.detail(&format!("plans are not kept: {problem}"));
    } else {
        console.warning(&Message::new(Slug::Cache, format!("plans are not kept: {problem}")));
    }
    None
}

/// The same, but makes nothing, and says nothing.
pub(super) fn open_if_there(settings: &Settings, directory: &Path) -> Option<Cache> {
    let asked = Some(&settings.cache.value).filter(|path| !path.as_os_str().is_empty());
    let path = asked.map_or_else(by_default, |path| Some(directory.join(path)))?;
    if *settings.plan_cache && path.is_dir() { Cache::open(&path, MAX_BYTES, String::new()).ok() } else { None }
}

/// `cov-agent` in the user's directory for such things, unless that is another user's: under `sudo` the home may be.
fn by_default() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))?;
    let there = base.ancestors().find_map(|path| path.metadata().ok())?;
    (there.uid() == rustix::process::geteuid().as_raw()).then(|| base.join("cov-agent"))
}
