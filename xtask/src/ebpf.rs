//! `cargo xtask ebpf`: builds the kernel programs into the object that the agent embeds.
//!
//! The same bytes come out whatever directory the repository lies in: no path is kept.

use crate::shell::{cargo, command, output, run, target_dir, workspace};
use crate::tidy;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What the agent embeds, from the top directory.
const OBJECT: &str = "cov-agent/src/probe/cov-ebpf.o";

/// Builds the object; replaces the committed one, or with `check` fails where the two differ, or where
/// another directory gives other bytes.
pub(crate) fn run_ebpf(check: bool) -> Result<()> {
    let bytes = build(&workspace(), &target_dir().join("ebpf"))?;
    let committed = workspace().join(OBJECT);
    if check {
        if std::env::var_os("COV_FALLBACK_TOOLCHAIN").is_some() {
            println!("{OBJECT}: builds, but NOT compared: only the pinned toolchain gives the same bytes");
            return Ok(());
        }
        if std::fs::read(&committed).with_context(|| OBJECT)? != bytes {
            bail!("{OBJECT} is not what its source gives: run `cargo xtask ebpf` and commit it");
        }
        let elsewhere = copy()?;
        if build(elsewhere.path(), &elsewhere.path().join("out"))? != bytes {
            bail!("{OBJECT} depends on the directory that it is built in");
        }
        println!("{OBJECT} matches its source, in two directories");
        return Ok(());
    }
    std::fs::write(&committed, &bytes).with_context(|| OBJECT)?;
    println!("{OBJECT}: {} bytes", bytes.len());
    Ok(())
}

/// The repository once more, in a directory with a longer path.
fn copy() -> Result<TempDir> {
    let dir = tempfile::Builder::new().prefix("the-same-source-elsewhere-").tempdir()?;
    for file in tidy::tracked()? {
        let to = dir.path().join(&file);
        std::fs::create_dir_all(to.parent().unwrap_or(dir.path()))?;
        std::fs::copy(&file, &to).with_context(|| file.display().to_string())?;
    }
    Ok(dir)
}

/// Builds the sources below `root`, in `target`.
fn build(root: &Path, target: &Path) -> Result<Vec<u8>> {
    let sysroot = output(&mut command("rustc", ["--print", "sysroot"]))?;
    let sysroot = Path::new(sysroot.trim());
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let home = std::env::var_os("CARGO_HOME")
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"), PathBuf::from);
    // BTF, which describes the maps to the loader, is made from debug info.
    let flags = ["-Clink-arg=--btf".to_owned(), remap(root, "/cov"), remap(&home, "/cargo"), remap(sysroot, "/rust")];
    let mut build = cargo(["build", "--quiet", "--release", "--locked", "--manifest-path", "cov-ebpf/Cargo.toml"]);
    build.args(["--target", "bpfel-unknown-none", "-Zbuild-std=core", "--target-dir"]).arg(target).current_dir(root);
    build.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env("RUSTC_BOOTSTRAP", "1");
    run(&mut build)?;

    let linked = target.join("bpfel-unknown-none/release/cov-ebpf");
    let stripped = target.join("cov-ebpf.o");
    let tools = output(&mut command("rustc", ["--print", "target-libdir"]))?;
    let objcopy = Path::new(tools.trim()).with_file_name("bin").join("rust-objcopy");
    // .BTF.ext holds source lines for the verifier's log: they would change with every comment.
    let mut strip = command(&objcopy.to_string_lossy(), ["--strip-debug", "--remove-section=.BTF.ext"]);
    run(strip.args(["--remove-section=.rel.BTF.ext"]).arg(&linked).arg(&stripped))?;
    std::fs::read(&stripped).with_context(|| stripped.display().to_string())
}
