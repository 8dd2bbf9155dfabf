//! `cov-agent check`, also on real git repositories.

use cov_tests::{Said, Workdir, tracefile};
use std::os::unix::fs::{MetadataExt as _, chown};

fn said(code: i32, out: &str, err: &str) -> Said {
    Said { code, out: out.to_owned(), err: err.to_owned() }
}

/// Ten lines of source.
const TEN: &str = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n";

/// A repository with one commit on `main`, and data in which line 3 and lines 8 to 10 of a.c were
/// not executed.
fn repository() -> Workdir {
    let dir = Workdir::new(&[("src/a.c", TEN), ("src/ä b.c", TEN), ("README", "x\n"), (".gitignore", "cov/\n")]);
    dir.git(&["init", "-q"]);
    dir.git(&["add", "."]);
    dir.git(&["commit", "-qm", "first"]);
    let a: Vec<(u32, u64)> = (1..=10).map(|line| (line, u64::from(line != 3 && line < 8))).collect();
    let b: Vec<(u32, u64)> = (1..=10).map(|line| (line, 1)).collect();
    let root = dir.path();
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    dir.write("cov/lcov.info", tracefile(&[(&path("src/a.c"), &a), (&path("src/ä b.c"), &b)]));
    dir
}

/// `text` with some of its lines replaced.
fn edited(text: &str, lines: &[(usize, &str)]) -> String {
    let line = |(at, line): (usize, &str)| {
        let new = lines.iter().find(|(number, _)| *number == at + 1);
        format!("{}\n", new.map_or(line, |(_, text)| text))
    };
    text.lines().enumerate().map(line).collect()
}

#[test]
fn enough_is_enough() {
    let dir = repository();
    let passed = "check passed: 16 of 20 lines were executed, 80%\n";
    assert_eq!(dir.agent(&["check", "cov", "--fail-under", "80"]), said(0, "", passed));
    assert_eq!(dir.agent(&["check", "cov", "--fail-under", "80%", "-q"]), said(0, "", ""));
    assert_eq!(dir.agent(&["check", "cov", "--fail-under-file", "60"]), said(0, "", passed));
}

#[test]
fn too_little_exits_with_2_and_names_the_files() {
    let expected = "\
File             Lines  Covered  Percent  Missing
-------------------------------------------------
src/a.c             10        6      60%  3, 8-10
-------------------------------------------------
Total (2 files)     20       16      80%
check failed: 16 of 20 lines were executed, which is 80%; at least 80.5% are wanted
check failed: 1 file has less than 70%: src/a.c (60%)
";
    let dir = repository();
    let args = ["check", "cov", "--fail-under", "80.5", "--fail-under-file", "70"];
    assert_eq!(dir.agent(&args), said(2, expected, ""));
    dir.write("coverage.ini", "[cov-agent]\nfail_under = 80.5\nfail_under_file = 70\noutput = cov\n");
    assert_eq!(dir.agent(&["check"]), said(2, expected, ""));
    dir.write(".coveragerc", "[report]\nfail_under = 81\n");
    std::fs::remove_file(dir.path().join("coverage.ini")).unwrap();
    assert_eq!(dir.agent(&["check", "cov"]).code, 2);
    assert_eq!(dir.agent(&["check", "cov", "--fail-under", "80"]).code, 0);
}

#[test]
fn a_wrong_command_line_exits_with_64() {
    let dir = repository();
    let nothing = "cov-agent: error: nothing to check against; give --fail-under PERCENT or --fail-under-file PERCENT, \
                   or set fail_under (usage)\n";
    assert_eq!(dir.agent(&["check", "cov"]), said(64, "", nothing));
    let bad = "cov-agent: error: invalid value '101' for '--fail-under <PERCENT>': give a percentage from 0 to 100; \
               see 'cov-agent --help' (usage)\n";
    assert_eq!(dir.agent(&["check", "cov", "--fail-under", "101"]), said(64, "", bad));
    assert_eq!(dir.agent(&["check", "--fail-under", "80", "--diff"]).code, 64);
    assert_eq!(dir.agent(&["check", "gone", "--fail-under", "80"]).code, 125);
}

#[test]
fn a_diff_counts_only_the_lines_that_it_touches() {
    let dir = repository();
    // Committed on a branch: line 2; in the index: line 3; in the work tree: line 9 and a new file.
    dir.git(&["checkout", "-qb", "topic"]);
    dir.write("src/a.c", edited(TEN, &[(2, "two")]));
    dir.git(&["commit", "-qam", "second"]);
    let check = || dir.agent(&["check", "cov", "--fail-under", "100", "--diff", "main"]);
    let passed = "check passed: 1 of 1 lines changed since main were executed, 100%\n";
    assert_eq!(check(), said(0, "", passed));
    dir.write("src/a.c", edited(TEN, &[(2, "two"), (3, "three")]));
    dir.git(&["add", "."]);
    dir.write("src/a.c", edited(TEN, &[(2, "two"), (3, "three"), (9, "nine")]));
    dir.write("README", "y\n");
    let expected = "\
File            Lines  Covered  Percent  Missing
------------------------------------------------
src/a.c             3        1      33%  3-9
------------------------------------------------
Total (1 file)      3        1      33%
check failed: 1 of 3 lines changed since main were executed, which is 33%; at least 100% are wanted
";
    assert_eq!(check(), said(2, expected, ""));
    // From another directory, names are relative to it.
    let mut command = dir.command(&["check", "../cov", "--fail-under", "100", "--diff", "main"]);
    let from_src = dir.said(&command.current_dir(dir.path().join("src")).output().unwrap());
    assert_eq!((from_src.code, from_src.out.lines().nth(2).unwrap().split(' ').next()), (2, Some("a.c")));
}

#[test]
fn what_the_other_branch_did_meanwhile_does_not_count() {
    let dir = repository();
    dir.git(&["branch", "topic"]);
    dir.write("src/a.c", edited(TEN, &[(8, "eight"), (9, "nine")]));
    dir.git(&["commit", "-qam", "on main"]);
    dir.git(&["checkout", "-q", "topic"]);
    dir.write("src/ä b.c", edited(TEN, &[(5, "five")]));
    let passed = "check passed: 1 of 1 lines changed since main were executed, 100%\n";
    assert_eq!(dir.agent(&["check", "cov", "--fail-under", "100", "--diff", "main"]), said(0, "", passed));
    // Names of commits are as good as branches.
    let first = dir.git(&["rev-parse", "HEAD"]);
    let passed = format!("check passed: 1 of 1 lines changed since {first} were executed, 100%\n");
    assert_eq!(dir.agent(&["check", "cov", "--fail-under", "100", "--diff", &first]), said(0, "", &passed));
}

#[test]
fn without_changes_there_is_nothing_to_fail() {
    let dir = repository();
    let passed = "check passed: there are no executable lines changed since HEAD\n";
    assert_eq!(dir.agent(&["check", "cov", "--fail-under", "100", "--diff", "HEAD"]), said(0, "", passed));
    dir.write("README", "changed\n");
    assert_eq!(dir.agent(&["check", "cov", "--fail-under", "100", "--diff", "HEAD"]), said(0, "", passed));
    // A file that moved without changes touches nothing.
    dir.git(&["mv", "src/a.c", "src/moved.c"]);
    assert_eq!(dir.agent(&["check", "cov", "--fail-under", "100", "--diff", "HEAD"]).code, 0);
}

#[test]
fn data_from_another_place_is_noticed() {
    let dir = repository();
    let elsewhere = dir.read("cov/lcov.info").replace(dir.path().to_str().unwrap(), "/builds/7");
    dir.write("cov/lcov.info", elsewhere);
    dir.write("src/a.c", edited(TEN, &[(3, "three")]));
    let expected = "cov-agent: warning: no file of the data lies in the repository $DIR; --prefix-map OLD=NEW says where \
                    the sources are here (no-source)\n\
                    check passed: there are no executable lines changed since HEAD\n";
    assert_eq!(dir.agent(&["check", "cov", "--fail-under", "1", "--diff", "HEAD"]), said(0, "", expected));
    let map = "/builds/7=.";
    let mapped = dir.agent(&["check", "cov", "--fail-under", "1", "--diff", "HEAD", "--prefix-map", map]);
    assert_eq!((mapped.code, mapped.err.as_str()), (2, ""));
}

#[test]
fn what_git_does_not_know_is_one_clear_error() {
    let dir = repository();
    let check = |base: &str| dir.agent(&["check", "cov", "--fail-under", "1", &format!("--diff={base}")]);
    let error = |text: &str| said(125, "", &format!("cov-agent: error: {text} (git)\n"));
    let hint = "if it is a branch of a remote, fetch it first (git fetch origin BRANCH)";
    assert_eq!(check("origin/main"), error(&format!("git knows no commit 'origin/main'; {hint}")));
    assert_eq!(check("--output=x"), error(&format!("git knows no commit '--output=x'; {hint}")));
    assert!(!dir.names(".").contains(&"x".to_owned()));
    dir.git(&["checkout", "-q", "--orphan", "island"]);
    dir.git(&["commit", "-qm", "other"]);
    let apart =
        "'main' and HEAD have no common commit here; a shallow clone must be deepened first (git fetch --unshallow)";
    assert_eq!(check("main"), error(apart));
    std::fs::remove_dir_all(dir.path().join(".git")).unwrap();
    let none = "$DIR is not in a git repository: not a git repository (or any of the parent directories): .git";
    assert_eq!(check("main"), error(none));
    let without =
        dir.command(&["check", "cov", "--fail-under", "1", "--diff", "main"]).env("PATH", "/nowhere").output();
    let expected = "cov-agent: error: cannot run git, which tells the changed lines: No such file or directory (os error 2) (cannot-read)\n";
    assert_eq!(dir.said(&without.unwrap()), said(125, "", expected));
}

/// A repository's configuration can name programs. They never run, least of all as root.
#[test]
fn the_repositorys_programs_do_not_run() {
    let dir = repository();
    let trap = dir.path().join("trap");
    dir.write("trap.sh", "#!/bin/sh\ntouch \"$(dirname \"$0\")/trap\"\n");
    let script = dir.path().join("trap.sh");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    for key in ["diff.external", "core.fsmonitor", "diff.x.textconv", "diff.x.command", "core.pager"] {
        dir.git(&["config", key, script]);
    }
    dir.git(&["config", "diff.noprefix", "true"]);
    dir.git(&["config", "diff.relative", "true"]);
    dir.git(&["config", "color.ui", "always"]);
    dir.write(".gitattributes", "*.c diff=x\n");
    dir.write("src/a.c", edited(TEN, &[(3, "three")]));
    let said = dir.agent(&["check", "cov", "--fail-under", "50", "--diff", "HEAD"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(!trap.exists());
}

/// As root, git runs as the repository's owner: it refuses anything else, and so should we.
#[test]
fn root_reads_a_repository_as_its_owner() {
    const NOBODY: u32 = 65534;
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        assert!(std::env::var_os("COV_REQUIRE_KERNEL").is_none(), "needs root");
        return;
    }
    let dir = repository();
    dir.write("src/a.c", edited(TEN, &[(3, "three")]));
    let mut todo = vec![dir.path()];
    while let Some(path) = todo.pop() {
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    let refused = std::process::Command::new("git").args(["status"]).current_dir(dir.path()).output().unwrap();
    assert!(!refused.status.success(), "git trusts another's repository here");
    let check = |variables: &[(&str, &str)]| {
        let mut command = dir.command(&["check", "cov", "--fail-under", "50", "--diff", "HEAD"]);
        let said = dir.said(&command.envs(variables.iter().copied()).output().unwrap());
        (said.code, said.err)
    };
    assert_eq!(check(&[]), (2, String::new()));
    assert_eq!(check(&[("SUDO_UID", "65534"), ("SUDO_GID", "65534")]), (2, String::new()));
}
