//! Debug info that is compressed, or lies in another file.

use super::*;

const SOURCE: &str = "\
#include <stdio.h>
__attribute__((always_inline)) static inline int half(int x) {
    return x / 2;
}
int main(int argc, char **argv) {
    printf(\"%d\\n\", half(argc));
    return 0;
}
";

/// A program with embedded debug info, and what is known of it.
fn program(options: &str) -> (Build, Object) {
    let build = Build::new();
    build.write("p.c", SOURCE);
    build.run(&format!("gcc -g {options} p.c -o p"));
    let object = open_whole(&build.path("p"));
    assert_eq!(names(&object), ["main"]);
    assert_eq!(statement_lines(&object, "main", "p.c"), [5, 3, 6, 7, 8]);
    (build, object)
}

/// Searches below `dir` only.
fn search_in(dir: PathBuf) -> DebugSearch {
    let mut search = DebugSearch::default();
    search.dirs = vec![dir];
    search
}

/// Moves the debug info of `p` to `name`, linked to by that name.
fn strip_to(build: &Build, name: &str) {
    std::fs::create_dir_all(build.path(name).parent().unwrap()).unwrap();
    build.run(&format!("objcopy --only-keep-debug p {name}"));
    build.run(&format!("objcopy --strip-all --add-gnu-debuglink={name} p"));
}

#[test]
fn compressed_sections() {
    let (build, plain) = program("");
    for kind in ["zlib", "zlib-gnu", "zlib-gabi", "zstd"] {
        build.run(&format!("objcopy --compress-debug-sections={kind} p {kind}"));
        let sections = build.run(&format!("readelf -SW {kind}"));
        let expected = if kind == "zlib-gnu" { ".zdebug_line" } else { " C " };
        assert!(sections.contains(expected), "{kind} is not compressed:\n{sections}");
        let object = open_whole(&build.path(kind));
        assert_eq!(facts(&object), facts(&plain), "{kind}");
    }
}

#[test]
fn debug_link_beside_below_and_in_a_directory() {
    let below = |build: &Build| format!("debug{}/p.debug", build.path("").display());
    let places: [&dyn Fn(&Build) -> String; 3] =
        [&|_| "p.debug".into(), &|_| ".debug/p.debug".into(), &|build| below(build)];
    for place in places {
        for options in ["", "-Wl,--build-id=none"] {
            let (build, plain) = program(options);
            let place = place(&build);
            strip_to(&build, &place);
            let search = search_in(build.path("debug"));
            let object = open(&build.path("p"), &search, &all).unwrap();
            assert_eq!(object.notes, []);
            assert_eq!(facts(&object), facts(&plain), "{place}");
            assert_eq!(object.debug, DebugOrigin::DebugLink(build.path(&place)));
            assert!(object.image.symbols.iter().any(|s| s.name == "main"), "symbols of the debug file");
            assert_eq!(
                object.image.bytes_of(object.functions.copies[0].ranges[0]),
                plain.image.bytes_of(plain.functions.copies[0].ranges[0])
            );
        }
    }
}

#[test]
fn debug_link_through_a_symbolic_link() {
    let (build, plain) = program("");
    strip_to(&build, "p.debug");
    build.run("mkdir bin");
    std::os::unix::fs::symlink(build.path("p"), build.path("bin/p")).unwrap();
    let object = open(&build.path("bin/p"), &DebugSearch::default(), &all).unwrap();
    assert_eq!(facts(&object), facts(&plain));
}

#[test]
fn build_id_directory() {
    let (build, plain) = program("");
    let ObjectId::BuildId(id) = &plain.image.id else { panic!("no build-id") };
    let hex: String = id.iter().map(|b| format!("{b:02x}")).collect();
    let place = format!("debug/.build-id/{}/{}.debug", &hex[..2], &hex[2..]);
    std::fs::create_dir_all(build.path(&place).parent().unwrap()).unwrap();
    build.run(&format!("objcopy --only-keep-debug p {place}"));
    build.run("strip p");
    let object = open(&build.path("p"), &search_in(build.path("debug")), &all).unwrap();
    assert_eq!(facts(&object), facts(&plain));
    assert_eq!(object.debug, DebugOrigin::BuildId(build.path(&place)));

    // That of another program.
    build.write("q.c", "int main(void) { return 1; }\n");
    build.run("gcc -g q.c -o q");
    build.run(&format!("objcopy --only-keep-debug q {place}"));
    let error = open(&build.path("p"), &search_in(build.path("debug")), &all).unwrap_err();
    let ObjectError::NoDebugInfo { looked_in } = &error else { panic!("{error}") };
    let expected = [(build.path("p"), ""), (build.path(&place), "another build-id")];
    assert_eq!(looked_in.iter().map(|l| (l.path.clone(), l.why.as_str())).collect::<Vec<_>>(), expected);
    assert_eq!(
        error.to_string(),
        format!(
            "no debug info: looked in {}, {} (another build-id); compile with -g",
            build.path("p").display(),
            build.path(&place).display()
        )
    );
}

#[test]
fn a_debug_file_that_is_missing_or_not_its_own() {
    let (build, _) = program("-Wl,--build-id=none");
    strip_to(&build, "p.debug");
    build.run("mv p.debug away");
    let search = search_in(build.path("debug"));
    let error = open(&build.path("p"), &search, &all).unwrap_err();
    let beside = build.path("p.debug");
    let message = error.to_string();
    assert!(message.starts_with("its debug info is in a separate file, p.debug, that was not found: looked in "));
    assert!(message.contains(&format!("{}, {}", beside.display(), build.path(".debug/p.debug").display())));

    build.write("q.c", "int main(void) { return 1; }\n");
    build.run("gcc -g -Wl,--build-id=none q.c -o q");
    build.run("objcopy --only-keep-debug q p.debug");
    let error = open(&build.path("p"), &search, &all).unwrap_err();
    let message = error.to_string();
    let expected = format!("{} (its checksum is not that in .gnu_debuglink)", beside.display());
    assert!(message.contains(&expected), "{message}");

    build.write("p.debug", "nonsense");
    let message = open(&build.path("p"), &search, &all).unwrap_err().to_string();
    assert!(message.contains(&format!("{} (not an ELF file)", beside.display())), "{message}");
}

#[test]
fn every_other_file_is_opened_by_the_opener() {
    let (build, _) = program("");
    strip_to(&build, "p.debug");
    let refused = DebugSearch::with_opener(|_| Err(std::io::ErrorKind::PermissionDenied.into()));
    let error = open(&build.path("p"), &refused, &all).unwrap_err().to_string();
    assert!(error.contains("p.debug (cannot read it: permission denied)"), "{error}");

    let opened = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&opened);
    let search = DebugSearch::with_opener(move |path| {
        log.lock().unwrap().push(path.to_path_buf());
        File::open(path)
    });
    open(&build.path("p"), &search, &all).unwrap();
    assert_eq!(opened.lock().unwrap().last(), Some(&build.path("p.debug")));
}

#[test]
fn a_debug_file_that_is_a_fifo_does_not_block() {
    let (build, _) = program("");
    strip_to(&build, "p.debug");
    build.run("rm p.debug");
    build.run("mkfifo p.debug");
    let error = open(&build.path("p"), &DebugSearch::default(), &all).unwrap_err().to_string();
    assert!(error.contains("p.debug (not a regular file)"), "{error}");
}

/// Two programs that share a header: dwz moves what both have to a third file.
#[test]
fn dwz_with_and_without_a_supplementary_file() {
    let build = Build::new();
    // Enough entries in common for dwz to find it worth its while.
    let types: String =
        (0..60).map(|n| format!("struct s{n} {{ int a{n}; struct s{n} *next; long l{n}[4]; }};\n")).collect();
    let uses: String = (0..60).map(|n| format!("    struct s{n} v{n}; __asm__(\"\" :: \"r\"(&v{n}));\n")).collect();
    let header = format!(
        "{types}static inline __attribute__((always_inline)) int shared(int x) {{\n{uses}    return x + 1;\n}}\n\
         class C {{ public: int method(int x); }};\ninline int C::method(int x) {{ return shared(x); }}\n"
    );
    build.write("shared.h", &header);
    for name in ["one", "two"] {
        let own = format!("#include \"shared.h\"\nint {name}(int x) {{ C c; return c.method(x); }}\n");
        build.write(&format!("{name}.cc"), &own);
        build.write(
            &format!("{name}_main.cc"),
            &format!(
                "#include \"shared.h\"\nint {name}(int);\nint main() {{ C c; return {name}(1) + c.method(2); }}\n"
            ),
        );
        build.run(&format!("g++ -g -gdwarf-5 -O1 {name}.cc {name}_main.cc -o {name}"));
    }
    let plain: Vec<_> = ["one", "two"].iter().map(|name| facts(&open_whole(&build.path(name)))).collect();
    assert!(plain[0].1.iter().any(|c| c.0.contains("shared") && c.3.is_some()), "{:?}", plain[0].1);

    build.run("cp one single");
    build.run("dwz single");
    assert!(build.run("llvm-dwarfdump-14 --debug-info single").contains("DW_TAG_partial_unit"));
    assert_eq!(facts(&open_whole(&build.path("single"))), plain[0]);

    build.run("dwz -m common.dwz -M common.dwz one two");
    assert!(build.run("readelf -SW one").contains(".gnu_debugaltlink"));
    assert!(build.run("readelf --debug-dump=info one").contains("<alt 0x"));
    assert_eq!(facts(&open_whole(&build.path("one"))), plain[0]);
    assert_eq!(facts(&open_whole(&build.path("two"))), plain[1]);

    build.run("mkdir -p debug/.dwz");
    build.run("mv common.dwz debug/.dwz/common.dwz");
    let object = open(&build.path("one"), &search_in(build.path("debug")), &all).unwrap();
    assert_eq!((object.notes.len(), facts(&object)), (0, plain[0].clone()));

    build.run("rm debug/.dwz/common.dwz");
    let object = open(&build.path("one"), &search_in(build.path("debug")), &all).unwrap();
    let [note] = &object.notes[..] else { panic!("{:?}", object.notes) };
    assert!(note.message.starts_with("its supplementary file common.dwz was not found"), "{note}");
    assert_eq!(facts(&object).0, plain[0].0, "the rows are all there");
}
