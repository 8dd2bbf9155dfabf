//! `cov-agent annotate`: sources with counts.

use cov_tests::{Workdir, tracefile};

fn workdir() -> Workdir {
    let dir = Workdir::new(&[
        ("src/a.c", "int f(int x)\n{\n\tif (x)\n\t\treturn 1;\n\treturn 0; /* \x1b[31m */\n}\n"),
        ("src/b.c", "b\n"),
    ]);
    let root = dir.path();
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let a: &[(u32, u64)] = &[(1, 3), (3, 3), (4, 0), (5, 12_345_678_901)];
    dir.write(
        "coverage/lcov.info",
        tracefile(&[(&path("src/a.c"), a), (&path("src/b.c"), &[(1, 1)]), (&path("src/gone.c"), &[(1, 1)])]),
    );
    dir
}

const A: &str = "\
src/a.c: 3 of 4 lines executed, 75%
            3     1  int f(int x)
                  2  {
            3     3  \tif (x)
!           0     4  \t\treturn 1;
  12345678901     5  \treturn 0; /* \\u{1b}[31m */
                  6  }
";

#[test]
fn each_line_has_its_count() {
    let dir = workdir();
    assert_eq!(dir.prints(&["annotate", "src/a.c"]), A);
    assert_eq!(dir.prints(&["annotate", "a.c", "--data", "coverage/lcov.info"]), A);
    let b = "src/b.c: 1 of 1 lines executed, 100%\n         1     1  b\n";
    assert_eq!(dir.prints(&["annotate", "src/a.c", "src/b.c"]), format!("{A}\n{b}"));
}

#[test]
fn colours_mark_what_was_executed() {
    let dir = workdir();
    let text = dir.prints(&["annotate", "src/a.c", "--color", "always"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[1], "\x1b[32m            3     1  int f(int x)\x1b[0m");
    assert_eq!(lines[4], "\x1b[1m\x1b[31m!           0     4  \t\treturn 1;\x1b[0m");
    assert_eq!(lines[6], "                  6  }");
}

#[test]
fn a_source_that_is_gone_keeps_no_other_from_being_shown() {
    let dir = workdir();
    let said = dir.agent(&["annotate"]);
    let missing = "$DIR/src/gone.c: No such file or directory (os error 2) (no-source)\n";
    assert_eq!((said.code, said.err), (0, format!("cov-agent: warning: {missing}")));
    assert!(said.out.starts_with(A), "{}", said.out);
    let said = dir.agent(&["annotate", "gone.c"]);
    assert_eq!((said.code, said.out.as_str(), said.err), (125, "", format!("cov-agent: error: {missing}")));
    let said = dir.agent(&["annotate", "nothing.c"]);
    let expected = "cov-agent: error: nothing.c: no such source file is in the data (no-source)\n";
    assert_eq!((said.code, said.err.as_str()), (125, expected));
}

#[test]
fn sources_may_lie_elsewhere() {
    let dir = workdir();
    let data = dir.read("coverage/lcov.info").replace(dir.path().to_str().unwrap(), "/builds/9");
    dir.write("coverage/lcov.info", data);
    assert_eq!(dir.agent(&["annotate", "a.c"]).code, 125);
    assert_eq!(dir.prints(&["annotate", "a.c", "--prefix-map", "/builds/9=."]), A);
    dir.write("coverage.ini", "[cov-agent]\nprefix_map = /builds/9=.\n");
    assert_eq!(dir.prints(&["annotate", "a.c"]), A);
}
