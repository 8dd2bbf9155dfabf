//! Installing what the tests need beside the Rust toolchain. Only what is missing is asked for, so
//! that a second run is quick.

use crate::shell::{cargo, command, has, is_root, output, run, target_dir};
use anyhow::{Context as _, Result};
use std::path::Path;
use std::process::Command;

/// A Debian package, and a file that tells whether it is there: a program in `PATH`, or a path.
const PACKAGES: &[(&str, &str)] = &[
    ("gcc", "gcc"),
    ("g++", "g++"),
    ("make", "make"),
    ("cmake", "ctest"),                // suites driven by their own runners
    ("python3-dev", "python3-config"), // extension modules in C
    ("clang", "clang"),                // the other compiler that fixtures are built with
    ("lld", "ld.lld"),                 // identical code folding
    ("llvm", "llvm-cov"),              // clang's gcov
    ("llvm-22", "llvm-cov-22"),        // rustc's coverage, .dwp packages, zstd sections
    ("dwz", "dwz"),                    // .gnu_debugaltlink
    ("golang-go", "go"),               // fixtures in Go
    ("lcov", "lcov"),                  // reads what the agent writes
    ("valgrind", "valgrind"),          // what really ran, at -O2
    ("qemu-user", "qemu-x86_64"),      // an emulator that reads what is armed
    ("systemd", "systemd-analyze"),    // judges the unit file
    ("gdb", "gdb"),                    // a debugger on the same program
    ("libxml2-utils", "xmllint"),      // judges XML against its DTD
    ("strace", "strace"),              // kills and errors at each system call
    ("zstd", "zstd"),
    ("pkg-config", "pkg-config"),
    ("python3-venv", "/usr/lib/python3/dist-packages"),
    ("sqlite3", "sqlite3"),
    ("libclang-rt-dev", "/usr/share/doc/libclang-rt-dev"), // clang's own coverage is linked with it
    ("llvm-22-dev", "/usr/lib/llvm-22/bin/llvm-config"),   // bpf-linker is linked with it
    ("cmake", "ctest"),                                    // suites of CTest
    ("libgtest-dev", "/usr/include/gtest/gtest.h"),        // suites of GoogleTest
    ("libpolly-22-dev", "/usr/lib/llvm-22/lib/libPolly.a"),
    ("libzstd-dev", "/usr/include/zstd.h"),
    ("qemu-system-x86", "qemu-system-x86_64"), // an older kernel
    ("busybox-static", "busybox"),             // all its other programs
];

/// What `target/venv` holds, from PyPI.
const PYTHON: &[&str] = &["mojo==1.2.0", "pytest==9.0.2"];

const BPF_LINKER: &str = "0.13.0";
const CARGO_DENY: &str = "0.20.2";
const CARGO_LLVM_COV: &str = "0.9.1";

pub(crate) fn install() -> Result<()> {
    debian()?;
    bpf_linker()?;
    cargo_deny()?;
    cargo_llvm_cov()?;
    python()
}

fn debian() -> Result<()> {
    let there = |probe: &str| if probe.starts_with('/') { Path::new(probe).exists() } else { has(probe) };
    let missing: Vec<_> = PACKAGES.iter().filter(|(_, probe)| !there(probe)).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    let apt = |args: &[&str]| {
        let mut command = if is_root() { Command::new("apt-get") } else { command("sudo", ["apt-get"]) };
        command.args(["-q", "-y", "-o=Dpkg::Use-Pty=0"]).args(args).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let hint = || format!("install by hand: {}", missing.join(" "));
    run_quiet(&mut apt(&["update"])).with_context(hint)?;
    let mut install = apt(&["install", "--no-install-recommends"]);
    install.args(&missing);
    run_quiet(&mut install).with_context(hint)
}

/// The linker for the kernel programs. Only the check that the committed object matches its source
/// needs it, built with the LLVM that the pinned compiler has.
fn bpf_linker() -> Result<()> {
    if installed("bpf-linker", &[], BPF_LINKER) {
        return Ok(());
    }
    println!("installing bpf-linker {BPF_LINKER}");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut install = cargo(["install", "--quiet", "--force", "--version", BPF_LINKER]);
    install.args(["bpf-linker", "--no-default-features", "--features", "llvm-22"]);
    run(install.env("PATH", format!("/usr/lib/llvm-22/bin:{path}")))
}

/// The judge of licences and duplicate packages, built without the optimisations that cost minutes.
fn cargo_deny() -> Result<()> {
    if installed("cargo-deny", &[], CARGO_DENY) {
        return Ok(());
    }
    println!("installing cargo-deny {CARGO_DENY} (takes two minutes)");
    let mut install = cargo(["install", "--quiet", "--force", "--locked", "--version", CARGO_DENY, "cargo-deny"]);
    for setting in ["lto=false", "opt-level=1", "codegen-units=16", "debug=false"] {
        install.args(["--config", &format!("profile.release.{setting}")]);
    }
    run(&mut install)
}

/// What `cargo xtask coverage` compiles and reads LLVM's counters with.
fn cargo_llvm_cov() -> Result<()> {
    if installed("cargo-llvm-cov", &["llvm-cov"], CARGO_LLVM_COV) {
        return Ok(());
    }
    println!("installing cargo-llvm-cov {CARGO_LLVM_COV}");
    run(&mut cargo(["install", "--quiet", "--force", "--locked", "--version", CARGO_LLVM_COV, "cargo-llvm-cov"]))
}

fn python() -> Result<()> {
    let venv = target_dir().join("venv");
    let stamp = venv.join("installed");
    let wanted = PYTHON.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) {
        return Ok(());
    }
    println!("installing into {}: {}", venv.display(), PYTHON.join(" "));
    run(command("python3", ["-m", "venv"]).arg(&venv))?;
    run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check"]).args(PYTHON))?;
    Ok(std::fs::write(&stamp, wanted)?)
}

/// Whether the cargo tool `name` is installed in that version; `words` come before its `--version`.
fn installed(name: &str, words: &[&str], version: &str) -> bool {
    has(name) && output(command(name, words).arg("--version")).is_ok_and(|text| text.contains(version))
}

/// Runs it, and shows what it printed only where it fails.
fn run_quiet(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    eprint!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    anyhow::bail!("{}: {}", crate::shell::show(command), output.status)
}
