//! The shared libraries that a program uses are measured with it, but for those of the system.

use cov_tests::{Agent, Build, kernel, scratch};
use std::collections::BTreeMap;

#[test]
fn a_library_beside_the_program() {
    if !kernel() {
        return;
    }
    let dir = scratch();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("twice.c"), "int twice(int n) {\n    return 2 * n;\n}\n").unwrap();
    std::fs::write(
        path("main.c"),
        "int twice(int n);\nint main(void) {\n    int sum = 0;\n    for (int i = 0; i < 5; i++)\n        sum += twice(i);\n    return sum;\n}\n",
    )
    .unwrap();
    Build::with("gcc", dir.path()).args(["-g", "-shared", "-fPIC", "-o", "libtwice.so", "twice.c"]).run();
    Build::with("gcc", dir.path()).args(["-g", "-o", "main", "main.c", "-L.", "-ltwice", "-Wl,-rpath,$ORIGIN"]).run();
    let outcome = Agent::run(&path("main")).go();
    assert_eq!(outcome.process.status.code(), Some(20), "{}", outcome.stderr());
    let lines = |name: &str| outcome.coverage.file(name).lines.clone();
    assert_eq!(lines("twice.c"), BTreeMap::from([(1, 5), (2, 5), (3, 5)]));
    assert_eq!(lines("main.c"), BTreeMap::from([(2, 1), (3, 1), (4, 6), (5, 5), (6, 1), (7, 1)]));
    assert_eq!(outcome.coverage.files.len(), 2, "{:?}", outcome.coverage.files.keys());
}
