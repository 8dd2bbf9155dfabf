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

#[test]
#[ignore = "measures"]
fn measure() {
    use crate::probe::Kernel as _;
    use std::time::Instant;
    let _alone = super::contract::alone();
    for round in 0..4 {
        let t = Instant::now();
        let types = crate::probe::btf::KernelTypes::of_running_kernel().unwrap();
        let t1 = t.elapsed();
        let c = crate::probe::namespace::config(true).unwrap();
        let t2 = t.elapsed();
        drop((types, c));
        let t = Instant::now();
        let mut bpf = crate::probe::Bpf::new(Default::default()).unwrap();
        let new = t.elapsed();
        let t = Instant::now();
        let armed = bpf.attach(&super::fixture::file(), &super::fixture::sites(), 4).unwrap();
        let attach = t.elapsed();
        let t = Instant::now();
        bpf.track(std::process::id()).unwrap();
        let track = t.elapsed();
        let t = Instant::now();
        for _ in 0..100 { super::fixture::call(100); }
        let run = t.elapsed();
        let t = Instant::now();
        let c = bpf.counters(armed.id).unwrap();
        let count = t.elapsed();
        let t = Instant::now();
        bpf.detach(armed.id).unwrap();
        let detach = t.elapsed();
        let t = Instant::now();
        drop(bpf);
        let dropped = t.elapsed();
        println!("{round}: btf {t1:?} config {:?} new {new:?} attach {attach:?} track {track:?} run {run:?} count {count:?} detach {detach:?} drop {dropped:?} {c:?}", t2 - t1);
    }
}
