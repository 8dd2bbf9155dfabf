//! The libraries that are measured with a program.

use super::console::Console;
use super::measure::is_system_library;
use super::setup::Setup;
use crate::object::needed::{self, LoaderEnvironment};
use crate::runner::Candidate;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The libraries that the dynamic linker will load with the program, but for those of the system.
/// One that cannot be opened is the program's affair: it will not start either.
pub(super) fn libraries(setup: &Setup, program: &Path, console: Console) -> Vec<Candidate> {
    let variable = |name| std::env::var_os(name).map(OsStringExt::into_vec).unwrap_or_default();
    let environment = LoaderEnvironment {
        library_path: variable("LD_LIBRARY_PATH"),
        preload: variable("LD_PRELOAD"),
        secure: std::fs::metadata(program).is_ok_and(|m| m.mode() & (libc::S_ISUID | libc::S_ISGID) != 0),
        ..LoaderEnvironment::new(setup.directory.clone())
    };
    let found = match needed::needed(program, &environment, &needed::reader(&setup.search)) {
        Ok(libraries) => libraries.found,
        Err(error) => {
            console.detail(&format!("{}: its libraries cannot be found: {error}", program.display()));
            Vec::new()
        }
    };
    let measured = found.iter().filter(|path| {
        let system = is_system_library(path);
        if system {
            console.detail(&format!("not measured: {}: a library of the system", path.display()));
        }
        !system
    });
    measured.filter_map(|path| Candidate::open(path).ok()).collect()
}
