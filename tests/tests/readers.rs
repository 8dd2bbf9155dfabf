//! Programs that read a file that is armed see its true bytes, never a breakpoint.

use cov_tests::{Agent, Outcome, compile, compile_text, kernel, scratch};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

fn shell(dir: &Path, script: &str) -> Outcome {
    Agent::run(Path::new("/bin/sh")).arg("-c").arg(script).dir(dir).go()
}

/// How often main of work.c ran, and that nothing was lost.
fn assert_runs(outcome: &Outcome, runs: u64) {
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    assert_eq!(outcome.coverage.file("work.c").lines[&12], runs, "{}", outcome.stderr());
    assert!(!outcome.stderr().contains("(losses)"), "{}", outcome.stderr());
}

#[test]
fn make_install_that_strips_gives_the_same_bytes() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), "c/work.c", "work", &[]);
    let makefile = "install: work\n\t./work 2\n\tinstall -s --strip-program=llvm-strip work installed\n\
                    \tcp work copy\n\tllvm-strip copy -o stripped\n\tllvm-objcopy -O binary -j .text work text\n\
                    \tobjcopy -O binary -j .text work text.gnu\n\t./work 3\n";
    std::fs::write(dir.path().join("Makefile"), makefile).unwrap();
    let names = ["installed", "copy", "stripped", "text", "text.gnu"];
    let bytes = || names.map(|name| std::fs::read(dir.path().join(name)).unwrap());
    let make = Command::new("make").arg("install").current_dir(dir.path()).output().unwrap();
    assert!(make.status.success(), "{}", String::from_utf8_lossy(&make.stderr));
    let plain = bytes();
    names.iter().for_each(|name| std::fs::remove_file(dir.path().join(name)).unwrap());
    let outcome = Agent::run(Path::new("/usr/bin/make")).arg("install").dir(dir.path()).go();
    assert!(plain == bytes(), "{}", outcome.stderr());
    assert_runs(&outcome, 2);
}

/// It maps the file as a loader does, and translates what it finds there.
#[test]
fn valgrind_runs_a_program_that_was_armed() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), "c/work.c", "work", &[]);
    let outcome = shell(dir.path(), "./work 2 && valgrind -q --error-exitcode=9 ./work 3 && ./work 4");
    assert_runs(&outcome, 2);
}

#[test]
fn a_private_mapping_shows_the_true_bytes() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), "c/work.c", "work", &[]);
    let checksum = compile(dir.path(), "c/checksum.c", "checksum", &[]);
    let plain = Command::new(&checksum).arg("work").current_dir(dir.path()).output().unwrap().stdout;
    let outcome = shell(dir.path(), "./work 2 && ./checksum work && ./work 3 && ./checksum work && ./work 4");
    assert_runs(&outcome, 3);
    assert_eq!(outcome.process.stdout, plain.repeat(2));
}

/// Who reads it while counted processes run it is shown the true bytes too; what is not counted meanwhile is told.
#[test]
fn a_reader_of_a_file_that_runs() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let source = "#include <stdio.h>\nint main(void) {\n    int n = 0;\n    while (getchar() == 'x') {\n        n++;\n        \
                  puts(\"x\");\n        fflush(stdout);\n    }\n    return n != 3;\n}\n";
    compile_text(dir.path(), "slow", source);
    let checksum = compile(dir.path(), "c/checksum.c", "checksum", &[]);
    let plain = Command::new(&checksum).arg("slow").current_dir(dir.path()).output().unwrap().stdout;
    let script = "mkfifo keys out; ./slow < keys > out & exec 3> keys 4< out; printf x >&3; read line <&4; \
                  ./checksum slow; printf xx >&3; exec 3>&-; wait $!";
    let outcome = shell(dir.path(), script);
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    assert_eq!(outcome.process.stdout, plain);
    let lines = &outcome.coverage.file("slow.c").lines;
    let truth = [(2, 1), (3, 1), (4, 4), (5, 3), (6, 3), (7, 3), (9, 1), (10, 1)];
    for (line, count) in truth {
        assert!(lines[&line] <= count, "line {line}: {lines:?}");
    }
    let said = outcome.stderr();
    assert!(said.contains("counters stopped before the end") && said.contains("checksum"), "{said}");
}

/// It is not armed as long as somebody reads it who came first.
#[test]
fn a_reader_that_stays() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), "c/work.c", "work", &[]);
    let checksum = compile(dir.path(), "c/checksum.c", "checksum", &[]);
    let plain = Command::new(&checksum).arg("work").current_dir(dir.path()).output().unwrap().stdout;
    // Outside of what is measured, as a backup program would be.
    let script = "./work 2 && echo ready && read line && ./work 3 && echo ran && read line && ./work 4";
    let mut agent = Agent::run(Path::new("/bin/sh")).arg("-c").arg(script).dir(dir.path()).talk();
    agent.hear("ready");
    let mut reader = Command::new(&checksum)
        .args(["work", "wait"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(reader.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    agent.say();
    agent.hear("ran");
    reader.stdin.take().unwrap().write_all(b"\n").unwrap();
    line.clear();
    said.read_line(&mut line).unwrap();
    assert_eq!(line.as_bytes(), plain);
    assert!(reader.wait().unwrap().success());
    agent.say();
    let outcome = agent.finish();
    assert_eq!(outcome.process.status.code(), Some(0), "{}", outcome.stderr());
    let runs = outcome.coverage.file("work.c").lines[&12];
    let told = outcome.stderr().contains("ran while ");
    assert_eq!((runs, told), (2, true), "{}", outcome.stderr());
}

/// An emulator maps the program as a loader does, and translates what it finds there: what it runs is not counted.
#[test]
fn an_emulator_runs_a_program_that_was_armed() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), "c/work.c", "work", &[]);
    let outcome = shell(dir.path(), "./work 2 && qemu-x86_64 ./work 3 && ./work 4");
    assert_runs(&outcome, 2);
}

/// A linker maps its input privately: here it copies all of it.
#[test]
fn a_linker_copies_a_program_that_was_armed() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    compile(dir.path(), "c/work.c", "work", &[]);
    let link = "ld.lld -m elf_x86_64 -r -b binary -o copied.o work && ld -r -b binary -o copied-by-ld.o work";
    let bytes = || ["copied.o", "copied-by-ld.o"].map(|name| std::fs::read(dir.path().join(name)).unwrap());
    let plain = Command::new("/bin/sh").args(["-c", link]).current_dir(dir.path()).status().unwrap();
    assert!(plain.success());
    let plain = bytes();
    let outcome = shell(dir.path(), &format!("./work 2 && rm copied*.o && {link} && ./work 3"));
    assert!(plain == bytes(), "{}", outcome.stderr());
    assert_runs(&outcome, 2);
}
