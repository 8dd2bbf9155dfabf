//! Files that are not what they should be, by accident or on purpose.

use super::*;
use std::time::{Duration, Instant};

/// Parses bytes; whatever is in them, this ends soon.
fn parse_bytes(bytes: Vec<u8>) -> Result<Object, ObjectError> {
    let bytes: Bytes = Arc::new(bytes);
    let begun = Instant::now();
    let result = parse(Path::new("/nowhere/p"), &bytes, &DebugSearch::nowhere(), &all);
    assert!(begun.elapsed() < Duration::from_secs(20), "took {:?}", begun.elapsed());
    result
}

const SOURCE: &str = "\
#include <stdexcept>
struct S { S(int a) : x(a) {} int x; };
static inline int half(int x) { return x / 2; }
int risky(int x) {
    if (x > 3) throw std::runtime_error(\"x\");
    return half(x);
}
int main(int argc, char **) {
    S s(argc);
    try { return risky(s.x); } catch (const std::exception &) { return 9; }
}
";

fn program(options: &str) -> Build {
    let build = Build::new();
    build.write("p.cc", SOURCE);
    build.run(&format!("g++ {options} p.cc -o p"));
    build
}

#[test]
fn each_kind_of_wrong_file_has_its_error() {
    let build = program("-g");
    let good = std::fs::read(build.path("p")).unwrap();
    let with = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        parse_bytes(bytes).unwrap_err()
    };
    assert!(matches!(with(1, b"X"), ObjectError::NotElf));
    assert!(matches!(with(4, &[1]), ObjectError::Not64Bit));
    assert!(matches!(with(5, &[2]), ObjectError::BigEndian));
    assert!(matches!(with(18, &[183, 0]), ObjectError::OtherMachine(183)));
    assert!(matches!(with(16, &[4]), ObjectError::NotLinked(4)));
    for text in ["", "x", "#!/bin/sh\n", "\x7fEL"] {
        assert!(matches!(parse_bytes(text.into()), Err(ObjectError::NotElf)), "{text:?}");
    }
    for len in [4, 5, 6, 63, 64, 100, good.len() / 2, good.len() - 1] {
        let error = parse_bytes(good[..len].to_vec()).unwrap_err();
        let ObjectError::Truncated { needs, has } = error else { panic!("{len}: {error}") };
        assert!(has == len as u64 && needs > has, "{len}: {error}");
    }
    build.run("g++ -g -c p.cc -o p.o");
    let error = |name: &str| open(&build.path(name), &DebugSearch::default(), &all).unwrap_err();
    assert!(matches!(error("p.o"), ObjectError::NotLinked(1)));
    assert!(matches!(error("p.cc"), ObjectError::NotElf));
    assert!(matches!(error(""), ObjectError::NotRegular));
    assert!(matches!(error("absent"), ObjectError::Read(_)));
    build.run("g++ p.cc -o p");
    let message = error("p").to_string();
    assert_eq!(
        message,
        format!("no debug info: looked in {}; compile with -g", build.path("p").display())
            .replace("; c", ", SEPARATE; c")
            .replace(", SEPARATE", &build_id_places(&build))
    );
}

/// Where `p`'s debug info would be by its build-id, as the message lists it.
fn build_id_places(build: &Build) -> String {
    let notes = build.run("readelf -n p");
    let id = notes.split("Build ID: ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    format!(", /usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..])
}

/// Where a section lies in a file.
fn section(bytes: &[u8], name: &str) -> Option<std::ops::Range<usize>> {
    use ::object::{Object as _, ObjectSection as _};
    let file = ::object::File::parse(bytes).unwrap();
    let (start, len) = file.section_by_name(name)?.file_range()?;
    Some(usize::try_from(start).unwrap()..usize::try_from(start + len).unwrap())
}

#[test]
fn a_corrupt_line_table_is_left_out_and_the_rest_is_used() {
    let build = Build::new();
    build.write("a.c", "int a(void) { return 1; }\n");
    build.write("b.c", "int a(void);\nint main(void) { return a(); }\n");
    build.run("gcc -g a.c b.c -o p");
    let mut bytes = std::fs::read(build.path("p")).unwrap();
    let lines = section(&bytes, ".debug_line").unwrap();
    // The version of the first program.
    bytes[lines.start + 4] = 99;
    let object = parse_bytes(bytes.clone()).unwrap();
    let [note] = &object.notes[..] else { panic!("{:?}", object.notes) };
    assert_eq!(note.unit, "a.c");
    assert!(note.message.starts_with("its line table is left out: "), "{note}");
    assert_eq!(names(&object), ["main"]);

    let len = u32::from_le_bytes(bytes[lines.start..][..4].try_into().unwrap()) as usize;
    bytes[lines.start + 4 + len + 4] = 99;
    let error = parse_bytes(bytes).unwrap_err();
    assert!(matches!(error, ObjectError::CorruptDebugInfo(_)), "{error}");
    assert!(error.to_string().starts_with("corrupt debug info: a.c: its line table is left out: "), "{error}");
}

/// Damages each of some real objects in many places, one at a time and several at once.
#[test]
fn damage_never_panics_and_never_hangs() {
    let mut objects = Vec::new();
    for options in ["-gdwarf-4 -O1", "-gdwarf-5 -O1 -ffunction-sections", "-gdwarf-5 -gz", "-g1 -static"] {
        let build = program(options);
        if options.contains("-static") {
            build.run("strip -g p"); // a big image, no debug info
            build.run("objcopy --add-section .debug_line=p.cc p");
        }
        objects.push(std::fs::read(build.path("p")).unwrap());
    }
    // A linear congruential generator (Knuth's MMIX): the same damage on every run.
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut good = 0;
    for bytes in &objects {
        let names =
            [".debug_info", ".debug_line", ".debug_abbrev", ".eh_frame", ".rela.dyn", ".dynamic", ".gcc_except_table"];
        let mut targets: Vec<_> = vec![0..64, 64..1000, bytes.len() - 3000..bytes.len()];
        targets.extend(names.iter().filter_map(|name| section(bytes, name)).filter(|r| !r.is_empty()));
        for round in 0..400 {
            let mut damaged = bytes.clone();
            let target = targets[random(targets.len())].clone();
            for _ in 0..1 + round % 8 {
                let at = target.start + random(target.len());
                damaged[at] = match random(4) {
                    0 => damaged[at] ^ (1 << random(8)),
                    1 => 0xff,
                    2 => 0,
                    _ => u8::try_from(random(256)).unwrap(),
                };
            }
            good += usize::from(parse_bytes(damaged).is_ok());
        }
    }
    assert!(good > 100, "the damage must leave something to parse: {good}");
}

#[test]
fn announced_sizes_are_not_believed() {
    let build = program("-g -gz");
    let bytes = std::fs::read(build.path("p")).unwrap();
    let info = section(&bytes, ".debug_info").unwrap();
    for size in [u64::MAX, 1 << 45, 1 << 32] {
        let mut bytes = bytes.clone();
        bytes[info.start + 8..info.start + 16].copy_from_slice(&size.to_le_bytes()); // `ch_size`
        let error = parse_bytes(bytes).unwrap_err();
        assert!(matches!(error, ObjectError::TooBig { .. }), "{size:#x}: {error}");
    }
    let mut bytes = bytes;
    bytes[info.start + 8] ^= 1;
    assert!(matches!(parse_bytes(bytes), Err(ObjectError::CorruptDebugInfo(_))));
}

/// Debug info that no compiler would write, as assembler text.
fn assemble(build: &Build, abbreviations: &str, units: &str, lines: &str) -> Result<Object, ObjectError> {
    let text = format!(
        ".globl main\nmain: nop\nnop\nret\n.section .debug_abbrev,\"\"\n{abbreviations}\n.byte 0\n\
         .section .debug_info,\"\"\n{units}\n.section .debug_line,\"\"\n{lines}\n"
    );
    build.write("x.s", &text);
    build.run("gcc x.s -o x");
    parse_bytes(std::fs::read(build.path("x")).unwrap())
}

/// A unit of DWARF 4 with these entries.
fn unit(number: usize, entries: &str) -> String {
    format!(".long 1f-0f\n0: .short 4\n.long 0\n.byte 8\nu{number}: {entries}\n1:\n")
}

/// Abbreviation 1 is a unit with a line table, 2 a function (name, code, origin), 3 an empty block
/// with children, 4 a function whose name is a reference.
const ABBREVIATIONS: &str = "\
.uleb128 1,0x11,1,0x03,0x08,0x10,0x17,0,0
.uleb128 2,0x2e,0,0x03,0x08,0x11,0x01,0x12,0x06,0x31,0x13,0,0
.uleb128 3,0x0b,1,0,0
.uleb128 4,0x2e,0,0x03,0x0e,0x11,0x01,0x12,0x06,0,0";

/// A line table of DWARF 4 for one file and `main`, with `rows` rows.
fn lines(rows: usize) -> String {
    format!(
        ".long 9f-8f\n8: .short 4\n.long 7f-6f\n6: .byte 1,1,1,0xfb,14,13,0,1,1,1,1,0,0,0,1,0,0,1\n.byte 0\n\
         .asciz \"x.c\"\n.byte 0,0,0,0\n7: .byte 0,9,2\n.quad main\n.rept {rows}\n.byte 1\n.endr\n\
         .byte 2,3,0,1,1\n9:\n"
    )
}

#[test]
fn many_units_with_one_line_table_read_it_once() {
    let build = Build::new();
    let units: String = (0..3000).map(|n| unit(n, ".uleb128 1\n.asciz \"x.c\"\n.long 0\n.byte 0")).collect();
    let object = assemble(&build, ABBREVIATIONS, &units, &lines(100_000)).unwrap();
    assert_eq!((object.notes.len(), object.lines.rows.len(), object.lines.sequences.len()), (0, 100_000, 1));
}

#[test]
fn line_tables_that_overlap_are_not_all_read() {
    let build = Build::new();
    // Each unit's table begins four bytes after the last one's, inside its rows, and claims to reach to the end.
    let table = lines(10);
    let nested: String = (0..3000).map(|_| table.as_str()).collect();
    let units: String =
        (0..3000).map(|n| unit(n, &format!(".uleb128 1\n.asciz \"x.c\"\n.long {}\n.byte 0", n * 69))).collect();
    let object = assemble(&build, ABBREVIATIONS, &units, &nested.replace(".long 9f-8f", ".long 100000")).unwrap();
    assert!(object.notes.iter().any(|n| n.message.contains("overlaps others")), "{:?}", object.notes.first());
}

#[test]
fn deep_entries_and_circles_end() {
    let build = Build::new();
    let entries = "\
.uleb128 1\n.asciz \"x.c\"\n.long 0
.rept 300000\n.uleb128 3\n.endr
2: .uleb128 2\n.asciz \"\"\n.quad main\n.long 3\n.long 2b-0b+4
.rept 300000\n.byte 0\n.endr\n.byte 0";
    let object = assemble(&build, ABBREVIATIONS, &unit(0, entries), &lines(1)).unwrap();
    let [copy] = &object.functions.copies[..] else { panic!("{:?}", object.functions) };
    assert_eq!((&*copy.name, copy.ranges[0].len()), ("", 3));
}

#[test]
fn one_endless_name_for_every_function_is_not_copied_for_each() {
    let build = Build::new();
    let entries = "\
.uleb128 1\n.asciz \"x.c\"\n.long 0
.rept 100000\n.uleb128 4\n.long name\n.quad main\n.long 3\n.endr
.byte 0\n.section .debug_str,\"\"\nname: .fill 60000,1,65\n.byte 0\n.section .debug_info,\"\"";
    let error = assemble(&build, ABBREVIATIONS, &unit(0, entries), &lines(1)).unwrap_err();
    assert!(matches!(error, ObjectError::TooBig { what: "bytes of parsed debug info", .. }), "{error}");
    // One that is too long for a name is not one.
    let entries = entries.replace("60000", "70000").replace("100000", "10");
    let object = assemble(&build, ABBREVIATIONS, &unit(0, &entries), &lines(1)).unwrap();
    assert_eq!(names(&object), [""]);
}

/// The bytes change while they are read: no matter which, the outcome is a value.
#[test]
fn a_file_that_is_cut_short_while_it_is_read() {
    let build = program("-g -static");
    let path = build.path("p");
    let bytes = std::fs::read(&path).unwrap();
    for cut in [0, 4096, bytes.len() / 3, bytes.len() - 4096] {
        std::fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        let result = open_file(&path, file, &DebugSearch::nowhere(), &|_| {
            File::options().write(true).open(&path).unwrap().set_len(cut as u64).unwrap();
            true
        });
        assert!(matches!(result, Err(ObjectError::Changed)), "{cut}: {:?}", result.map(|_| ()));
    }
}
