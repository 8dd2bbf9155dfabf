//! What linkers drop, fold, share and move.

use super::build::nm_functions;
use super::*;

/// Which functions `nm` knows among those named.
fn in_nm(build: &Build, object: &str, names: &[&str]) -> Vec<String> {
    let nm = nm_functions(build, &build.path(object));
    let mut found: Vec<String> = nm.into_iter().map(|f| f.0).filter(|n| names.contains(&n.as_str())).collect();
    found.sort();
    found
}

/// No sequence may lie outside of functions that are there.
fn expect_all_rows_in_functions(build: &Build, object: &Object, path: &str, way: &str) {
    let nm = nm_functions(build, &build.path(path));
    for row in &object.lines.rows {
        let inside = nm.iter().any(|(_, start, len)| (*start..start + len).contains(&row.addr.0));
        assert!(inside, "{way}: row at {} of line {}", row.addr, row.line);
    }
}

#[test]
fn dropped_functions_leave_nothing() {
    let build = Build::new();
    build.write(
        "p.c",
        "\
int unused(int x) {
    int sum = 0;
    for (int i = 0; i < x; i++) sum += i * x;
    return sum;
}
int used(int x) { return x + 1; }
int also_unused(int x) { return unused(x); }
int main(void) { return used(1); }
",
    );
    for compiler in ["gcc", "clang-14"] {
        for linker in ["bfd", "gold", "lld"] {
            for dwarf in [4, 5] {
                for pie in ["-pie", "-no-pie", "-shared -e main"] {
                    let way = format!("{compiler} {linker} {dwarf} {pie}");
                    let code = if pie == "-no-pie" { "" } else { "-fPIE" };
                    build.run(&format!(
                        "{compiler} -gdwarf-{dwarf} {code} -fvisibility=hidden -ffunction-sections -fuse-ld={linker} {pie} -Wl,--gc-sections p.c -o p"
                    ));
                    let object = open_whole(&build.path("p"));
                    if pie == "-shared -e main" && linker != "bfd" {
                        continue; // the entry point keeps nothing alive there
                    }
                    assert_eq!(
                        in_nm(&build, "p", &["main", "used", "unused", "also_unused"]),
                        ["main", "used"],
                        "{way}"
                    );
                    assert_eq!(names(&object), ["main", "used"], "{way}");
                    expect_all_rows_in_functions(&build, &object, "p", &way);
                    assert_eq!(statement_lines(&object, "used", "p.c").first(), Some(&6), "{way}");
                }
            }
        }
    }
}

#[test]
fn folded_functions_keep_the_rows_of_each() {
    let build = Build::new();
    build.write(
        "p.c",
        "\
int first(int x) {
    return x * 3 + 1;
}
int second(int x) {
    return x * 3 + 1;
}
int main(int argc, char **argv) { return first(argc) + second(argc); }
",
    );
    for linker in ["lld", "gold"] {
        build.run(&format!("clang-14 -g -O1 -fno-inline -ffunction-sections -fuse-ld={linker} -Wl,--icf=all p.c -o p"));
        let object = open_whole(&build.path("p"));
        // lld keeps the rows of a function that it folds into another, but not the function's own entry.
        let known: &[&str] = if linker == "gold" { &["first", "main", "second"] } else { &["first", "main"] };
        assert_eq!(names(&object), known, "{linker}");
        let nm = nm_functions(&build, &build.path("p"));
        let start = |name: &str| LinkAddr(nm.iter().find(|f| f.0 == name).unwrap().1);
        assert_eq!(start("first"), start("second"), "{linker} folds them");
        let range = |name: &str| object.functions.copies.iter().find(|c| &*c.name == name).unwrap().ranges.clone();
        assert!(known[1..].iter().all(|name| *name == "main" || range(name) == range("first")), "{linker}");
        let start = start("first");
        let sequences: Vec<_> = object.lines.sequences.iter().filter(|s| s.start == start).collect();
        let mut lines: Vec<u32> = sequences.iter().map(|s| object.lines.rows_of(s)[0].line).collect();
        lines.sort_unstable();
        assert_eq!(lines, [1, 4], "{linker}");
    }
}

#[test]
fn comdat_functions_are_there_once() {
    let build = Build::new();
    build.write(
        "t.h",
        "template <class T> T twice(T x) {\n    return x + x;\n}\ninline int plain(int x) {\n    return x - 1;\n}\n",
    );
    build.write("a.cc", "#include \"t.h\"\nint a(int x) { return twice(x) + plain(x); }\n");
    build.write(
        "b.cc",
        "#include \"t.h\"\nint a(int);\nint main() { return twice(1) + twice(2l) + plain(3) + a(4); }\n",
    );
    for compiler in ["g++", "clang++-14"] {
        for linker in ["bfd", "gold", "lld"] {
            let way = format!("{compiler} {linker}");
            build.run(&format!("{compiler} -g -O0 -fuse-ld={linker} a.cc b.cc -o p"));
            let object = open_whole(&build.path("p"));
            assert_eq!(names(&object), ["_Z1ai", "_Z5plaini", "_Z5twiceIiET_S0_", "_Z5twiceIlET_S0_", "main"], "{way}");
            let lines = if compiler == "g++" { vec![4, 5, 6] } else { vec![4, 5] };
            assert_eq!(statement_lines(&object, "_Z5plaini", "t.h"), lines, "{way}");
            let starts: Vec<_> = object.lines.sequences.iter().map(|s| s.start).collect();
            let mut once = starts.clone();
            once.dedup();
            assert_eq!(starts, once, "{way}: a sequence is there twice");
            expect_all_rows_in_functions(&build, &object, "p", &way);
        }
    }
}

#[test]
fn cold_parts_belong_to_their_function() {
    let build = Build::new();
    build.write(
        "p.c",
        "\
#include <stdlib.h>
__attribute__((cold, noinline)) void complain(int x) { abort(); }
__attribute__((noinline)) int hot(int x) {
    if (x > 100) {
        complain(x);
        complain(x + 1);
    }
    return x + 1;
}
int main(int argc, char **argv) { return hot(argc); }
",
    );
    for dwarf in [4, 5] {
        build.run(&format!("gcc -gdwarf-{dwarf} -O2 p.c -o p"));
        let object = open_whole(&build.path("p"));
        let hot = object.functions.copies.iter().find(|c| &*c.name == "hot").unwrap();
        let nm = nm_functions(&build, &build.path("p"));
        let range = |name: &str| {
            let (_, start, len) = nm.iter().find(|f| f.0 == name).unwrap();
            AddrRange { start: LinkAddr(*start), end: LinkAddr(start + len) }
        };
        let mut expected = vec![range("hot"), range("hot.cold")];
        expected.sort();
        assert_eq!(hot.ranges, expected, "DWARF {dwarf}");
    }
}

#[test]
fn link_time_optimisation() {
    let build = Build::new();
    build.write(
        "a.c",
        "int deep(int x) {\n    __asm__(\"\" : \"+r\"(x));\n    return x * 7;\n}\nint wide(int x) {\n    return deep(x) + deep(x + 1);\n}\n",
    );
    build.write("b.c", "int wide(int);\nint main(int argc, char **argv) {\n    return wide(argc);\n}\n");
    for (compiler, linker) in [("gcc", "bfd"), ("clang-14", "lld")] {
        for dwarf in [4, 5] {
            let way = format!("{compiler} {linker} {dwarf}");
            build.run(&format!("{compiler} -gdwarf-{dwarf} -O2 -flto -fuse-ld={linker} a.c b.c -o p"));
            let object = open_whole(&build.path("p"));
            assert_eq!(names(&object), ["main"], "{way}");
            let copies = &object.functions.copies;
            let deep: Vec<_> = copies.iter().filter(|c| &*c.name == "deep").collect();
            assert!(!deep.is_empty(), "{way}: {copies:?}");
            for copy in deep {
                let (file, line) = copy.decl.unwrap();
                assert_eq!((object.lines.file(file).unwrap().path.clone(), line), (build.path("a.c"), 1), "{way}");
                let CopyKind::Inlined { parent } = copy.kind else { panic!("{way}: {copy:?}") };
                assert_eq!(&*copies[parent as usize].name, "wide", "{way}");
            }
        }
    }
}

/// Code at address 0 is not mistaken for what the linker dropped, nor the other way round.
#[test]
fn code_at_address_0() {
    let build = Build::new();
    build.write(
        "p.c",
        "\
int _start(int x) {
    return x + 1;
}
int dropped(int x) {
    int sum = 0;
    for (int i = 0; i < x; i++) sum += i * x;
    return sum;
}
int last(int x) {
    return x + 2;
}
",
    );
    build.write("p.ld", "\
ENTRY(_start)
PHDRS { text PT_LOAD FLAGS(5); }
SECTIONS { . = 0; .text : { KEEP(*(.text._start)) KEEP(*(.text.last)) *(.text.*) } :text .eh_frame : { *(.eh_frame) } :text }
");
    for linker in ["bfd", "lld"] {
        build.run(&format!(
            "clang-14 -g -O0 -ffunction-sections -nostdlib -static -fuse-ld={linker} -Wl,--gc-sections,-T,p.ld,--build-id=none p.c -o p"
        ));
        let object = open_whole(&build.path("p"));
        let start = object.functions.copies.iter().find(|c| &*c.name == "_start").unwrap();
        assert_eq!(start.ranges[0].start, LinkAddr(0), "{linker}");
        assert_eq!(names(&object), ["_start", "last"], "{linker}");
        expect_all_rows_in_functions(&build, &object, "p", linker);
        assert_eq!(statement_lines(&object, "_start", "p.c"), [1, 2], "{linker}");
        assert!(matches!(object.image.id, ObjectId::Content(_)));
    }
}
