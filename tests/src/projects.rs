//! Real projects in C and C++ with a fixed workload each.

use crate::{Build, fixture, package_dir};
use std::path::{Path, PathBuf};

/// A project from a package registry, and a driver in `fixtures/real` that makes it work.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its name, and that of the driver.
    pub name: &'static str,
    /// `gcc`, `g++`, `clang` or `clang++`.
    compiler: &'static str,
    /// Flags and sources, beside the driver.
    arguments: Vec<String>,
    libraries: &'static [&'static str],
}

impl Project {
    /// SQLite's amalgamation, out of `libsqlite3-sys`.
    #[must_use]
    pub fn sqlite() -> Self {
        let dir = package_dir("libsqlite3-sys").join("sqlite3");
        let arguments = vec![format!("-I{}", dir.display()), text(dir.join("sqlite3.c"))];
        Self { compiler: "gcc", name: "sqlite", arguments, libraries: &["-lpthread", "-ldl", "-lm"] }
    }

    /// Lua 5.4, out of `lua-src`.
    #[must_use]
    pub fn lua() -> Self {
        let dir = package_dir("lua-src").join("lua-5.4.9");
        let mut arguments = vec![format!("-I{}", dir.display())];
        arguments.extend(c_files(&[dir]));
        Self { compiler: "gcc", name: "lua", arguments, libraries: &["-lm"] }
    }

    /// Lua again, with a driver that runs itself many times, a little Lua each.
    #[must_use]
    pub fn suite() -> Self {
        Self { name: "suite", ..Self::lua() }
    }

    /// zstd, out of `zstd-sys`.
    #[must_use]
    pub fn zstd() -> Self {
        let lib = package_dir("zstd-sys").join("zstd/lib");
        let mut arguments = vec![format!("-I{}", lib.display())];
        arguments.extend(["-DZSTD_DISABLE_ASM", "-DZSTD_LEGACY_SUPPORT=0"].map(str::to_owned));
        arguments.extend(c_files(&["common", "compress", "decompress"].map(|part| lib.join(part))));
        Self { compiler: "gcc", name: "zstd", arguments, libraries: &[] }
    }

    /// esaxx, suffix trees as C++ templates, out of `esaxx-rs`.
    #[must_use]
    pub fn esaxx() -> Self {
        let arguments = vec![format!("-I{}", package_dir("esaxx-rs").join("src").display()), "-std=c++14".to_owned()];
        Self { compiler: "g++", name: "esaxx", arguments, libraries: &[] }
    }

    /// The same by clang.
    #[must_use]
    pub fn by_clang(self) -> Self {
        Self { compiler: if self.is_cpp() { "clang++" } else { "clang" }, ..self }
    }

    fn is_cpp(&self) -> bool {
        self.compiler.ends_with("++")
    }

    /// The driver's source.
    #[must_use]
    pub fn driver(&self) -> PathBuf {
        fixture(&format!("real/{}.{}", self.name, if self.is_cpp() { "cpp" } else { "c" }))
    }

    /// Compiles it with `flags` to `dir/output`.
    ///
    /// # Panics
    /// Where the compiler fails.
    #[must_use]
    pub fn compile(&self, dir: &Path, output: &str, flags: &[&str]) -> PathBuf {
        Build::with(self.compiler, dir)
            .args(["-g", "-w"])
            .args(flags)
            .args(["-o", output])
            .arg(self.driver())
            .args(&self.arguments)
            .args(self.libraries)
            .run();
        dir.join(output)
    }
}

/// The C files of `dirs`.
fn c_files(dirs: &[PathBuf]) -> Vec<String> {
    let entries = dirs.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "c")).map(text).collect();
    files.sort();
    files
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap()
}
