use super::*;
use crate::coverage::{ExecutionCounter, FileCoverage, Losses, Run, Snapshot};
use crate::format::{Limits, ReadError, testing};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn text(snapshot: &Snapshot) -> String {
    let mut bytes = Vec::new();
    write(snapshot, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn of(directory: &str, files: Vec<FileCoverage>) -> Snapshot {
    let run = Run { directory: directory.into(), end: 1_700_000_000, ..Run::default() };
    Snapshot::new(run, BTreeSet::new(), Losses::default(), files)
}

fn sample() -> Snapshot {
    let mut a = FileCoverage::new("/w/src/a<b>&\"c\".cpp");
    a.function(3, "_ZN1A1fIiLi3EEEvv", ExecutionCounter::exact(2));
    a.record(3, ExecutionCounter::exact(2), "");
    a.record(4, ExecutionCounter::exact(u64::MAX), "test");
    a.executable(9);
    a.unmeasurable(10, "no instruction");
    let mut b = FileCoverage::new("/usr/include/b.h");
    b.record(1, ExecutionCounter::exact(1), "");
    of("/w", vec![a, b, FileCoverage::new("/w/main.c")])
}

#[test]
fn it_is_what_readers_expect() {
    let version = env!("CARGO_PKG_VERSION");
    let want = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">
<coverage line-rate="0.7500" branch-rate="0" complexity="0" lines-covered="3" lines-valid="4" branches-covered="0" branches-valid="0" version="cov-agent {version}" timestamp="1700000000000">
<sources><source>/w</source></sources>
<packages>
<package name="." line-rate="1.0000" branch-rate="0" complexity="0">
<classes>
<class name="main.c" filename="main.c" line-rate="1.0000" branch-rate="0" complexity="0">
<methods/>
<lines>
</lines>
</class>
</classes>
</package>
<package name="usr.include" line-rate="1.0000" branch-rate="0" complexity="0">
<classes>
<class name="b.h" filename="/usr/include/b.h" line-rate="1.0000" branch-rate="0" complexity="0">
<methods/>
<lines>
<line number="1" hits="1"/>
</lines>
</class>
</classes>
</package>
<package name="src" line-rate="0.6667" branch-rate="0" complexity="0">
<classes>
<class name="a&lt;b&gt;&amp;&quot;c&quot;.cpp" filename="src/a&lt;b&gt;&amp;&quot;c&quot;.cpp" line-rate="0.6667" branch-rate="0" complexity="0">
<methods>
<method name="void A::f&lt;int, 3&gt;()" signature="" line-rate="1.0000" branch-rate="0" complexity="0"><lines><line number="3" hits="2"/></lines></method>
</methods>
<lines>
<line number="3" hits="2"/>
<line number="4" hits="18446744073709551615"/>
<line number="9" hits="0"/>
</lines>
</class>
</classes>
</package>
</packages>
</coverage>
"#
    );
    assert_eq!(text(&sample()), want);
}

/// The lines alone: there are no contexts, and counts are exact.
fn expected(snapshot: &Snapshot) -> Vec<(String, Vec<(u32, u64)>)> {
    let files = snapshot.files().iter();
    files.map(|f| (f.path().to_string(), f.lines().iter().map(|(line, c)| (line, c.value())).collect())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lines_and_counts_come_back(snapshot in testing::snapshots()) {
        let first = text(&snapshot);
        let back = read(&mut first.as_bytes(), Limits::default()).unwrap();
        prop_assert_eq!(expected(&back), expected(&snapshot));
        let functions = |s: &Snapshot| -> Vec<usize> { s.files().iter().map(|f| f.functions().count()).collect() };
        prop_assert_eq!(functions(&back), functions(&snapshot));
    }

    #[test]
    fn parts_fit_and_make_the_whole(snapshot in testing::snapshots(), max in 1500..6000u64) {
        let parts = parts(&snapshot, max);
        for part in &parts {
            prop_assert!(text(part).len() as u64 <= max || part.files().len() == 1);
        }
        let whole = parts.into_iter().reduce(Snapshot::merge).unwrap();
        prop_assert_eq!(expected(&whole), expected(&snapshot));
    }
}

fn read_str(text: &str) -> Result<Snapshot, ReadError> {
    read(&mut text.as_bytes(), Limits::default())
}

#[test]
fn names_are_joined_to_the_source() {
    let class = |sources: &str, filename: &str| {
        let text = format!(
            "<coverage><sources>{sources}</sources><packages><package><classes><class filename='{filename}'>\
             <lines><line number='1' hits='1'/></lines></class></classes></package></packages></coverage>"
        );
        read_str(&text).unwrap().files()[0].path().to_string()
    };
    assert_eq!(class("<source>/w</source>", "src/../a.c"), "/w/a.c");
    assert_eq!(class("<source>/a &amp; b&#x3c;</source>", "a.c"), "/a & b</a.c");
    assert_eq!(class("<source><![CDATA[/w&]]></source>", "a.c"), "/w&/a.c");
    assert_eq!(class("<source>\n /w\n </source>", "/b/a.c"), "/b/a.c");
    assert_eq!(class(r"<source>C:\w</source>", r"src\a.c"), "C:/w/src/a.c");
    assert_eq!(class("<source>.</source>", "src/a.c"), "src/a.c");
    assert_eq!(class("", "a.c"), "a.c");
    let here = env!("CARGO_MANIFEST_DIR");
    assert_eq!(
        class(&format!("<source>/no</source><source>{here}</source>"), "src/lib.rs"),
        format!("{here}/src/lib.rs")
    );
    assert_eq!(class("<source>/no</source><source>/nor</source>", "a.c"), "/no/a.c");
}

#[test]
fn classes_of_one_file_are_added_up_and_methods_are_not() {
    let text = "<?xml version='1.0'?><!DOCTYPE coverage [<!ENTITY x 'y'>]>
        <coverage><packages><package><classes>
        <class name='A' filename='a.java'><methods><method name='f()' signature='()V'><lines>
          <line number='2' hits='7'/><line number='3' hits='6' branch='true' condition-coverage='50% (1/2)'>
          <conditions><condition number='0' type='jump' coverage='50%'/></conditions></line></lines></method></methods>
          <lines><line number='2' hits='7'/><line number='3' hits='6'/></lines></class>
        <class name='A$B' filename='a.java'><methods/><lines><line number='3' hits='1'/></lines></class>
        </classes></package></packages></coverage>";
    let snapshot = read_str(text).unwrap();
    assert_eq!(expected(&snapshot), [("a.java".to_owned(), vec![(2, 7), (3, 7)])]);
    let functions: Vec<_> =
        snapshot.files()[0].functions().map(|(f, c)| (f.line, f.name.to_string(), c.value())).collect();
    assert_eq!(functions, [(2, "f()".to_owned(), 7)]);
}

#[test]
fn errors_say_what_is_wrong_and_where() {
    let line = |line: &str| format!("<coverage><class filename='a'><lines>{line}</lines></class></coverage>");
    let cases = [
        (String::new(), "it ends before </coverage>"),
        ("<coverage>".into(), "it ends before </coverage>"),
        ("no XML".into(), "it ends before </coverage>"),
        ("<report/>".into(), "<report> stands where <coverage> should (at byte 0)"),
        ("<coverage/><coverage/>".into(), "<coverage> stands where <coverage> should (at byte 11)"),
        ("<coverage><class/></coverage>".into(), "<class> has no filename (at byte 10)"),
        (
            "<coverage></sources>".into(),
            "ill-formed document: expected `</coverage>`, but `</sources>` was found (at byte 10)",
        ),
        ("<coverage><source>&x;</source></coverage>".into(), "the entity &x; is not known (at byte 18)"),
        (line("<line hits='1'/>"), "<line> has no number (at byte 37)"),
        (line("<line number='1' hits='-1'/>"), "hits=\"-1\" of <line> is not a number (at byte 37)"),
        (line("<line number='0' hits='1'/>"), "line 0; lines count from 1 (at byte 37)"),
        (line("<line number='9999999999' hits='1'/>"), "number=\"9999999999\" of <line> is not a number (at byte 37)"),
    ];
    for (text, what) in cases {
        assert_eq!(read_str(&text).unwrap_err().to_string(), format!("not a valid Cobertura report: {what}"), "{text}");
    }
    let lines = (1..5).map(|n| format!("<line number='{n}' hits='1'/>")).collect::<String>();
    let few = Limits { files: 1, records: 3 };
    let error = read(&mut line(&lines).as_bytes(), few).unwrap_err().to_string();
    assert_eq!(error, "too big: more than 3 line records; refused, to bound memory");
    let long = format!("<coverage version='{}", "x".repeat(3 << 20));
    assert_eq!(read_str(&long).unwrap_err().to_string(), "too big: a tag of more than 1048576 bytes");
    assert!(read(&mut &b"<coverage version='\xff'/>"[..], Limits::default()).is_err());
}

#[test]
fn damage_is_an_error_or_harmless() {
    let bytes = text(&sample()).trim_end().to_owned().into_bytes();
    testing::damage(&bytes, true, |bytes| read(&mut &bytes[..], Limits::default()));
}
