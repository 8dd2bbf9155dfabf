//! What only the running kernel can show.

/// Whether probes can be armed here. Where `COV_REQUIRE_KERNEL=1` says that they must, a test that
/// cannot run has failed.
pub(super) fn kernel() -> bool {
    let able = crate::probe::Bpf::new(crate::probe::Options::default());
    let required = std::env::var_os("COV_REQUIRE_KERNEL").is_some_and(|value| value == "1");
    if let Err(error) = &able {
        assert!(!required, "COV_REQUIRE_KERNEL=1, but: {error}");
        eprintln!("not run: {error}");
    }
    able.is_ok()
}
