//! Libraries by `DT_NEEDED`, judged by the dynamic linker itself (`ldd`).

use super::*;
use crate::object::needed::{Libraries, LoaderEnvironment, MissingLibrary, needed, reader};
use std::collections::BTreeSet;
use std::process::Command;

fn find(build: &Build, program: &Path, set: impl FnOnce(&mut LoaderEnvironment)) -> Libraries {
    let mut environment = LoaderEnvironment::new(build.path(""));
    set(&mut environment);
    needed(program, &environment, &reader(&DebugSearch::default())).unwrap()
}

/// What `ldd` prints: found libraries by their real paths, and the names of missing ones.
fn ldd(build: &Build, program: &Path, variables: &[(&str, &str)]) -> (BTreeSet<PathBuf>, Vec<String>) {
    let mut command = Command::new("ldd");
    let output = command.arg(program).envs(variables.iter().copied()).current_dir(build.path("")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut found = BTreeSet::new();
    let mut missing = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.starts_with("linux-vdso")) {
        let (name, path) = line.split_once(" => ").unwrap_or((line, line));
        match path.split(" (0x").next().unwrap() {
            "not found" => missing.push(name.to_owned()),
            path => drop(found.insert(build.path("").join(path).canonicalize().unwrap())),
        }
    }
    (found, missing)
}

fn expect_same(build: &Build, program: &Path, variables: &[(&str, &str)]) {
    let value = |name: &str| variables.iter().find(|v| v.0 == name).map_or("", |v| v.1).as_bytes().to_vec();
    let libraries = find(build, program, |environment| {
        environment.library_path = value("LD_LIBRARY_PATH");
        environment.preload = value("LD_PRELOAD");
    });
    let found: BTreeSet<_> = libraries.found.iter().map(|p| p.canonicalize().unwrap()).collect();
    let missing: Vec<_> = libraries.missing.iter().map(|m| m.name.clone()).collect();
    assert_eq!((found, missing), ldd(build, program, variables), "{} {variables:?}", program.display());
}

#[test]
fn real_programs() {
    let build = Build::new();
    for program in ["/bin/ls", "/usr/bin/gdb", "/usr/bin/git", "/usr/bin/llvm-dwarfdump-14", "/usr/bin/bash"] {
        expect_same(&build, Path::new(program), &[]);
    }
}

/// `libone.so` needs `libtwo.so`; each directory has another `libtwo.so`.
fn libraries() -> Build {
    let build = Build::new();
    build.write("main.c", "int one(void);\nint main(void) { return one(); }\n");
    build.write("one.c", "int two(void);\nint one(void) { return two(); }\n");
    build.write("two.c", "int two(void) { return 2; }\n");
    for dir in ["a", "b", "c/lib/x86_64-linux-gnu"] {
        std::fs::create_dir_all(build.path(dir)).unwrap();
        build.run(&format!("gcc -shared -fPIC two.c -o {dir}/libtwo.so"));
    }
    build
}

/// Links `libone.so` and `main` with the options and compares with `ldd`. `$` is for the linker.
fn link(build: &Build, one: &str, main: &str, variables: &[(&str, &str)]) -> Libraries {
    build.run(&format!("gcc -shared -fPIC one.c -o a/libone.so -La -ltwo {one}"));
    build.run(&format!("gcc main.c -o main -La -lone -Wl,-rpath-link,a {main}"));
    expect_same(build, &build.path("main"), variables);
    find(build, &build.path("main"), |environment| {
        let value = |name: &str| variables.iter().find(|v| v.0 == name).map_or("", |v| v.1).as_bytes().to_vec();
        (environment.library_path, environment.preload) = (value("LD_LIBRARY_PATH"), value("LD_PRELOAD"));
    })
}

#[test]
fn run_paths_are_searched_as_by_the_dynamic_linker() {
    let build = libraries();
    let origin = "-Wl,--enable-new-dtags,-rpath,$ORIGIN";
    // A run path is for who has it, not for what that one's libraries need.
    let libraries = link(&build, "", &format!("{origin}/a"), &[]);
    assert_eq!(libraries.missing, [MissingLibrary { name: "libtwo.so".into(), needed_by: build.path("a/libone.so") }]);
    // DT_RPATH is for those, too.
    let libraries = link(&build, "", "-Wl,--disable-new-dtags,-rpath,$ORIGIN/a", &[]);
    assert_eq!(libraries.found[0], build.path("a/libone.so"));
    assert!(libraries.found.contains(&build.path("a/libtwo.so")) && libraries.missing.is_empty());
    // Unless the library has a run path of its own.
    let libraries = link(&build, origin, "-Wl,--disable-new-dtags,-rpath,$ORIGIN/a:$ORIGIN/b", &[]);
    assert!(libraries.found.contains(&build.path("a/libtwo.so")));
    let libraries =
        link(&build, "-Wl,--enable-new-dtags,-rpath,${ORIGIN}/../b", "-Wl,--disable-new-dtags,-rpath,$ORIGIN/a", &[]);
    assert!(libraries.found.contains(&build.path("a/../b/libtwo.so")), "{libraries:?}");
    // $LIB is lib/x86_64-linux-gnu on Debian.
    let libraries = link(&build, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../c/$LIB", &format!("{origin}/a"), &[]);
    assert!(libraries.found.iter().any(|p| p.ends_with("c/lib/x86_64-linux-gnu/libtwo.so")), "{libraries:?}");
}

#[test]
fn the_environment_counts_unless_the_program_is_secure() {
    let build = libraries();
    let origin = "-Wl,--enable-new-dtags,-rpath,$ORIGIN";
    // LD_LIBRARY_PATH comes before run paths, and after DT_RPATH.
    let b = [("LD_LIBRARY_PATH", "b")];
    let libraries = link(&build, origin, &format!("{origin}/a"), &b);
    assert!(libraries.found.contains(&build.path("b/libtwo.so")), "{libraries:?}");
    let libraries = link(&build, "", "-Wl,--disable-new-dtags,-rpath,$ORIGIN/a", &b);
    assert!(libraries.found.contains(&build.path("a/libtwo.so")), "{libraries:?}");

    let both = [("LD_LIBRARY_PATH", "a"), ("LD_PRELOAD", "./b/libtwo.so")];
    let libraries = link(&build, "", "", &both);
    assert_eq!(libraries.found[..2], [build.path("./b/libtwo.so"), build.path("a/libone.so")]);

    let secure = find(&build, &build.path("main"), |environment| {
        environment.library_path = b"a".to_vec();
        environment.preload = b"./b/libtwo.so".to_vec();
        environment.secure = true;
    });
    assert_eq!(secure.missing.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["libone.so"]);
}

#[test]
fn files_that_are_no_libraries_are_passed_over() {
    let build = libraries();
    let run_path = "-Wl,--disable-new-dtags,-rpath,$ORIGIN/d:$ORIGIN/e:$ORIGIN/a";
    // Of another machine: the dynamic linker goes on to the next directory.
    link(&build, "", run_path, &[]);
    let mut foreign = std::fs::read(build.path("a/libone.so")).unwrap();
    foreign[18] = 183;
    build.run("mkdir d e");
    std::fs::write(build.path("d/libone.so"), foreign).unwrap();
    let libraries = link(&build, "", run_path, &[]);
    assert_eq!(libraries.found[0], build.path("a/libone.so"));
    // It would give up at these; there is nothing to measure then, but nothing to wait for either.
    build.write("d/libone.so", "not a library");
    build.run("mkfifo e/libone.so");
    let libraries = find(&build, &build.path("main"), |_| {});
    assert_eq!(libraries.found[0], build.path("a/libone.so"));
}

#[test]
fn static_programs_need_nothing() {
    let build = Build::new();
    build.write("p.c", "int main(void) { return 0; }\n");
    for options in ["-static", "-static-pie"] {
        build.run(&format!("gcc {options} p.c -o p"));
        assert_eq!(find(&build, &build.path("p"), |_| {}), Libraries::default(), "{options}");
    }
}
