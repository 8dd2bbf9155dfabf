//! The libraries that are measured with a program.

use crate::cli::console::Console;
use crate::cli::measure::is_system_library;
use crate::cli::setup::Setup;
use crate::object::DebugSearch;
use crate::object::needed::{self, LoaderEnvironment};
use crate::process::{ExecArguments, exec_arguments};
use crate::runner::Candidate;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What decides which libraries a program gets.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Loading {
    library_path: Vec<u8>,
    preload: Vec<u8>,
    directory: PathBuf,
    /// Where the process's file system begins, if it does not begin where the agent's does, in the agent's view.
    root: Option<PathBuf>,
    /// The root's path, where it has one in the agent's view.
    root_path: PathBuf,
}

impl Loading {
    /// As a program that inherits the agent's environment is loaded.
    pub(in crate::cli) fn own(setup: &Setup) -> Self {
        let variable = |name| std::env::var_os(name).map(OsStringExt::into_vec).unwrap_or_default();
        Self {
            library_path: variable("LD_LIBRARY_PATH"),
            preload: variable("LD_PRELOAD"),
            directory: setup.directory.clone(),
            ..Self::default()
        }
    }

    /// As the program is loaded that process `pid` is about to execute, with what it is given.
    pub(super) fn of_exec(pid: u32) -> (Self, ExecArguments) {
        let arguments = exec_arguments(pid).unwrap_or_default();
        let root_path = std::fs::read_link(format!("/proc/{pid}/root")).unwrap_or_default();
        let loading = Self {
            library_path: arguments.variable("LD_LIBRARY_PATH").to_vec(),
            preload: arguments.variable("LD_PRELOAD").to_vec(),
            directory: arguments.directory.clone(),
            root: root_of(pid),
            root_path,
        };
        (loading, arguments)
    }

    /// Where debug info is looked for.
    pub(super) fn search(&self, setup: &Setup) -> DebugSearch {
        let mut search = setup.search.clone();
        search.roots.extend(self.root.clone());
        search
    }

    /// Where the agent finds what the process calls `path`.
    pub(super) fn find(&self, path: &Path) -> PathBuf {
        match &self.root {
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        }
    }
}

/// Where the file system of process `pid` begins, in the agent's view, if it is another than the agent's: it has another
/// root directory, or other mounts.
pub(in crate::cli) fn root_of(pid: u32) -> Option<PathBuf> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let place = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let elsewhere =
        place(&root.join(".")) != place(Path::new("/")) || mount_namespace(std::process::id()) != mount_namespace(pid);
    elsewhere.then_some(root)
}

/// The mount namespace of a process.
pub(super) fn mount_namespace(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()
}

/// The libraries that the dynamic linker will load with the program, but for those of the system.
/// One that cannot be opened is the program's affair: it will not start either.
pub(in crate::cli) fn libraries(
    setup: &Setup,
    program: &Candidate,
    loading: &Loading,
    console: Console,
) -> Vec<Candidate> {
    let environment = LoaderEnvironment {
        library_path: loading.library_path.clone(),
        preload: loading.preload.clone(),
        secure: program.file.metadata().is_ok_and(|m| m.mode() & (libc::S_ISUID | libc::S_ISGID) != 0),
        ..LoaderEnvironment::new(loading.directory.clone())
    };
    // As the process itself calls it.
    let path = match &loading.root {
        Some(_) => Path::new("/").join(program.path.strip_prefix(&loading.root_path).unwrap_or(&program.path)),
        None => program.path.clone(),
    };
    let read = needed::reader(&setup.search);
    let read = |wanted: &Path| -> io::Result<_> {
        if wanted == path {
            return read(&PathBuf::from(format!("/proc/self/fd/{}", program.file.as_raw_fd())));
        }
        read(&loading.find(wanted))
    };
    let found = match needed::needed(&path, &environment, &read) {
        Ok(libraries) => libraries.found,
        Err(error) => {
            console.detail(&format!("{}: its libraries cannot be found: {error}", program.path.display()));
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
    let open = |path: &PathBuf| {
        Candidate::open(&loading.find(path)).ok().map(|found| Candidate { path: path.clone(), ..found })
    };
    measured.filter_map(open).collect()
}
