//! Languages and their compilers.

use super::*;

#[test]
fn names_of_functions_in_cxx() {
    let build = Build::new();
    build.write(
        "p.cc",
        "\
namespace n {
struct S {
    S(int a);
    ~S() { x = 0; }
    int m(int x) const;
    int x;
};
S::S(int a) : x(a) {}
int S::m(int b) const {
    auto lambda = [&](int q) { return q + b + x; };
    return lambda(b);
}
namespace {
int hidden(int a) { return a; }
}
template <class T> T same(T t) { return t; }
extern \"C\" int plain_c(int a) { return hidden(a) + same(a); }
}
static int local(int a) { return a; }
int main() {
    n::S s(1);
    return s.m(2) + n::plain_c(3) + local(1);
}
",
    );
    let lambda =
        |compiler: &str| if compiler == "g++" { "_ZZNK1n1S1mEiENKUliE_clEi" } else { "_ZZNK1n1S1mEiENK3$_0clEi" };
    for compiler in ["g++", "clang++-14"] {
        for dwarf in [4, 5] {
            build.run(&format!("{compiler} -gdwarf-{dwarf} -O0 p.cc -o p"));
            let object = open_whole(&build.path("p"));
            let mut expected = vec![
                ("_ZN1n1SC2Ei", 8),
                ("_ZN1n1SD2Ev", 4),
                ("_ZNK1n1S1mEi", 9),
                (lambda(compiler), 10),
                ("_ZN1n12_GLOBAL__N_16hiddenEi", 14),
                ("_ZN1n4sameIiEET_S1_", 16),
                ("plain_c", 17),
                ("_ZL5locali", 19),
                ("main", 20),
            ];
            expected.sort_unstable();
            let copies = object.functions.copies.iter();
            let mut got: Vec<_> = copies.map(|c| (&*c.name, c.decl.map_or(0, |d| d.1))).collect();
            got.sort_unstable();
            assert_eq!(got, expected, "{compiler} {dwarf}");
        }
    }
}

#[test]
fn a_function_has_one_name_whether_inlined_or_not() {
    let build = Build::new();
    build.write(
        "p.cc",
        "\
struct S {
    S(int a) : x(a) { __asm__ volatile(\"nop\"); }
    int x;
};
static int twice(int a) {
    __asm__ volatile(\"nop\");
    return a * 2;
}
int (*volatile pointer)(int) = twice;
__attribute__((noinline)) S make(int a) { return S(a); }
__attribute__((noinline, noipa)) int use(const S &s) { return twice(s.x) + pointer(s.x); }
struct T : S { T() : S(4) {} };
int main() { T *t = new T; return use(make(1)) + use(*t); }
",
    );
    build.run("g++ -g -O2 p.cc -o p");
    let object = open_whole(&build.path("p"));
    let names: Vec<&str> = object.functions.copies.iter().map(|c| &*c.name).collect();
    let twice: Vec<&&str> = names.iter().filter(|n| n.contains("twice")).collect();
    assert_eq!(twice, [&"_ZL5twicei", &"_ZL5twicei"], "{names:?}");
}

#[test]
fn rust_programs() {
    let build = Build::new();
    build.write(
        "p.rs",
        "\
fn pick<T: PartialOrd>(a: T, b: T) -> T {
    if a < b {
        a
    } else {
        b
    }
}
struct Counter(u32);
impl Counter {
    fn next(&mut self) -> u32 {
        self.0 += 1;
        self.0
    }
}
fn main() {
    let add = |x: u32| {
        x + 1
    };
    let mut counter = Counter(add(std::hint::black_box(1)));
    println!(\"{} {}\", pick(std::hint::black_box(1), 2), pick(counter.next().into(), 2.0));
}
",
    );
    for options in [
        "-Cdebuginfo=2",
        "-Cdebuginfo=2 -Cstrip=none -Clto=fat -Copt-level=1",
        "-Cdebuginfo=2 -Csplit-debuginfo=unpacked",
        "-Cdebuginfo=2 -Csplit-debuginfo=packed",
    ] {
        build.run(&format!("rustc {options} p.rs -o p"));
        let main = build.path("p.rs");
        let object = open(&build.path("p"), &DebugSearch::default(), &|p| p == main).unwrap();
        assert_eq!(object.notes, [], "{options}");
        let lines: std::collections::BTreeSet<u32> = object
            .lines
            .rows
            .iter()
            .filter(|r| r.is_stmt && r.line > 0 && object.lines.file(r.file).unwrap().path == main)
            .map(|r| r.line)
            .collect();
        for line in [2, 11, 20] {
            assert!(lines.contains(&line), "{options}: {line} not in {lines:?}");
        }
        assert!(object.left_out.iter().any(|p| p.starts_with("/rustc")), "{options}: {:?}", object.left_out);
        let demangled = |c: &FunctionCopy| format!("{:#}", rustc_demangle::demangle(&c.name));
        let found: Vec<(String, u32)> = object
            .functions
            .copies
            .iter()
            .filter_map(|c| {
                let (file, line) = c.decl?;
                (object.lines.file(file)?.path == main).then(|| (demangled(c), line))
            })
            .collect();
        for (name, line) in [("p::pick", 1), ("p::Counter>::next", 10), ("p::main", 15)] {
            assert!(found.iter().any(|(n, l)| n.contains(name) && *l == line), "{options}: {name} not in {found:?}");
        }
    }
}

#[test]
fn go_programs() {
    let build = Build::new();
    build.write("go.mod", "module example.com/p\n\ngo 1.19\n");
    build.write(
        "main.go",
        "\
package main

import \"fmt\"

//go:noinline
func sum(n int) int {
\ttotal := 0
\tfor i := 0; i < n; i++ {
\t\ttotal += i
\t}
\treturn total
}

func main() {
\tf := func(x int) int { return x + 1 }
\tfmt.Println(sum(3), f(1))
}
",
    );
    let main = build.path("main.go");
    for options in ["", "-ldflags=-compressdwarf=false", "-gcflags=-N", "-buildmode=pie"] {
        build.run(&format!("go build {options} -o p ."));
        let object = open(&build.path("p"), &DebugSearch::default(), &|p| p == main).unwrap();
        assert_eq!(object.notes, [], "{options}");
        assert!(object.left_out.len() > 10, "{options}: {:?}", object.left_out);
        let sum = object.functions.copies.iter().find(|c| &*c.name == "main.sum").unwrap();
        let (file, line) = sum.decl.unwrap();
        assert_eq!((object.lines.file(file).unwrap().path.clone(), line), (main.clone(), 6), "{options}");
        let lines: std::collections::BTreeSet<u32> =
            statement_lines(&object, "main.sum", "main.go").into_iter().collect();
        assert!([8, 9, 11].iter().all(|l| lines.contains(l)), "{options}: {lines:?}");
        assert!(!object.image.fdes.is_empty(), "{options}: .debug_frame has them");
        let symbol = object.image.symbols.iter().find(|s| s.name == "main.sum").unwrap();
        assert_eq!(symbol.range.start, sum.ranges[0].start, "{options}");
    }
    build.run("go build -ldflags=-w -o p .");
    assert!(matches!(open(&build.path("p"), &DebugSearch::default(), &all), Err(ObjectError::NoDebugInfo { .. })));
}
