//! The runner on a kernel that tests can replace.

use super::*;
use crate::coverage::{ExecutionCounter, FileTracker, Filter};
use crate::object::{DebugOrigin, FileId, FileOffset, LinkAddr, ObjectId, SourceFile};
use crate::plan::{
    Aim, Condition, FunctionFormula, Instruction, LineFormula, Observe, Reason, Site, Term, Unmeasurable,
};
use crate::probe::fake::Fake;
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
    LineFormula { file: FileId(file), line, count: terms.iter().map(term).collect(), exact: true, seen }
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
        }],
        unmeasurable: vec![Unmeasurable { file: FileId(0), line: 9, reason: Reason::UnsafeInstruction }],
    }
}

fn prepared(file: &File, id: u8) -> Prepared {
    Prepared {
        path: format!("/bin/object-{id}").into(),
        file: file.try_clone().unwrap(),
        plan: plan(id),
        debug: DebugOrigin::Embedded,
        notes: Vec::new(),
        took: [Duration::ZERO; 2],
    }
}

fn runner(kernel: Fake) -> CoverageTestRunner<Fake> {
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

fn lines(snapshot: &Snapshot) -> Vec<(u32, ExecutionCounter)> {
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
