//! Split DWARF.

use super::*;

const MAIN: &str = "\
#include \"inc/h.h\"
int other(int);
namespace n { struct S { int m(int x); }; }
int n::S::m(int x) { return add(x, 1); }
int main(int argc, char **argv) {
    n::S s;
    return s.m(argc) + other(2);
}
";
const OTHER: &str = "#include \"inc/h.h\"\nint other(int x) {\n    return add(x, x);\n}\n";
const HEADER: &str = "inline __attribute__((always_inline)) int add(int a, int b) {\n    return a + b;\n}\n";

fn sources() -> Build {
    let build = Build::new();
    build.write("src/main.cc", MAIN);
    build.write("src/other.cc", OTHER);
    build.write("src/inc/h.h", HEADER);
    build
}

fn compile(build: &Build, compiler: &str, options: &str, out: &str) {
    for unit in ["main", "other"] {
        build.run(&format!("{compiler} {options} -c src/{unit}.cc -o {unit}.o"));
    }
    build.run(&format!("{compiler} {options} main.o other.o -o {out}"));
}

const WAYS: [(&str, &str); 6] = [
    ("g++", "-gdwarf-4 -O1"),
    ("g++", "-gdwarf-5 -O1"),
    ("g++", "-gdwarf-5 -O2 -gz"),
    ("clang++-14", "-gdwarf-4 -O1"),
    ("clang++-14", "-gdwarf-5 -O1"),
    ("clang++-14", "-gdwarf-5 -O0"),
];

fn expect_functions(object: &Object, build: &Build, way: &str) {
    for (name, file, line) in
        [("main", "src/main.cc", 5), ("_ZN1n1S1mEi", "src/main.cc", 4), ("_Z5otheri", "src/other.cc", 2)]
    {
        let copy = object.functions.copies.iter().find(|c| &*c.name == name && c.kind == CopyKind::OutOfLine);
        let copy = copy.unwrap_or_else(|| panic!("{way}: {name} not in {:?}", names(object)));
        let (declared, at) = copy.decl.unwrap();
        assert_eq!((object.lines.file(declared).unwrap().path.clone(), at), (build.path(file), line), "{way}: {name}");
    }
    let inlined = object.functions.copies.iter().filter(|c| &*c.name == "_Z3addii");
    let mut callers: Vec<_> = inlined
        .map(|c| {
            let CopyKind::Inlined { parent } = c.kind else { panic!("{c:?}") };
            let (declared, line) = c.decl.unwrap();
            assert_eq!((object.lines.file(declared).unwrap().path.clone(), line), (build.path("src/inc/h.h"), 1));
            &*object.functions.copies[parent as usize].name
        })
        .collect();
    callers.sort_unstable();
    callers.dedup();
    assert!(callers.contains(&"_Z5otheri"), "{way}: {callers:?}");
}

#[test]
fn dwo_files_tell_the_same_as_embedded_entries() {
    for (compiler, options) in WAYS {
        let way = format!("{compiler} {options}");
        let build = sources();
        compile(&build, compiler, options, "whole");
        let whole = open_whole(&build.path("whole"));
        expect_functions(&whole, &build, &way);
        compile(&build, compiler, &format!("{options} -gsplit-dwarf"), "p");
        assert!(build.path("main.dwo").exists(), "{way}");
        let object = open_whole(&build.path("p"));
        assert_eq!(facts(&object), facts(&whole), "{way}");

        // Beside the object, although the compiler wrote them elsewhere; in another directory.
        build.run("mkdir moved far");
        build.run("mv p main.dwo other.dwo moved");
        assert_eq!(facts(&open_whole(&build.path("moved/p"))), facts(&whole), "{way}");
        build.run("mv moved/main.dwo moved/other.dwo far");
        let mut search = DebugSearch::default();
        search.dirs.push(build.path("far"));
        let object = open(&build.path("moved/p"), &search, &all).unwrap();
        assert_eq!((object.notes.len(), facts(&object)), (0, facts(&whole)), "{way}");
    }
}

#[test]
fn packages() {
    for (compiler, options) in WAYS {
        let way = format!("{compiler} {options}");
        let build = sources();
        compile(&build, compiler, &format!("{options} -gsplit-dwarf"), "p");
        let object = facts(&open_whole(&build.path("p")));
        build.run("llvm-dwp-22 -e p -o p.dwp");
        build.run("rm main.dwo other.dwo");
        assert_eq!(facts(&open_whole(&build.path("p"))), object, "{way}");
        // A stripped program, its debug file and that one's package.
        build.run("mkdir d");
        build.run("objcopy --only-keep-debug p d/p.debug");
        build.run("objcopy -S --add-gnu-debuglink=d/p.debug p");
        build.run("mv d/p.debug p.debug");
        build.run("mv p.dwp p.debug.dwp");
        assert_eq!(facts(&open_whole(&build.path("p"))), object, "{way}");
    }
}

#[test]
fn missing_and_foreign_dwo_files_are_noted_and_the_rest_is_used() {
    let build = sources();
    compile(&build, "gcc", "-gdwarf-5 -O1 -gsplit-dwarf", "p");
    build.run("rm other.dwo");
    let object = open(&build.path("p"), &DebugSearch::default(), &all).unwrap();
    let [note] = &object.notes[..] else { panic!("{:?}", object.notes) };
    assert_eq!(note.unit, "other.dwo");
    let expected = format!("its functions are left out: looked for them in {}", build.path("other.dwo").display());
    assert!(note.message.starts_with(&expected), "{note}");
    assert!(names(&object).contains(&"main") && !names(&object).contains(&"_Z5otheri"));
    assert!(object.lines.files.iter().any(|f| f.path == build.path("src/other.cc")), "its rows are there");

    build.run("cp main.dwo other.dwo");
    let object = open(&build.path("p"), &DebugSearch::default(), &all).unwrap();
    let [note] = &object.notes[..] else { panic!("{:?}", object.notes) };
    assert!(note.message.contains("other.dwo (another DWO id)"), "{note}");
}
