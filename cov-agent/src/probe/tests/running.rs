//! What only the running kernel can show.

use super::child::{Child, in_a_child, pin};
use super::contract::alone;
use super::fixture::{self, SLOTS, expected, site, sites};
use crate::plan::{Condition, Observe, SlotId};
use crate::probe::{Bpf, Kernel as _, Options, Prices, facts};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Whether probes can be armed here. Where `COV_REQUIRE_KERNEL=1` says that they must, a test that
/// cannot run has failed.
pub(super) fn kernel() -> bool {
    let able = Bpf::new(Options::default());
    let required = std::env::var_os("COV_REQUIRE_KERNEL").is_some_and(|value| value == "1");
    if let Err(error) = &able {
        assert!(!required, "COV_REQUIRE_KERNEL=1, but: {error}");
        eprintln!("not run: {error}");
    }
    able.is_ok()
}

/// Tests that run both with `uprobe.multi` and with a perf event for each probe.
macro_rules! both_ways {
    ($($name:ident),* $(,)?) => {
        mod multi {
            $(#[test] fn $name() { super::one_way(false, super::$name); })*
        }
        mod one_by_one {
            $(#[test] fn $name() { super::one_way(true, super::$name); })*
        }
    };
}

both_ways![
    threads_count_exactly,
    two_processes_on_one_processor_count_exactly,
    children_are_counted_others_are_not,
    all_conditions_are_told,
    a_killed_process_keeps_its_counts,
    an_ended_process_is_forgotten,
    hits_amid_arming_find_their_counter,
];

fn one_way(one_by_one: bool, test: fn(Bpf)) {
    if kernel() {
        let _alone = alone();
        test(Bpf::new(Options { one_by_one, ..Options::default() }).unwrap());
    }
}

fn threads_count_exactly(mut bpf: Bpf) {
    let armed = bpf.attach(&fixture::file(), &sites(), SLOTS).unwrap();
    bpf.track(std::process::id()).unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (1..=100).for_each(fixture::call));
        }
    });
    let calls: Vec<u64> = (0..8).flat_map(|_| 1..=100).collect();
    assert_eq!(bpf.counters(armed.id).unwrap(), expected(&calls));
    assert!(bpf.losses().unwrap().is_none());
}

/// A hit that is interrupted by another process's, on the same counter of the same processor.
fn two_processes_on_one_processor_count_exactly(mut bpf: Bpf) {
    const CALLS: u32 = 200;
    const ROUNDS: u32 = 1000;
    let jump = site(fixture::jump(), Observe::Branch { condition: Condition(5), taken: SlotId(0) });
    let armed = bpf.attach(&fixture::file(), &[jump], 2).unwrap();
    let hammer = || {
        pin();
        (0..CALLS).for_each(|_| fixture::call(ROUNDS));
    };
    let children = [Child::new(hammer), Child::new(hammer)];
    for child in &children {
        bpf.track(child.pid()).unwrap();
    }
    children.iter().for_each(Child::go);
    children.iter().for_each(Child::has_run);
    children.into_iter().for_each(Child::end);
    let (calls, rounds) = (2 * u64::from(CALLS), 2 * u64::from(CALLS) * u64::from(ROUNDS));
    assert_eq!(bpf.counters(armed.id).unwrap(), [rounds - calls, calls]);
}

/// A process is counted and runs an object while it is armed.
fn hits_amid_arming_find_their_counter(mut bpf: Bpf) {
    bpf.track(std::process::id()).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fixture::call(1);
            }
        });
        for _ in 0..20 {
            bpf.attach(&fixture::file(), &sites(), SLOTS).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(bpf.losses().unwrap().is_none());
}

fn children_are_counted_others_are_not(mut bpf: Bpf) {
    let armed = bpf.attach(&fixture::file(), &sites(), SLOTS).unwrap();
    let counted = Child::new(|| {
        fixture::call(1);
        in_a_child(|| {
            fixture::call(20);
            in_a_child(|| fixture::call(300));
        });
        in_a_child(|| fixture::call(4000));
    });
    let other = Child::new(|| {
        fixture::call(7);
        in_a_child(|| fixture::call(8));
    });
    bpf.track(counted.pid()).unwrap();
    for child in [&counted, &other] {
        child.go();
        child.has_run();
    }
    fixture::call(9);
    counted.end();
    other.end();
    assert_eq!(bpf.counters(armed.id).unwrap(), expected(&[1, 20, 300, 4000]));
}

#[test]
fn children_are_not_counted_where_that_is_not_wanted() {
    if !kernel() {
        return;
    }
    let _alone = alone();
    let mut bpf = Bpf::new(Options { follow: false, ..Options::default() }).unwrap();
    let armed = bpf.attach(&fixture::file(), &sites(), SLOTS).unwrap();
    let child = Child::new(|| {
        fixture::call(5);
        in_a_child(|| fixture::call(6));
    });
    bpf.track(child.pid()).unwrap();
    child.go();
    child.has_run();
    child.end();
    assert_eq!(bpf.counters(armed.id).unwrap(), expected(&[5]));
}

/// The truth is the processor's own: `setcc` under the same flags.
fn all_conditions_are_told(mut bpf: Bpf) {
    let armed = bpf.attach(&fixture::file(), &fixture::conditions(), 32).unwrap();
    assert!(armed.refused.is_empty());
    bpf.track(std::process::id()).unwrap();
    let mut truth = vec![0; 32];
    for bits in 0u64..32 {
        let flags = [0, 2, 6, 7, 11].iter().enumerate().fold(0x202, |flags, (n, flag)| flags | (bits >> n & 1) << flag);
        for (condition, outcome) in fixture::judge(flags).into_iter().enumerate() {
            truth[condition * 2 + usize::from(outcome == 0)] += 1;
        }
    }
    assert_eq!(truth.iter().sum::<u64>(), 16 * 32);
    assert_eq!(bpf.counters(armed.id).unwrap(), truth);
}

fn a_killed_process_keeps_its_counts(mut bpf: Bpf) {
    let armed = bpf.attach(&fixture::file(), &sites(), SLOTS).unwrap();
    let child = Child::new(|| fixture::call(1234));
    bpf.track(child.pid()).unwrap();
    child.go();
    child.has_run();
    child.kill();
    assert_eq!(bpf.counters(armed.id).unwrap(), expected(&[1234]));
}

/// Its number may be given to a process that nobody wants to count.
fn an_ended_process_is_forgotten(mut bpf: Bpf) {
    let child = Child::new(|| in_a_child(|| ()));
    bpf.track(std::process::id()).unwrap();
    bpf.track(child.pid()).unwrap();
    // A thread's end is not its process's.
    thread::spawn(|| ()).join().unwrap();
    child.go();
    child.has_run();
    child.end();
    assert_eq!(bpf.tracked_processes().unwrap(), [std::process::id()]);
}

#[test]
fn agents_do_not_disturb_each_other() {
    if !kernel() {
        return;
    }
    let _alone = alone();
    let mut agents: Vec<_> = (0..4)
        .map(|n| {
            let mut bpf = Bpf::new(Options { one_by_one: n == 3, ..Options::default() }).unwrap();
            let armed = bpf.attach(&fixture::file(), &sites(), SLOTS).unwrap();
            (bpf, armed.id)
        })
        .collect();
    let children: Vec<_> = (1..=3).map(|n| Child::new(move || fixture::call(n * 100))).collect();
    for (agent, (bpf, _)) in agents.iter_mut().enumerate() {
        for child in children.iter().skip(agent) {
            bpf.track(child.pid()).unwrap();
        }
    }
    children.iter().for_each(Child::go);
    children.iter().for_each(Child::has_run);
    children.into_iter().for_each(Child::end);
    let calls: [&[u64]; 4] = [&[100, 200, 300], &[200, 300], &[300], &[]];
    for ((mut bpf, id), calls) in agents.into_iter().zip(calls) {
        assert_eq!(bpf.detach(id).unwrap(), expected(calls));
    }
}

#[test]
fn thousands_of_sites_are_armed_at_once() {
    if !kernel() {
        return;
    }
    let _alone = alone();
    let mut bpf = Bpf::new(Options::default()).unwrap();
    let sled = fixture::sled();
    let slots = u32::try_from(sled.len()).unwrap();
    let armed = bpf.attach(&fixture::file(), &sled, slots).unwrap();
    bpf.track(std::process::id()).unwrap();
    fixture::slide();
    fixture::slide();
    assert_eq!(bpf.detach(armed.id).unwrap(), vec![2; sled.len()]);
}

/// Refused sites among thousands, in the first place, the last and in between.
#[test]
fn each_refused_site_is_found_among_thousands() {
    if !kernel() {
        return;
    }
    let _alone = alone();
    let mut bpf = Bpf::new(Options::default()).unwrap();
    let mut sites = fixture::sled();
    let bad = [0, 1, 4321, 5999];
    for site in bad {
        sites[site].offset.0 = fixture::locked();
    }
    let armed = bpf.attach(&fixture::file(), &sites, 6000).unwrap();
    assert_eq!(armed.refused.iter().map(|refused| refused.site).collect::<Vec<_>>(), bad);
    bpf.track(std::process::id()).unwrap();
    fixture::slide();
    let mut expected = vec![1; 6000];
    bad.into_iter().for_each(|site| expected[site] = 0);
    assert_eq!(bpf.counters(armed.id).unwrap(), expected);
}

/// Where each probe is a descriptor, and there are not enough: the first ones count.
#[test]
fn what_finds_no_descriptor_is_refused() {
    if !kernel() {
        return;
    }
    let _alone = alone();
    let mut bpf = Bpf::new(Options { one_by_one: true, ..Options::default() }).unwrap();
    bpf.leave_room_for(5);
    let first = bpf.attach(&fixture::file(), &sites(), SLOTS).unwrap();
    assert!(first.refused.is_empty());
    let armed = bpf.attach(&fixture::file(), &fixture::sled()[..4], 4).unwrap();
    let refused: Vec<_> = armed.refused.iter().map(|r| (r.site, r.reason.raw_os_error())).collect();
    assert_eq!(refused, [(2, Some(libc::EMFILE)), (3, Some(libc::EMFILE))]);
    bpf.track(std::process::id()).unwrap();
    fixture::slide();
    assert_eq!(bpf.counters(armed.id).unwrap(), [1, 1, 0, 0]);
    bpf.detach(first.id).unwrap();
    let again = bpf.attach(&fixture::file(), &fixture::sled()[..4], 4).unwrap();
    assert_eq!(again.refused.len(), 1, "what was disarmed has made room");
}

/// The prices are of this machine, so only their order is sure.
#[test]
fn a_hit_has_its_price() {
    if !kernel() {
        return;
    }
    let _alone = alone();
    let mut bpf = Bpf::new(Options::default()).unwrap();
    let prices = Prices::measure(&mut bpf).unwrap();
    assert!(prices.emulated < prices.single_stepped, "{prices:?}");
    let facts = facts();
    assert!(facts.ready(), "{facts:?}");
}

/// In a container processes have other numbers than the kernel's own.
#[test]
fn counts_are_exact_in_a_pid_namespace() {
    const INNER: &str = "COV_TEST_IN_PID_NAMESPACE";
    if !kernel() || std::env::var_os(INNER).is_some() {
        return;
    }
    let tests = ["counts_are_exact", "children_are_counted", "an_ended_process", "threads_count"];
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args(["--test-threads=1", "--skip", "fake"])
        .args(["--skip", "in_a_pid_namespace"])
        .args(tests)
        .env(INNER, "1")
        .env("COV_REQUIRE_KERNEL", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("children_are_counted_others_are_not ... ok"), "{said}");
}
