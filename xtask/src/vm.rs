//! `cargo xtask vm`: the kernel's tests on an older kernel, in an emulated machine.
//!
//! The machine has no disk. All that it needs lies in the archive that the kernel unpacks into memory: busybox, a C
//! compiler, the agent, test programs, fixtures, each at its own path. It says on its serial line how the tests ended.

use crate::shell::{cargo, command, output, run, target_dir, workspace};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// How long the machine may run, in seconds.
const PATIENCE: &str = "900";

/// What is run: a test program, and its arguments, without what is [left out](LEFT_OUT) of it.
const TESTS: [(&str, &str); 10] = [
    ("cov_agent", "probe::tests --skip fake --skip thousands"),
    ("old_kernel", ""),
    ("counts", "gcc::"),
    ("signals", ""),
    ("concurrency", ""),
    ("libraries", ""),
    ("disarm", ""),
    ("follow", ""),
    ("late", ""),
    ("unforeseen", ""),
];

/// Test programs, and of each which tests.
type Left = &'static [(&'static str, &'static [&'static str])];

/// Why tests are not run on this kernel: test programs of the package `cov-tests`, and of each the tests, where it is not all.
/// Each program is here or among [`TESTS`].
const LEFT_OUT: [(&str, Left); 8] = [
    (
        "they say nothing of the kernel: files, reports, plans, and what the agent says of them",
        &[
            ("bad_input", ALL),
            ("console", ALL),
            ("golden", ALL),
            ("planner", ALL),
            ("recipes", ALL),
            ("report_annotate", ALL),
            ("report_check", ALL),
            ("report_config", ALL),
            ("report_contexts", ALL),
            ("report_coverage_py", ALL),
            ("report_enabled", ALL),
            ("report_merge", ALL),
            ("report_paths", ALL),
            ("report_table", ALL),
        ],
    ),
    (
        "of the toolchains only gcc is in the machine: neither clang, C++, Rust, Go, Mojo, nor their build tools",
        &[
            ("counts", &["clang", "gxx::", "generated_source", "go", "mojo", "rust"]),
            ("drivers", ALL),
            ("frameworks", ALL),
            ("gcov", ALL),
            ("hostile", ALL),
            ("library", ALL),
            ("matrix", ALL),
            ("mixed", ALL),
            ("mojo", ALL),
            ("optimised", ALL),
            ("real", ALL),
            ("suites", ALL),
            ("varieties", ALL),
        ],
    ),
    (
        "neither Python nor bash are in the machine, nor debuggers and other programs that read programs",
        &[
            ("fighters", ALL),
            ("late", &["a_library_that_an_interpreter_opens", "a_program_in_another_root"]),
            ("lines_only", ALL),
            ("python", ALL),
            ("python_real", ALL),
            ("python_tests", ALL),
            ("python_usdt", ALL),
            ("readers", ALL),
        ],
    ),
    ("the machine has no systemd, and no second user", &[("rights", ALL), ("unit", ALL)]),
    (
        "it mounts an overlay, which that kernel has as a module alone",
        &[("late", &["a_program_in_a_container_that_is_started"])],
    ),
    (
        "they take the first link of an object for all of its probes, each of which has one here",
        &[("unforeseen", &["a_library_from", "a_program_that_begins_while_the_agent_is_stopped"])],
    ),
    (
        "they time the half second that an exec is held, or what is allowed to cost, for which emulation is too slow",
        &[
            ("budget", ALL),
            ("disarm_contexts", ALL),
            ("held", ALL),
            ("unforeseen", &["a_program_that_is_let_go_while_it_is_armed"]),
        ],
    ),
    (
        "emulation would take too long for all; what they need of the kernel, those need too that are run",
        &[
            ("attach_follow", ALL),
            ("branches", ALL),
            ("cache", ALL),
            ("container", ALL),
            ("contexts", ALL),
            ("doctor", ALL),
            ("huge", ALL),
            ("recover", ALL),
            ("running_contexts", ALL),
            ("selection", ALL),
            ("stops", ALL),
            ("transparency", ALL),
            ("watch", ALL),
        ],
    ),
];

/// All tests of a program.
const ALL: &[&str] = &[];

/// Programs that tests run, and that busybox has not, or has otherwise.
const PROGRAMS: [&str; 9] = ["make", "mount", "pkill", "script", "seq", "setpriv", "umount", "unshare", "xargs"];

pub(crate) fn run_vm(kernel: &str) -> Result<()> {
    let vm = target_dir().join("vm");
    let kernel = fetch(kernel, &vm)?;
    let root = vm.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fill(&root)?;
    let archive = vm.join("initramfs");
    let pack = "find . | busybox cpio -o -H newc 2>&1 >\"$0\" | grep -v blocks; exit 0";
    run(command("sh", ["-c", pack]).arg(&archive).current_dir(&root))?;
    boot(&kernel, &archive)
}

/// The newest kernel of Debian's whose version begins so. Nothing is installed.
fn fetch(version: &str, vm: &Path) -> Result<PathBuf> {
    let boot = vm.join("kernel/boot");
    let unpacked = || -> Option<PathBuf> {
        let names = fs::read_dir(&boot).ok()?.flatten().map(|entry| entry.path());
        let begins = format!("vmlinuz-{version}.");
        names.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begins))).max()
    };
    if let Some(kernel) = unpacked() {
        return Ok(kernel);
    }
    fs::create_dir_all(vm)?;
    let pattern = format!(r"^linux-image-{}\.[0-9]+-[0-9]+-cloud-amd64$", version.replace('.', r"\."));
    let found = output(&mut command("apt-cache", ["search", "--names-only", &pattern]))?;
    let number = |name: &&str| name.split('-').filter_map(|part| part.parse::<u32>().ok()).collect::<Vec<_>>();
    let newest = found.lines().filter_map(|line| line.split(' ').next()).max_by_key(number);
    let package = newest.with_context(|| format!("Debian has no cloud kernel {version} here: apt-get update?"))?;
    println!("fetching {package}");
    run(command("apt-get", ["-q", "download", package]).current_dir(vm).stderr(Stdio::null()))?;
    let unpack = format!("dpkg-deb -x {package}_*.deb kernel && rm {package}_*.deb");
    run(command("sh", ["-c", &unpack]).current_dir(vm))?;
    unpacked().with_context(|| format!("{package} brought no kernel"))
}

/// Puts all that the tests need below `root`.
fn fill(root: &Path) -> Result<()> {
    let mut files = compiler()?;
    files.extend(PROGRAMS.map(|name| Path::new("/usr/bin").join(name)));
    files.extend(["/bin/busybox", "/bin/kill", "/bin/sh", "/bin/true"].map(PathBuf::from));
    for file in closure(files)? {
        put(&file, root)?;
    }
    let gcc = PathBuf::from(said("gcc", &["-print-file-name=include"])?);
    let headers = ["/usr/include/linux", "/usr/include/asm-generic", "/usr/include/x86_64-linux-gnu"];
    for directory in headers.map(Path::new).into_iter().chain([gcc.as_path(), &workspace().join("tests/fixtures")]) {
        let to = inside(root, directory);
        fs::create_dir_all(&to)?;
        run(command("cp", ["-rLT"]).args([directory, &to]))?;
    }
    for entry in fs::read_dir("/usr/include")?.flatten() {
        if entry.path().is_file() {
            put(&entry.path(), root)?;
        }
    }

    let agent = agent()?;
    // As cargo starts test programs: libraries are looked for below the working directory.
    let mut script = format!(
        "export COV_REQUIRE_KERNEL=1 COV_AGENT={}\ncd {}\n",
        agent.display(),
        workspace().join("tests").display()
    );
    strip(&agent, root)?;
    let programs = test_programs()?;
    check_complete(&programs)?;
    for (name, arguments) in TESTS {
        let (_, program) = programs.iter().find(|(target, _)| target == name).with_context(|| name.to_owned())?;
        strip(program, root)?;
        let mut arguments = arguments.to_owned();
        left_out(name).flatten().for_each(|test| arguments.push_str(&format!(" --skip {test}")));
        script.push_str(&format!("{} --test-threads 2 {arguments} || failed=1\n", program.display()));
    }
    script.push_str("exit ${failed:-0}\n");
    fs::write(root.join("tests"), script)?;
    fs::create_dir_all(root.join("etc"))?;
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    run(command("install", ["-m755", "xtask/vm/init"]).arg(root.join("init")))
}

/// What is left out of a test program, once for each reason.
fn left_out(name: &str) -> impl Iterator<Item = &'static [&'static str]> {
    LEFT_OUT
        .iter()
        .flat_map(|(_, programs)| *programs)
        .filter(move |(program, _)| *program == name)
        .map(|(_, tests)| *tests)
}

/// Fails where a test program is neither run nor left out for a reason.
fn check_complete(programs: &[(String, PathBuf)]) -> Result<()> {
    for (name, path) in programs {
        let is_run = TESTS.iter().any(|(test, _)| test == name);
        if !is_run && name != "cov_tests" && !left_out(name).any(<[_]>::is_empty) {
            bail!("{} is neither run nor left out: see TESTS and LEFT_OUT in xtask/src/vm.rs", path.display());
        }
    }
    Ok(())
}

/// The C compiler, and what it links into every program.
fn compiler() -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = ["gcc", "as", "ld"].map(|name| Path::new("/usr/bin").join(name)).into();
    for program in ["cc1", "collect2", "lto-wrapper"] {
        files.push(said("gcc", &[&format!("-print-prog-name={program}")])?.into());
    }
    let objects =
        ["crt1.o", "Scrt1.o", "crti.o", "crtn.o", "crtbegin.o", "crtbeginS.o", "crtbeginT.o", "crtend.o", "crtendS.o"];
    let libraries = ["libgcc.a", "libgcc_eh.a", "libgcc_s.so", "libgcc_s.so.1", "liblto_plugin.so"];
    let system = ["libc.a", "libc.so", "libc.so.6", "libc_nonshared.a", "libpthread.a", "libm.so.6"];
    for file in objects.iter().chain(&libraries).chain(&system) {
        files.push(said("gcc", &[&format!("-print-file-name={file}")])?.into());
    }
    Ok(files)
}

/// The files, and the libraries that they are linked with.
fn closure(files: Vec<PathBuf>) -> Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    for file in files {
        // What is no dynamic program has none.
        let linked = command("ldd", [&file]).stderr(Stdio::null()).output()?;
        let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
        all.extend(linked.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
        all.insert(file);
    }
    Ok(all)
}

/// Builds the agent, and says where it is.
fn agent() -> Result<PathBuf> {
    run(&mut cargo(["build", "--quiet", "--package", "cov-agent"]))?;
    Ok(std::path::absolute(target_dir().join("debug/cov-agent"))?)
}

/// Builds the test programs, and says where they are, each with its name.
fn test_programs() -> Result<Vec<(String, PathBuf)>> {
    let json = ["--quiet", "--no-run", "--message-format=json"];
    let mut all = Vec::new();
    for what in [&["-p", "cov-agent", "--lib"][..], &["-p", "cov-tests", "--tests"]] {
        let said = output(cargo(["test"]).args(what).args(json))?;
        for message in said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
            if let (Some(name), Some(program)) = (message["target"]["name"].as_str(), message["executable"].as_str()) {
                all.push((name.to_owned(), PathBuf::from(program)));
            }
        }
    }
    Ok(all)
}

/// A program without its debug info, and the libraries that it is linked with.
fn strip(program: &Path, root: &Path) -> Result<()> {
    for file in closure(vec![program.to_owned()])? {
        put(&file, root)?;
    }
    run(command("strip", ["--strip-debug"]).arg(inside(root, program)))
}

fn put(file: &Path, root: &Path) -> Result<()> {
    let to = inside(root, file);
    fs::create_dir_all(to.parent().unwrap_or(root))?;
    fs::copy(file, &to).with_context(|| file.display().to_string())?;
    Ok(())
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn said(program: &str, args: &[&str]) -> Result<String> {
    Ok(output(&mut command(program, args))?.trim().to_owned())
}

/// Runs the machine to its end; an error unless its tests passed.
fn boot(kernel: &Path, archive: &Path) -> Result<()> {
    let mut machine = command("timeout", [PATIENCE, "qemu-system-x86_64"]);
    machine.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048", "-nodefaults", "-no-reboot"]);
    machine.args(["-display", "none", "-serial", "stdio", "-append", "console=ttyS0 quiet panic=-1"]);
    machine.arg("-kernel").arg(kernel).arg("-initrd").arg(archive);
    let mut machine = machine.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("qemu-system-x86_64")?;
    let mut status = None;
    for line in BufReader::new(machine.stdout.take().context("its serial line")?).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{}", line.trim_end());
        status = status.or_else(|| line.trim().strip_prefix("machine: status ").map(str::to_owned));
    }
    machine.wait()?;
    match status.as_deref() {
        Some("0") => Ok(()),
        Some(_) => bail!("tests failed in the emulated machine"),
        None => bail!("the emulated machine ended, or its time was over, before its tests were"),
    }
}
