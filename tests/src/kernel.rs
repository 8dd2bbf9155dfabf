//! Whether this machine can run tests that need eBPF.

/// Whether probes can be armed here: root, and a kernel that knows uprobes.
///
/// # Panics
/// Where they cannot and `COV_REQUIRE_KERNEL=1`: there a test that cannot run has failed.
#[must_use]
pub fn kernel() -> bool {
    // SAFETY: geteuid reads a credential and cannot fail.
    #[expect(unsafe_code, reason = "geteuid(2) has no safe wrapper in libc")]
    let root = unsafe { libc::geteuid() } == 0;
    let uprobes = std::path::Path::new("/sys/bus/event_source/devices/uprobe").exists();
    let able = root && uprobes;
    let required = std::env::var_os("COV_REQUIRE_KERNEL").is_some_and(|v| v == "1");
    assert!(able || !required, "COV_REQUIRE_KERNEL=1, but root is {root} and uprobes are there: {uprobes}");
    if !able {
        eprintln!("not run: this test needs root and uprobes");
    }
    able
}
