//! One program with known counts, in every form that an ELF file and its debug info can take.

use cov_tests::{Agent, Build, Outcome, assert_counts, expected, fixture, kernel, scratch};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Compiles `c/loops.c` with `compiler` and `flags` to `dir/program`.
fn compile(dir: &Path, compiler: &str, flags: &str) -> PathBuf {
    let program = dir.join("program");
    Build::with(compiler, dir)
        .args(["-O0", "-w"])
        .args(flags.split_whitespace())
        .args([fixture("c/loops.c").as_os_str(), OsStr::new("-o"), program.as_os_str()])
        .run();
    program
}

fn tool(dir: &Path, command: &str) -> String {
    let mut words = command.split_whitespace();
    Build::with(words.next().unwrap(), dir).args(words).run()
}

fn check_loops(what: &str, compiler: &str, outcome: &Outcome) {
    assert_eq!(outcome.stdout(), "324\n", "{what}: {}", outcome.stderr());
    assert_counts(what, &expected(&fixture("c/loops.c"), compiler), outcome.coverage.file("loops.c"));
}

/// Compiles with `flags`, lets `after` change the files, and checks the counts.
fn variety(compiler: &str, flags: &str, after: impl FnOnce(&Path)) {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), compiler, flags);
    after(dir.path());
    check_loops(&format!("{compiler} {flags}"), compiler, &Agent::run(&program).go());
}

macro_rules! varieties {
    ($($name:ident: $compiler:literal, $flags:literal;)*) => {
        $(#[test] fn $name() { variety($compiler, $flags, |_| ()); })*
    };
}

varieties! {
    pie: "gcc", "-g -pie -fPIE";
    no_pie: "gcc", "-g -no-pie -fno-pie";
    statically_linked: "gcc", "-g -static";
    static_pie: "gcc", "-g -static-pie -fPIE";
    gcc_dwarf4: "gcc", "-gdwarf-4";
    gcc_dwarf5: "gcc", "-gdwarf-5";
    gcc_dwarf2: "gcc", "-gdwarf-2 -gstrict-dwarf";
    gcc_dwarf64: "gcc", "-gdwarf-5 -gdwarf64";
    clang_dwarf4: "clang", "-gdwarf-4";
    clang_dwarf5: "clang", "-gdwarf-5";
    gcc_g1: "gcc", "-g1";
    clang_g1: "clang", "-g1";
    gcc_zlib: "gcc", "-g -gz=zlib";
    gcc_zlib_gnu: "gcc", "-g -gz=zlib-gnu";
    no_build_id: "gcc", "-g -Wl,--build-id=none";
    gcc_lto: "gcc", "-g -flto -fno-fat-lto-objects";
    clang_lto: "clang", "-g -flto -fuse-ld=lld";
    gc_sections: "gcc", "-g -ffunction-sections -fdata-sections -Wl,--gc-sections";
    lld_gc_sections: "clang", "-g -ffunction-sections -fuse-ld=lld -Wl,--gc-sections";
    lld: "gcc", "-g -fuse-ld=lld";
    separate_code: "gcc", "-g -Wl,-z,noseparate-code";
    large_pages: "gcc", "-g -Wl,-z,max-page-size=0x200000";
    no_unwind_tables: "gcc", "-g -fno-asynchronous-unwind-tables -fno-unwind-tables";
    cf_protection: "gcc", "-g -fcf-protection=full";
    no_plt: "gcc", "-g -fno-plt -Wl,-z,now";
    stack_protector: "gcc", "-g -fstack-protector-all";
    large_model: "gcc", "-g -mcmodel=large -no-pie -fno-pie";
}

#[test]
fn zstd_sections() {
    // Neither compiler of this age writes it, but objcopy does.
    variety("gcc", "-g", |dir| {
        tool(dir, "llvm-objcopy-22 --compress-debug-sections=zstd program");
        assert!(tool(dir, "readelf -S -W program").contains(" C "), "nothing was compressed");
    });
}

#[test]
fn stripped_symbols() {
    variety("gcc", "-g", |dir| drop(tool(dir, "objcopy --strip-symbol=main --remove-section=.symtab program")));
}

#[test]
fn debuglink_beside() {
    variety("gcc", "-g", |dir| {
        tool(dir, "objcopy --only-keep-debug program program.debug");
        tool(dir, "strip --strip-all program");
        tool(dir, "objcopy --add-gnu-debuglink=program.debug program");
    });
}

#[test]
fn debuglink_in_debug_dir() {
    variety("gcc", "-g -Wl,--build-id=none", |dir| {
        tool(dir, "objcopy --only-keep-debug program program.debug");
        tool(dir, "strip --strip-all program");
        tool(dir, "objcopy --add-gnu-debuglink=program.debug program");
        std::fs::create_dir(dir.join(".debug")).unwrap();
        std::fs::rename(dir.join("program.debug"), dir.join(".debug/program.debug")).unwrap();
    });
}

#[test]
fn build_id_dir() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), "gcc", "-g -Wl,--build-id=0x0123456789abcdef0123456789abcdef01234567");
    tool(dir.path(), "objcopy --only-keep-debug program program.debug");
    tool(dir.path(), "strip --strip-all program");
    let below = dir.path().join("symbols/.build-id/01");
    std::fs::create_dir_all(&below).unwrap();
    std::fs::rename(dir.path().join("program.debug"), below.join("23456789abcdef0123456789abcdef01234567.debug"))
        .unwrap();
    let symbols = dir.path().join("symbols");
    let options = [OsStr::new("--debug-dir"), symbols.as_os_str()];
    check_loops("build-id directory", "gcc", &Agent::run_with(&options, &program).go());
}

#[test]
fn dwz_single() {
    variety("gcc", "-g", |dir| drop(tool(dir, "dwz program")));
}

#[test]
fn dwz_common_file() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let program = compile(dir.path(), "gcc", "-g");
    let other = dir.path().join("other");
    std::fs::copy(&program, &other).unwrap();
    tool(dir.path(), "dwz -m common.dwz program other");
    assert!(dir.path().join("common.dwz").exists(), "dwz found nothing in common");
    check_loops("dwz -m", "gcc", &Agent::run(&program).go());
    check_loops("dwz -m, the other", "gcc", &Agent::run(&other).go());
}

#[test]
fn split_dwarf() {
    for compiler in ["gcc", "clang"] {
        for version in ["-gdwarf-4", "-gdwarf-5"] {
            variety(compiler, &format!("-g {version} -gsplit-dwarf"), |dir| {
                let dwo =
                    std::fs::read_dir(dir).unwrap().any(|e| e.unwrap().path().extension().is_some_and(|x| x == "dwo"));
                assert!(dwo, "{compiler} wrote no .dwo");
            });
        }
    }
}

#[test]
fn split_dwarf_package() {
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        variety("clang", &format!("-g {version} -gsplit-dwarf"), |dir| {
            tool(dir, "llvm-dwp-22 -e program -o program.dwp");
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|x| x == "dwo") {
                    std::fs::remove_file(path).unwrap();
                }
            }
        });
    }
}

#[test]
fn shared_library() {
    if !kernel() {
        return;
    }
    for compiler in ["gcc", "clang"] {
        let dir = scratch();
        let source = |name: &str| fixture(name).into_os_string().into_string().unwrap();
        let library = source("c/library.c");
        tool(dir.path(), &format!("{compiler} -O0 -g -fPIC -shared {library} -o libwork.so"));
        let program = source("c/uses_library.c");
        tool(dir.path(), &format!("{compiler} -O0 -g {program} -o program -L. -lwork -Wl,-rpath,$ORIGIN"));
        let outcome = Agent::run(&dir.path().join("program")).go();
        for name in ["library.c", "uses_library.c"] {
            let want = expected(&fixture(&format!("c/{name}")), compiler);
            assert_counts(&format!("{name} by {compiler}"), &want, outcome.coverage.file(name));
        }
    }
}

#[test]
fn identical_code_folding() {
    if !kernel() {
        return;
    }
    let source = fixture("c/folded.c");
    for (what, fold) in [("apart", "none"), ("folded", "all")] {
        let dir = scratch();
        let flags = format!("-O1 -g -ffunction-sections -fuse-ld=lld -Wl,--icf={fold}");
        tool(dir.path(), &format!("clang {flags} {} -o program", source.display()));
        let outcome = Agent::run(&dir.path().join("program")).go();
        assert_counts(what, &expected(&source, what), outcome.coverage.file("folded.c"));
    }
}

#[test]
fn cold_part_elsewhere() {
    if !kernel() {
        return;
    }
    let source = fixture("c/cold.c");
    let dir = scratch();
    tool(dir.path(), &format!("gcc -O2 -g {} -o program", source.display()));
    assert!(tool(dir.path(), "nm program").contains("work.cold"), "nothing was split off");
    let outcome = Agent::run(&dir.path().join("program")).go();
    assert_counts("cold part", &expected(&source, "gcc"), outcome.coverage.file("cold.c"));
}

/// One template, instantiated in two translation units: the linker keeps one copy (COMDAT), and the
/// rows of the dropped one must not be taken for code.
#[test]
fn comdat() {
    if !kernel() {
        return;
    }
    for compiler in ["g++", "clang++"] {
        let dir = scratch();
        let source = |name: &str| fixture(name).into_os_string().into_string().unwrap();
        let (one, two) = (source("cpp/comdat_one.cpp"), source("cpp/comdat_two.cpp"));
        tool(dir.path(), &format!("{compiler} -O0 -g {one} {two} -o program"));
        let outcome = Agent::run(&dir.path().join("program")).go();
        for name in ["comdat.hpp", "comdat_one.cpp", "comdat_two.cpp"] {
            let want = expected(&fixture(&format!("cpp/{name}")), compiler);
            assert_counts(&format!("{name} by {compiler}"), &want, outcome.coverage.file(name));
        }
    }
}
