//! Programs with their debug info in them.

use super::build::{dumped_rows, nm_functions};
use super::*;

const MAIN_C: &str = "\
#include \"sub/add.h\"
int twice(int x)
{
    return add(x, x);
}
int main(int argc, char **argv)
{
    int sum = 0;
    for (int i = 0; i < argc; i++)
        sum += twice(i);
    return sum;
}
";
const ADD_H: &str = "\
static inline int add(int a, int b) {
    return a + b;
}
";

fn sources() -> Build {
    let build = Build::new();
    build.write("main.c", MAIN_C);
    build.write("sub/add.h", ADD_H);
    build
}

/// Every compiler, DWARF version and optimisation: the rows are those that LLVM's reader sees.
#[test]
fn rows_are_those_of_llvm_dwarfdump() {
    let build = sources();
    for compiler in ["gcc", "clang-14"] {
        for options in ["-gdwarf-4 -O0", "-gdwarf-4 -O2", "-gdwarf-5 -O0", "-gdwarf-5 -O2", "-g1", "-gdwarf-3"] {
            build.run(&format!("{compiler} {options} main.c -o main"));
            let path = build.path("main");
            let object = open_whole(&path);
            let mut expected = dumped_rows(&build, &path);
            expected.retain(|row| !row.4);
            expected.sort_by_key(|row| row.0);
            let lines = &object.lines;
            let rows: Vec<_> = lines.sequences.iter().flat_map(|s| lines.rows_of(s)).collect();
            let got: Vec<_> = rows.iter().map(|r| (r.addr.0, r.line, r.is_stmt)).collect();
            let expected: Vec<_> = expected.iter().map(|r| (r.0, r.1, r.3)).collect();
            assert_eq!(got, expected, "{compiler} {options}");
            let files: Vec<_> = lines.files.iter().map(|f| f.path.clone()).collect();
            assert_eq!(files, [build.path("main.c"), build.path("sub/add.h")], "{compiler} {options}");
            assert_eq!(object.debug, DebugOrigin::Embedded);
        }
    }
}

#[test]
fn functions_are_where_nm_says_and_know_their_declaration() {
    let build = sources();
    for compiler in ["gcc", "clang-14"] {
        for options in ["-gdwarf-4", "-gdwarf-5"] {
            build.run(&format!("{compiler} {options} main.c -o main"));
            let path = build.path("main");
            let object = open_whole(&path);
            let nm = nm_functions(&build, &path);
            for (name, file, line) in [("main", "main.c", 6), ("twice", "main.c", 2), ("add", "sub/add.h", 1)] {
                let copies: Vec<_> = object.functions.copies.iter().filter(|c| &*c.name == name).collect();
                let [copy] = copies[..] else { panic!("{name}: {copies:?}") };
                let &(_, start, size) = nm.iter().find(|f| f.0 == name).unwrap();
                let range = AddrRange { start: LinkAddr(start), end: LinkAddr(start + size) };
                assert_eq!(copy.ranges, [range], "{name}");
                assert_eq!(copy.kind, CopyKind::OutOfLine);
                let (declared, at) = copy.decl.unwrap();
                assert_eq!((object.lines.file(declared).unwrap().path.clone(), at), (build.path(file), line));
                let fde = object.image.fdes.iter().find(|f| f.range.start.0 == start).unwrap();
                assert_eq!(fde.range, range, "{name}");
                let symbol = object.image.symbols.iter().find(|s| s.name == name).unwrap();
                assert_eq!(symbol.range, range, "{name}");
            }
        }
    }
}

#[test]
fn statement_lines_of_a_function() {
    let build = sources();
    build.run("gcc -g -O0 main.c -o main");
    let object = open_whole(&build.path("main"));
    assert_eq!(statement_lines(&object, "add", "sub/add.h"), [1, 2, 3]);
    assert_eq!(statement_lines(&object, "main", "main.c"), [7, 8, 9, 9, 10, 10, 9, 9, 11, 12]);
}

#[test]
fn inlined_copies_name_their_parent() {
    let build = sources();
    for compiler in ["gcc", "clang-14"] {
        build.run(&format!("{compiler} -g -O2 main.c -o main"));
        let object = open_whole(&build.path("main"));
        let copies = &object.functions.copies;
        let find = |name: &str, parent: &str| {
            copies.iter().any(|c| {
                let CopyKind::Inlined { parent: p } = c.kind else { return false };
                &*c.name == name && &*copies[p as usize].name == parent && !c.ranges.is_empty()
            })
        };
        assert!(find("add", "twice"), "{compiler}: {copies:#?}");
        for (n, copy) in copies.iter().enumerate() {
            if let CopyKind::Inlined { parent } = copy.kind {
                assert!((parent as usize) < n);
            }
        }
        let add = copies.iter().find(|c| &*c.name == "add").unwrap();
        let (file, line) = add.decl.unwrap();
        assert_eq!((&object.lines.file(file).unwrap().path, line), (&build.path("sub/add.h"), 1));
    }
}

#[test]
fn only_wanted_units_are_read() {
    let build = sources();
    build.write("other.c", "int other(void) { return 1; }\n");
    build.run("gcc -g -O0 main.c other.c -o main");
    let path = build.path("main");
    let wanted = build.path("other.c");
    let object = open(&path, &DebugSearch::default(), &|p| p == wanted).unwrap();
    assert_eq!(object.lines.files.iter().map(|f| &f.path).collect::<Vec<_>>(), [&wanted]);
    assert_eq!(object.functions.copies.iter().map(|c| &*c.name).collect::<Vec<_>>(), ["other"]);
    assert_eq!(object.left_out, [build.path("main.c")]);
    let nothing = open(&path, &DebugSearch::default(), &|_| false).unwrap();
    assert_eq!((nothing.lines.rows.len(), nothing.functions.copies.len()), (0, 0));
    assert_eq!(nothing.left_out, [build.path("main.c"), wanted]);
}

#[test]
fn image_of_a_dynamic_program() {
    let build = Build::new();
    build.write("p.c", "#include <stdlib.h>\n#include <stdio.h>\nint main(void) { puts(\"x\"); exit(3); }\n");
    for options in ["", "-fcf-protection=full -Wl,-z,ibtplt", "-no-pie", "-Wl,-z,now"] {
        build.run(&format!("gcc -g {options} p.c -o p"));
        let object = open_whole(&build.path("p"));
        let image = &object.image;
        let calls: Vec<&str> = image.plt.iter().map(|(_, name)| name.as_str()).collect();
        assert!(calls.contains(&"puts") && calls.contains(&"exit"), "{options}: {calls:?}");
        let dump = build.run("objdump -d --no-show-raw-insn p");
        for (addr, name) in &image.plt {
            let label = format!("{:016x} <{name}@plt>:", addr.0);
            assert!(dump.contains(&label), "{options}: {label}\n");
        }
        assert!(matches!(&image.id, ObjectId::BuildId(id) if id.len() == 20));
        assert_eq!(image.relocatable, options != "-no-pie");
        let main = image.symbols.iter().find(|s| s.name == "main").unwrap();
        let offset = image.file_offset(main.range.start).unwrap();
        let bytes = std::fs::read(build.path("p")).unwrap();
        let start = usize::try_from(offset.0).unwrap();
        assert_eq!(
            image.bytes_of(main.range).unwrap(),
            &bytes[start..start + usize::try_from(main.range.len()).unwrap()]
        );
    }
}
