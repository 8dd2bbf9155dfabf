//! What every [`Kernel`] keeps to. Each test runs against the fake, and against the running kernel.

use super::fixture::{self, SLOTS, expected, site, sites};
use crate::plan::{Observe, SlotId};
use crate::probe::fake::Fake;
use crate::probe::{Bpf, Kernel, Options, ProbeError};
use std::sync::{Mutex, MutexGuard};

/// A kernel, and a process that runs the fixture.
trait World {
    fn kernel(&mut self) -> &mut dyn Kernel;
    fn pid(&self) -> u32;
    fn call(&mut self, n: u32);
}

struct FakeWorld(Fake);

impl World for FakeWorld {
    fn kernel(&mut self) -> &mut dyn Kernel {
        &mut self.0
    }
    fn pid(&self) -> u32 {
        4711
    }
    fn call(&mut self, n: u32) {
        const ZERO_FLAG: u64 = 1 << 6;
        let file = fixture::file();
        self.0.hit(self.pid(), &file, fixture::entry(), 0);
        for left in (0..n).rev() {
            self.0.hit(self.pid(), &file, fixture::loop_head(), 0);
            self.0.hit(self.pid(), &file, fixture::jump(), if left == 0 { ZERO_FLAG } else { 0 });
        }
    }
}

/// The running kernel, and this process. One test at a time: they all are this process.
struct RunningWorld(Bpf, #[expect(dead_code, reason = "held")] MutexGuard<'static, ()>);

impl World for RunningWorld {
    fn kernel(&mut self) -> &mut dyn Kernel {
        &mut self.0
    }
    fn pid(&self) -> u32 {
        std::process::id()
    }
    fn call(&mut self, n: u32) {
        fixture::call(n);
    }
}

/// Held by whoever counts hits of this process.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn fake() -> FakeWorld {
    let mut fake = Fake::default();
    fake.refuse.insert(fixture::locked());
    FakeWorld(fake)
}

fn running(one_by_one: bool) -> RunningWorld {
    let alone = alone();
    RunningWorld(Bpf::new(Options { one_by_one, ..Options::default() }).unwrap(), alone)
}

/// Makes of each function a test of the fake, one of the running kernel, and one of the running
/// kernel with perf events.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod fake {
            $(#[test] fn $name() { super::$name(super::fake()); })*
        }
        mod multi {
            $(#[test] fn $name() {
                if crate::probe::tests::running::kernel() { super::$name(super::running(false)); }
            })*
        }
        mod one_by_one {
            $(#[test] fn $name() {
                if crate::probe::tests::running::kernel() { super::$name(super::running(true)); }
            })*
        }
    };
}

contract![
    counts_are_exact,
    only_tracked_processes_count,
    only_armed_objects_count,
    refused_sites_do_not_harm_others,
    two_plans_on_one_file_count_apart,
    too_many_counters_are_refused,
    hits_without_counter_are_losses,
    a_place_is_used_again,
];

fn counts_are_exact(mut world: impl World) {
    let pid = world.pid();
    let armed = world.kernel().attach(&fixture::file(), &sites(), SLOTS).unwrap();
    assert!(armed.refused.is_empty());
    world.kernel().track(pid).unwrap();
    for n in [1, 2, 1000] {
        world.call(n);
    }
    assert_eq!(world.kernel().counters(armed.id).unwrap(), expected(&[1, 2, 1000]));
    assert!(world.kernel().losses().unwrap().is_none());
    world.call(5);
    assert_eq!(world.kernel().detach(armed.id).unwrap(), expected(&[1, 2, 1000, 5]));
}

fn only_tracked_processes_count(mut world: impl World) {
    let pid = world.pid();
    let armed = world.kernel().attach(&fixture::file(), &sites(), SLOTS).unwrap();
    world.call(3);
    world.kernel().untrack(pid).unwrap();
    world.kernel().track(pid).unwrap();
    world.kernel().track(pid).unwrap();
    world.call(4);
    world.kernel().untrack(pid).unwrap();
    world.call(5);
    assert_eq!(world.kernel().counters(armed.id).unwrap(), expected(&[4]));
}

fn only_armed_objects_count(mut world: impl World) {
    let pid = world.pid();
    world.kernel().track(pid).unwrap();
    world.call(3);
    let armed = world.kernel().attach(&fixture::file(), &sites(), SLOTS).unwrap();
    assert_eq!(world.kernel().counters(armed.id).unwrap(), [0; 4]);
    world.call(4);
    assert_eq!(world.kernel().detach(armed.id).unwrap(), expected(&[4]));
    world.call(5);
    assert!(matches!(world.kernel().counters(armed.id), Err(ProbeError::NotArmed)));
    assert!(matches!(world.kernel().detach(armed.id), Err(ProbeError::NotArmed)));
}

fn refused_sites_do_not_harm_others(mut world: impl World) {
    let pid = world.pid();
    let mut sites = sites();
    sites.insert(1, site(fixture::locked(), Observe::Count { slot: SlotId(4) }));
    let armed = world.kernel().attach(&fixture::file(), &sites, SLOTS + 1).unwrap();
    let refused: Vec<_> = armed.refused.iter().map(|refused| refused.site).collect();
    assert_eq!(refused, [1]);
    world.kernel().track(pid).unwrap();
    world.call(7);
    let mut counters = expected(&[7]);
    counters.push(0);
    assert_eq!(world.kernel().counters(armed.id).unwrap(), counters);
}

fn two_plans_on_one_file_count_apart(mut world: impl World) {
    let pid = world.pid();
    world.kernel().track(pid).unwrap();
    let all = world.kernel().attach(&fixture::file(), &sites(), SLOTS).unwrap();
    let entry = site(fixture::entry(), Observe::Count { slot: SlotId(0) });
    let one = world.kernel().attach(&fixture::file(), &[entry], 1).unwrap();
    world.call(9);
    assert_eq!(world.kernel().detach(one.id).unwrap(), [1]);
    world.call(2);
    assert_eq!(world.kernel().detach(all.id).unwrap(), expected(&[9, 2]));
}

fn too_many_counters_are_refused(mut world: impl World) {
    let result = world.kernel().attach(&fixture::file(), &sites(), u32::MAX);
    assert!(matches!(result, Err(ProbeError::TooManyCounters { slots: u32::MAX, .. })));
}

fn hits_without_counter_are_losses(mut world: impl World) {
    let pid = world.pid();
    let far = site(fixture::entry(), Observe::Count { slot: SlotId(1000) });
    world.kernel().attach(&fixture::file(), &[far], 1).unwrap();
    world.kernel().track(pid).unwrap();
    world.call(1);
    world.call(1);
    assert_eq!(world.kernel().losses().unwrap().hits, 2);
}

fn a_place_is_used_again(mut world: impl World) {
    let pid = world.pid();
    world.kernel().track(pid).unwrap();
    let first = world.kernel().attach(&fixture::file(), &sites(), SLOTS).unwrap();
    world.call(3);
    assert_eq!(world.kernel().detach(first.id).unwrap(), expected(&[3]));
    let second = world.kernel().attach(&fixture::file(), &sites(), SLOTS).unwrap();
    assert_eq!(second.id, first.id);
    assert_eq!(world.kernel().counters(second.id).unwrap(), [0; 4]);
}
