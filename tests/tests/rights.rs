//! The agent is root, the person who called it is not: what it opens for that person it opens with
//! that person's rights, and what it writes belongs to that person.

use cov_tests::{Build, agent_command, fixture, kernel};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

const NOBODY: u32 = 65534;

/// Whether to go on: these tests are about root.
fn root() -> bool {
    kernel()
}

/// The agent as `sudo` starts it for nobody.
fn sudo(dir: &Path) -> Command {
    let mut command = agent_command();
    command.current_dir(dir).env("SUDO_UID", NOBODY.to_string()).env("SUDO_GID", NOBODY.to_string());
    command.env("SUDO_USER", "nobody");
    command
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A directory that all may search, below none that they may not.
fn public() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    mode(dir.path(), 0o755);
    dir
}

/// Compiles `end.c`, with `#line 1 "SOURCE"` before it.
fn program(dir: &Path, source: &Path) {
    let text = std::fs::read_to_string(fixture("cli/end.c")).unwrap();
    std::fs::write(dir.join("end.c"), format!("#line 1 \"{}\"\n{text}", source.display())).unwrap();
    Build::with("gcc", dir).args(["-g", "-o", "end", "end.c"]).run();
}

#[test]
fn output_belongs_to_the_invoking_user() {
    if !root() {
        return;
    }
    for options in [&[][..], &["--user", "root"], &["--user", "daemon"]] {
        let dir = public();
        mode(dir.path(), 0o777);
        program(dir.path(), &dir.path().join("end.c"));
        let output = sudo(dir.path())
            .args(["run", "-q"])
            .args(options)
            .args(["--output", "a/b", "--", "./end", "exit:3"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        for name in ["a", "a/b", "a/b/lcov.info", "a/b/coverage.json"] {
            let metadata = std::fs::metadata(dir.path().join(name)).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (NOBODY, NOBODY), "{name}");
        }
    }
}

#[test]
fn output_is_written_with_the_invoking_users_rights() {
    if !root() {
        return;
    }
    let dir = public();
    program(dir.path(), &dir.path().join("end.c"));
    let output = sudo(dir.path()).args(["run", "--output", "a", "--", "touch", "touched"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(stderr(&output).contains("Permission denied"), "{}", stderr(&output));
    assert!(stderr(&output).ends_with("(output-not-writable)\n"), "{}", stderr(&output));
    assert!(!dir.path().join("touched").exists() && !dir.path().join("a").exists());
}

#[test]
fn output_goes_through_no_link() {
    if !root() {
        return;
    }
    let dir = public();
    mode(dir.path(), 0o777);
    program(dir.path(), &dir.path().join("end.c"));
    let precious = dir.path().join("precious");
    std::fs::create_dir(&precious).unwrap();
    std::fs::write(precious.join("file"), "precious").unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    for name in ["lcov.info", "coverage.json"] {
        symlink(precious.join("file"), out.join(name)).unwrap();
    }
    let run = |output: &str| {
        agent_command()
            .current_dir(dir.path())
            .args(["run", "--output", output, "--", "./end", "exit:3"])
            .output()
            .unwrap()
    };
    assert_eq!(run("out").status.code(), Some(3));
    assert!(std::fs::read_to_string(out.join("lcov.info")).unwrap().starts_with("TN:"));
    // A link that somebody else left where root writes.
    symlink(&precious, dir.path().join("link")).unwrap();
    std::os::unix::fs::lchown(dir.path().join("link"), Some(NOBODY), Some(NOBODY)).unwrap();
    let output = run("link");
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(stderr(&output).contains("symbolic link belongs to user 65534"), "{}", stderr(&output));
    let names: Vec<_> = std::fs::read_dir(&precious).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["file"]);
    assert_eq!(std::fs::read_to_string(precious.join("file")).unwrap(), "precious");
}

#[test]
fn a_source_that_only_root_may_read_does_not_leak() {
    if !root() {
        return;
    }
    let dir = public();
    mode(dir.path(), 0o777);
    program(dir.path(), Path::new("/etc/shadow"));
    let output = sudo(dir.path())
        .args(["run", "-v", "--include", "**", "--output", "out", "--", "./end", "exit:3"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let lcov = std::fs::read_to_string(dir.path().join("out/lcov.info")).unwrap();
    let json = std::fs::read_to_string(dir.path().join("out/coverage.json")).unwrap();
    assert!(lcov.contains("SF:/etc/shadow\n"), "{lcov}");
    let shadow = std::fs::read_to_string("/etc/shadow").unwrap();
    let sum = Command::new("md5sum").arg("/etc/shadow").output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let secrets = shadow.lines().chain(sum.split_whitespace().take(1)).filter(|line| !line.is_empty());
    for secret in secrets {
        for text in [&lcov, &json, &stderr(&output)] {
            assert!(!text.contains(secret), "{secret:?} in {text}");
        }
    }
}

#[test]
fn a_debug_file_that_only_root_may_read_is_not_read() {
    if !root() {
        return;
    }
    let dir = public();
    program(dir.path(), &dir.path().join("end.c"));
    Build::with("objcopy", dir.path()).args(["--only-keep-debug", "end", "end.debug"]).run();
    Build::with("objcopy", dir.path()).args(["--strip-debug", "--add-gnu-debuglink=end.debug", "end"]).run();
    let lines = |command: &mut Command| command.args(["lines", "end"]).output().unwrap();
    assert_eq!(lines(&mut sudo(dir.path())).status.code(), Some(0));
    mode(&dir.path().join("end.debug"), 0o600);
    assert_eq!(lines(agent_command().current_dir(dir.path())).status.code(), Some(0));
    let output = lines(&mut sudo(dir.path()));
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(stderr(&output).ends_with("(no-debug-info)\n"), "{}", stderr(&output));
    // Nor through a link to something that is no debug file.
    std::fs::remove_file(dir.path().join("end.debug")).unwrap();
    symlink("/etc/shadow", dir.path().join("end.debug")).unwrap();
    for command in [&mut sudo(dir.path()), agent_command().current_dir(dir.path())] {
        let output = lines(command);
        assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
        assert!(!stderr(&output).contains("root:"), "{}", stderr(&output));
    }
}

#[test]
fn the_program_runs_as_the_wanted_user() {
    if !root() {
        return;
    }
    let dir = public();
    let program = dir.path().join("state");
    Build::with("gcc", dir.path()).args(["-g", "-pthread", "-o"]).args([&program, &fixture("cli/state.c")]).run();
    let run = |user: &str| {
        agent_command()
            .current_dir(dir.path())
            .args(["run", "-q", "--include", "**", "--user", user, "--output", "out", "--"])
            .arg(&program)
            .output()
            .unwrap()
    };
    for user in ["nobody", "65534"] {
        let output = run(user);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let state = String::from_utf8(output.stdout).unwrap();
        for line in [
            "Uid:\t65534\t65534\t65534\t65534\n",
            "Gid:\t65534\t65534\t65534\t65534\n",
            "CapPrm:\t0000000000000000\n",
            "CapEff:\t0000000000000000\n",
        ] {
            assert!(state.contains(line), "{line} in {state}");
        }
        let metadata = std::fs::metadata(dir.path().join("out/lcov.info")).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0));
    }
    let output = run("no-such-user");
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(stderr(&output), "cov-agent: error: there is no user no-such-user (no-such-user)\n");
    mode(&program, 0o700);
    let output = run("nobody");
    assert_eq!(output.status.code(), Some(126), "{}", stderr(&output));
}
