//! The runner on a kernel that tests can replace.

use super::*;
use crate::config::ContextFrom;
use crate::coverage::{ExecutionCounter, FileTracker, Filter};
use crate::object::{DebugOrigin, FileId, FileOffset, LinkAddr, ObjectId, SourceFile};
use crate::plan::{
    Aim, Condition, FunctionFormula, Instruction, LineFormula, Observe, Reason, Site, Term, Unmeasurable,
};
use crate::probe::fake::Fake;
use crate::process::Ending;
use std::fs::File;
use std::time::Duration;

/// The zero flag, which `je` (condition 4) looks at.
const ZF: u64 = 1 << 6;

fn site(offset: u64, observe: Observe) -> Site {
    Site { addr: LinkAddr(0x1000 + offset), offset: FileOffset(offset), instruction: Instruction::Emulated, observe }
}

fn line(file: u32, line: u32, terms: &[(u32, i32)]) -> LineFormula {
    let term = |&(slot, coefficient): &(u32, i32)| Term { slot: SlotId(slot), coefficient };
    let positive = terms.iter().filter(|(_, coefficient)| *coefficient > 0);
    let seen = positive.map(|(slot, _)| vec![Term { slot: SlotId(*slot), coefficient: 1 }]).collect();
    LineFormula {
        file: FileId(file),
        line,
        count: terms.iter().map(term).collect(),
        exact: true,
        seen,
        lasting: false,
        steady: true,
    }
}

/// A plan with a counted site, a branch, and formulas over both.
fn plan(id: u8) -> ProbePlan {
    let source = |path: &str| SourceFile { path: path.into(), md5: Some([0xab; 16]) };
    ProbePlan {
        object: ObjectId::BuildId(vec![id]),
        aim: Aim::Counts,
        files: vec![source("/w/a.c"), source("/usr/include/b.h")],
        sites: vec![
            site(0x10, Observe::Count { slot: SlotId(0) }),
            site(0x20, Observe::Branch { condition: Condition(4), taken: SlotId(1) }),
        ],
        spare: Vec::new(),
        slots: 3,
        lines: vec![
            line(0, 1, &[(0, 1)]),
            line(0, 2, &[(1, 1), (2, 1)]),
            line(0, 3, &[(2, 1)]),
            line(0, 4, &[(0, 1), (1, -1)]),
            line(1, 7, &[(0, 1)]),
        ],
        functions: vec![FunctionFormula {
            name: "main".into(),
            file: FileId(0),
            line: 1,
            count: vec![Term { slot: SlotId(0), coefficient: 1 }],
            seen: Vec::new(),
            lasting: false,
            steady: true,
        }],
        ways: Vec::new(),
        unmeasurable: vec![Unmeasurable { file: FileId(0), line: 9, reason: Reason::UnsafeInstruction }],
    }
}

pub(super) fn prepared(file: &File, id: u8) -> Prepared {
    Prepared {
        path: format!("/bin/object-{id}").into(),
        file: file.try_clone().unwrap(),
        plan: plan(id),
        debug: DebugOrigin::Embedded,
        notes: Vec::new(),
        cached: false,
        marks: Vec::new(),
        constants: Vec::new(),
        took: [Duration::ZERO; 2],
    }
}

pub(super) fn runner(kernel: Fake) -> CoverageTestRunner<Fake> {
    let filter = Filter::new(&["/w/**"], &[] as &[&str], "/w").unwrap();
    CoverageTestRunner::new(kernel, CoverageCollector::with_files(FileTracker::default().with_filter(filter)))
}

fn fake(change: impl FnOnce(&mut Fake)) -> Fake {
    let mut fake = Fake::default();
    change(&mut fake);
    fake
}

fn finish(mut runner: CoverageTestRunner<Fake>) -> Snapshot {
    runner.collect_coverage_results().unwrap();
    runner.cleanup_coverage(Run::default()).0
}

pub(super) fn lines(snapshot: &Snapshot) -> Vec<(u32, ExecutionCounter)> {
    snapshot.file("/w/a.c").unwrap().lines().iter().collect()
}

#[test]
fn only_tracked_processes_count_and_only_wanted_files_are_recorded() {
    let file = tempfile::tempfile().unwrap();
    let mut runner = runner(Fake::default());
    runner.setup_coverage_hooks(vec![prepared(&file, 1)]).unwrap();
    assert_eq!(runner.probes(), 2);
    runner.kernel.hit(7, &file, 0x10, 0);
    runner.track(7).unwrap();
    for _ in 0..5 {
        runner.kernel.hit(7, &file, 0x10, 0);
    }
    runner.kernel.hit(7, &file, 0x20, ZF);
    runner.kernel.hit(7, &file, 0x20, 0);
    runner.kernel.hit(7, &file, 0x20, 0);
    runner.kernel.hit(8, &file, 0x20, 0);
    let snapshot = finish(runner);
    let exact = ExecutionCounter::exact;
    assert_eq!(lines(&snapshot), [(1, exact(5)), (2, exact(3)), (3, exact(2)), (4, exact(4))]);
    assert_eq!(snapshot.files().len(), 1);
    let a = snapshot.file("/w/a.c").unwrap();
    assert_eq!(a.functions().map(|(f, count)| (&*f.name, f.line, count)).collect::<Vec<_>>(), [("main", 1, exact(5))]);
    assert_eq!(a.unmeasurable_lines().collect::<Vec<_>>(), [(9, "its only instructions cannot carry a probe")]);
    assert_eq!(a.build_ids().collect::<Vec<_>>(), ["01"]);
    assert_eq!(a.digests().collect::<Vec<_>>(), ["md5:abababababababababababababababab"]);
    assert_eq!(snapshot.objects().map(|o| o.path.as_str()).collect::<Vec<_>>(), ["/bin/object-1"]);
    assert!(snapshot.losses().is_empty());
}

#[test]
fn a_line_in_two_objects_counts_in_both() {
    let files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
    let mut runner = runner(Fake::default());
    runner.setup_coverage_hooks(vec![prepared(&files[0], 1), prepared(&files[1], 2)]).unwrap();
    runner.track(7).unwrap();
    runner.kernel.hit(7, &files[0], 0x10, 0);
    runner.kernel.hit(7, &files[1], 0x10, 0);
    runner.kernel.fork(7, 8);
    runner.kernel.hit(8, &files[1], 0x10, 0);
    let snapshot = finish(runner);
    assert_eq!(lines(&snapshot)[0], (1, ExecutionCounter::exact(3)));
    assert_eq!(snapshot.file("/w/a.c").unwrap().build_ids().collect::<Vec<_>>(), ["01", "02"]);
}

#[test]
fn refused_sites_are_losses_and_no_missed_lines() {
    let file = tempfile::tempfile().unwrap();
    let mut runner = runner(fake(|fake| fake.refuse = [0x20].into()));
    runner.setup_coverage_hooks(vec![prepared(&file, 1)]).unwrap();
    runner.track(7).unwrap();
    runner.kernel.hit(7, &file, 0x10, 0);
    runner.kernel.hit(7, &file, 0x20, 0);
    let snapshot = finish(runner);
    // Line 4 subtracts a branch that nobody watched: entered, but nobody knows how often.
    assert_eq!(lines(&snapshot), [(1, ExecutionCounter::exact(1)), (4, ExecutionCounter::at_least(1))]);
    let unmeasurable: Vec<_> = snapshot.file("/w/a.c").unwrap().unmeasurable_lines().map(|(line, _)| line).collect();
    assert_eq!(unmeasurable, [2, 3, 9]);
    let losses = snapshot.losses();
    let (kind, loss) = losses.iter().next().unwrap();
    assert_eq!((kind, loss.count), (LossKind::UnprobeableSites, 1));
    assert_eq!(loss.details.iter().collect::<Vec<_>>(), ["/bin/object-1 at 0x1020: unsupported"]);
}

#[test]
fn counters_that_contradict_each_other_are_told() {
    let file = tempfile::tempfile().unwrap();
    let mut runner = runner(Fake::default());
    runner.setup_coverage_hooks(vec![prepared(&file, 1)]).unwrap();
    runner.track(7).unwrap();
    // Line 4 is what reached 0x10 and did not jump at 0x20: here it jumped more often.
    runner.kernel.hit(7, &file, 0x10, 0);
    runner.kernel.hit(7, &file, 0x20, ZF);
    runner.kernel.hit(7, &file, 0x20, ZF);
    let snapshot = finish(runner);
    assert_eq!(lines(&snapshot)[3], (4, ExecutionCounter::at_least(1)));
    let losses = snapshot.losses();
    let (kind, loss) = losses.iter().next().unwrap();
    assert_eq!((kind, loss.count), (LossKind::InconsistentCounts, 1));
    assert_eq!(loss.details.iter().collect::<Vec<_>>(), ["/bin/object-1"]);
}

#[test]
fn what_the_kernel_could_not_count_is_told() {
    let file = tempfile::tempfile().unwrap();
    let mut runner = runner(fake(|fake| fake.room_for_processes = 1));
    runner.setup_coverage_hooks(vec![prepared(&file, 1)]).unwrap();
    runner.track(7).unwrap();
    runner.kernel.fork(7, 8);
    assert!(matches!(runner.track(9), Err(ProbeError::TooManyProcesses { pid: 9, limit: 1 })));
    let losses = finish(runner).losses();
    assert_eq!(
        losses.iter().map(|(kind, loss)| (kind, loss.count)).collect::<Vec<_>>(),
        [(LossKind::UntrackedProcesses, 1)]
    );
}

#[test]
fn no_room_for_an_object_stops_everything() {
    let file = tempfile::tempfile().unwrap();
    let mut runner = runner(fake(|fake| fake.room_for_objects = 1));
    let error = runner.setup_coverage_hooks(vec![prepared(&file, 1), prepared(&file, 2)]).unwrap_err();
    assert!(matches!(error, ProbeError::TooManyObjects { limit: 1 }));
}

fn in_contexts(snapshot: &Snapshot) -> Vec<(String, Vec<(u32, u64)>)> {
    let lines =
        |lines: &crate::coverage::LineTracker| lines.hits().map(|(line, count)| (line, count.value())).collect();
    snapshot.file("/w/a.c").unwrap().contexts().map(|(name, tracker)| (name.to_owned(), lines(tracker))).collect()
}

fn with_contexts(limit: usize) -> CoverageTestRunner<Fake> {
    let mut runner = runner(Fake::default());
    runner.name_contexts(Naming::new(ContextFrom::Argument(1), Commands::default()), limit);
    runner
}

#[test]
fn each_context_has_its_own_counts() {
    let file = tempfile::tempfile().unwrap();
    let mut runner = with_contexts(100);
    runner.setup_coverage_hooks(vec![prepared(&file, 1)]).unwrap();
    runner.track(7).unwrap();
    runner.kernel.hit(7, &file, 0x10, 0);
    runner.kernel.fork(7, 8);
    runner.kernel.execute(8, 1, &["test", "one"]);
    runner.kernel.hit(8, &file, 0x10, 0);
    runner.kernel.fork(8, 9);
    // It has no such argument: what a test starts belongs to the test.
    runner.kernel.execute(9, 2, &["helper"]);
    runner.kernel.hit(9, &file, 0x10, 0);
    runner.kernel.hit(9, &file, 0x20, 0);
    runner.kernel.exit(9, 0);
    runner.kernel.exit(8, 3 << 8);
    runner.kernel.fork(7, 10);
    runner.kernel.execute(10, 3, &["test", "two"]);
    runner.kernel.hit(10, &file, 0x20, ZF);
    runner.kernel.exit(10, 11);
    runner.collect_coverage_results().unwrap();
    assert_eq!(runner.hits().all, 5);
    let endings: Vec<_> = runner.endings().map(|(name, ending)| (name.to_owned(), ending)).collect();
    assert_eq!(
        endings,
        [("one".to_owned(), Ending::Exited(3)), ("two".to_owned(), Ending::Killed { signal: 11, core: false })]
    );
    let snapshot = runner.cleanup_coverage(Run::default()).0;
    assert_eq!(
        in_contexts(&snapshot),
        [
            (String::new(), vec![(1, 1), (4, 1)]),
            ("one".to_owned(), vec![(1, 2), (2, 1), (3, 1), (4, 2)]),
            ("two".to_owned(), vec![(2, 1)]),
        ]
    );
    assert_eq!(
        lines(&snapshot).iter().map(|(line, count)| (*line, count.value())).collect::<Vec<_>>(),
        [(1, 3), (2, 2), (3, 1), (4, 3)]
    );
}

/// What is over is taken out of the kernel, and its numbers are used again.
#[test]
fn contexts_that_are_over_make_room() {
    const PROCESSES: u32 = 1000;
    const NUMBERS: u32 = 100;
    let file = tempfile::tempfile().unwrap();
    let mut runner = with_contexts(10);
    runner.setup_coverage_hooks(vec![prepared(&file, 1)]).unwrap();
    runner.track(7).unwrap();
    let mut free: std::collections::VecDeque<u32> = (1..=NUMBERS).collect();
    for process in 100..100 + PROCESSES {
        runner.kernel.fork(7, process);
        let name = format!("test {}", process % 10);
        runner.kernel.execute(process, free.pop_front().expect("a number is free"), &["test", &name]);
        runner.kernel.hit(process, &file, 0x10, 0);
        runner.kernel.exit(process, 0);
        runner.update_contexts().unwrap();
        free.extend(runner.kernel.released.drain(..));
    }
    let snapshot = finish(runner);
    let want: Vec<_> = (0..10).map(|n| (format!("test {n}"), vec![(1, 100), (4, 100)])).collect();
    assert_eq!(in_contexts(&snapshot), want);
    assert!(snapshot.losses().is_empty());
}

/// A snapshot tells what was lost until then; a later one, and the end, only what came later.
#[test]
fn losses_are_recorded_once() {
    let file = tempfile::tempfile().unwrap();
    let mut runner = runner(Fake::default());
    runner.kernel.room_for_processes = 1;
    runner.setup_coverage_hooks(vec![prepared(&file, 1)]).unwrap();
    runner.track(7).unwrap();
    let lost = |runner: &CoverageTestRunner<Fake>| {
        runner.collector().snapshot(Run::default()).losses().iter().map(|(_, loss)| loss.count).sum::<u64>()
    };
    runner.record_progress().unwrap();
    assert_eq!(lost(&runner), 0);
    for expected in [1, 2] {
        runner.kernel.fork(7, 8);
        runner.record_progress().unwrap();
        assert_eq!(lost(&runner), expected);
    }
    runner.kernel.fork(7, 8);
    assert_eq!(finish(runner).losses().iter().map(|(_, loss)| loss.count).sum::<u64>(), 3);
}

#[test]
fn more_contexts_than_allowed_are_told() {
    let file = tempfile::tempfile().unwrap();
    let mut runner = with_contexts(2);
    runner.setup_coverage_hooks(vec![prepared(&file, 1)]).unwrap();
    for (context, name) in [(1, "a"), (2, "b"), (3, "c"), (4, "a"), (5, "d")] {
        runner.track(context).unwrap();
        runner.kernel.execute(context, context, &["test", name]);
        runner.kernel.hit(context, &file, 0x20, ZF);
    }
    let snapshot = finish(runner);
    let want = [("", 2), ("a", 2), ("b", 1)].map(|(name, count)| (name.to_owned(), vec![(2, count)]));
    assert_eq!(in_contexts(&snapshot), want);
    let losses = snapshot.losses();
    let (kind, loss) = losses.iter().next().unwrap();
    assert_eq!((kind, loss.count), (LossKind::MergedContexts, 2));
    assert_eq!(loss.details.iter().collect::<Vec<_>>(), ["more than max_contexts = 2"]);
}

/// The number of a disarmed object goes to another: its counts must not.
#[test]
fn a_rewritten_file_keeps_its_counts_by_context() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program");
    std::fs::write(&path, "first").unwrap();
    let file = File::open(&path).unwrap();
    let mut runner = with_contexts(100);
    runner.setup_coverage_hooks(vec![prepared(&file, 1)]).unwrap();
    runner.track(7).unwrap();
    runner.kernel.execute(7, 1, &["test", "one"]);
    runner.kernel.hit(7, &file, 0x10, 0);
    std::fs::write(&path, "another").unwrap();
    runner.disarm_if_rewritten(Key::of(&file).unwrap()).unwrap();
    runner.setup_coverage_hooks(vec![prepared(&file, 2)]).unwrap();
    runner.kernel.hit(7, &file, 0x20, ZF);
    let snapshot = finish(runner);
    assert_eq!(in_contexts(&snapshot), [("one".to_owned(), vec![(1, 1), (2, 1), (4, 1)])]);
}

/// A counter that has stopped in one context is exact in the others, and what is subtracted there tells no more than that
/// the line ran.
#[test]
fn what_stopped_in_a_context_has_lower_bounds_there() {
    let plan = plan(1);
    let frozen = |slots: &[u32]| {
        let mut frozen = Frozen::default();
        frozen.freeze(&plan, &slots.iter().map(|&slot| SlotId(slot)).collect(), &[], &[], 2);
        frozen
    };
    let context = |name: &str, hits: [u64; 3], slots| {
        let hits = (0..).zip(hits).collect();
        record::ContextHits { name: name.into(), hits, frozen: frozen(slots) }
    };
    let contexts =
        [context("adds", [5, 2, 1], &[0]), context("subtracts", [5, 2, 1], &[1]), context("none", [5, 2, 1], &[])];
    let runner = runner(Fake::default());
    let measured = Measured { path: "/bin/a".into(), plan: plan.clone(), dead: BTreeSet::new(), frozen: frozen(&[]) };
    let counters = [1, 0, 0];
    record::record(&runner.collector, &measured, Counts::whole(&counters, 2), &contexts);
    let snapshot = finish(runner);
    let (exact, least) = (ExecutionCounter::exact, ExecutionCounter::at_least);
    let of = |name| {
        let (_, lines) = snapshot.file("/w/a.c").unwrap().contexts().find(|(one, _)| *one == name).unwrap();
        lines.hits().collect::<Vec<_>>()
    };
    assert_eq!(of("none"), [(1, exact(5)), (2, exact(3)), (3, exact(1)), (4, exact(3))]);
    assert_eq!(of("adds"), [(1, least(5)), (2, exact(3)), (3, exact(1)), (4, least(3))]);
    assert_eq!(of("subtracts"), [(1, exact(5)), (2, least(3)), (3, exact(1)), (4, least(1))]);
    assert_eq!(of(""), [(1, exact(1)), (4, exact(1))]);
    assert_eq!(lines(&snapshot), [(1, least(16)), (2, least(9)), (3, exact(3)), (4, least(8))]);
    let losses = snapshot.losses();
    let (kind, loss) = losses.iter().next().unwrap();
    assert_eq!((kind, loss.count), (LossKind::DisarmedCounters, 2));
}
