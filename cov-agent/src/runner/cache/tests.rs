//! Entries that are used, and everything for which one must not be.

use super::*;
use crate::plan::{Aim, Dear, Scope, Selection, SlotId};
use crate::runner::{Candidate, Objects, Prepared, prepare};
use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

const SOURCE: &str = "int f(int x) { return x ? 3 : x + 1; }\nint main(void) { return f(2) - 3; }\n";

/// A program, and a directory for plans.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { root: tempfile::tempdir().unwrap() };
        place.compile(SOURCE, &[]);
        place
    }

    fn compile(&self, source: &str, flags: &[&str]) {
        fs::write(self.root.path().join("a.c"), source).unwrap();
        self.run("gcc", &[&["-g", "-O0", "-o", "a", "a.c"], flags].concat());
    }

    fn run(&self, tool: &str, args: &[&str]) {
        assert!(Command::new(tool).args(args).current_dir(self.root.path()).status().unwrap().success());
    }

    fn plans(&self) -> PathBuf {
        self.root.path().join("plans")
    }

    fn cache(&self) -> Cache {
        Cache::open(&self.plans(), 1 << 20, "shape".to_owned()).unwrap()
    }

    fn prepare_for(&self, cache: &Cache, wanted: &crate::object::Wanted<'_>, aim: Aim) -> Objects {
        let candidate = Candidate::open(&self.root.path().join("a")).unwrap();
        let options = PlanOptions { aim, ..PlanOptions::of(wanted) };
        prepare(vec![candidate], &DebugSearch::default(), &options, Some(cache), &|| ())
    }

    fn prepare(&self, cache: &Cache) -> Prepared {
        self.prepare_for(cache, &|_| true, Aim::Counts).prepared.pop().unwrap()
    }

    fn entries(&self) -> Vec<PathBuf> {
        let mut names: Vec<_> = fs::read_dir(self.plans()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    }
}

fn text(prepared: &Prepared) -> String {
    format!("{:?} {:?}", prepared.plan, prepared.debug)
}

#[test]
fn the_second_time_the_plan_is_there() {
    let place = Place::new();
    let first = place.prepare(&place.cache());
    let second = place.prepare(&place.cache());
    assert_eq!((first.cached, second.cached), (false, true));
    assert_eq!(text(&first), text(&second));
    // Other questions have other answers.
    assert!(!place.prepare_for(&place.cache(), &|_| true, Aim::Hits).prepared[0].cached);
    let other = Cache::open(&place.plans(), 1 << 20, "other".to_owned()).unwrap();
    assert!(!place.prepare(&other).cached);
    // Nobody wants its source any more.
    let none = place.prepare_for(&place.cache(), &|_| false, Aim::Counts);
    assert!(none.prepared.is_empty() && none.skipped[0].error.is_none());
    assert!(place.prepare(&place.cache()).plan.lines.len() == 2);
    place.compile(&SOURCE.replace("+ 1", "+ 2"), &[]);
    assert!(!place.prepare(&place.cache()).cached);
    fs::remove_dir_all(place.plans()).unwrap();
    assert!(!place.prepare(&place.cache()).cached);
}

#[test]
fn a_damaged_or_renamed_entry_is_made_anew() {
    let place = Place::new();
    let want = text(&place.prepare(&place.cache()));
    let [entry] = &place.entries()[..] else { panic!("one entry") };
    let good = fs::read(entry).unwrap();
    let lengths = (0..good.len()).step_by(7).map(|length| good[..length].to_vec());
    let flips = (0..good.len()).step_by(5).map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 4;
        bytes
    });
    for bytes in lengths.chain(flips).collect::<Vec<_>>() {
        fs::write(entry, &bytes).unwrap();
        let again = place.prepare(&place.cache());
        assert!(!again.cached && text(&again) == want);
        assert_eq!(fs::read(entry).unwrap(), good, "it is written anew");
    }
    let other = place.prepare_for(&place.cache(), &|_| true, Aim::Hits);
    assert!(!other.prepared[0].cached);
    let second = place.entries().into_iter().find(|path| path != entry).unwrap();
    fs::copy(entry, &second).unwrap();
    assert!(!place.prepare_for(&place.cache(), &|_| true, Aim::Hits).prepared[0].cached);
}

/// Whoever can write an entry with a right checksum could also write the agent; sites are looked at all the same.
#[test]
fn a_site_that_is_no_such_instruction_is_refused() {
    let place = Place::new();
    place.prepare(&place.cache());
    let [entry] = &place.entries()[..] else { panic!("one entry") };
    let name = entry.file_stem().unwrap().to_str().unwrap();
    let digits = |at: usize| u8::from_str_radix(&name[2 * at..2 * at + 2], 16).unwrap();
    let key: Key = std::array::from_fn(digits);
    let good = fs::read(entry).unwrap();
    let changed = |change: &dyn Fn(&mut ProbePlan)| {
        let mut stored = Stored::decode(&key, &good).unwrap();
        change(&mut stored.entry.plan);
        fs::write(entry, stored.encode(&key).unwrap()).unwrap();
        place.prepare(&place.cache()).cached
    };
    assert!(changed(&|_| ()));
    assert!(!changed(&|plan| plan.sites[0].offset.0 = u64::MAX));
    assert!(!changed(&|plan| plan.sites[0].offset.0 += 1));
    assert!(!changed(&|plan| plan.slots = 0));
    assert!(!changed(&|plan| plan.sites[0].observe = crate::plan::Observe::Count { slot: SlotId(u32::MAX) }));
}

#[test]
fn what_others_could_write_to_is_not_used() {
    let place = Place::new();
    place.prepare(&place.cache());
    let [entry] = &place.entries()[..] else { panic!("one entry") };
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(entry, 0o620);
    assert!(!place.prepare(&place.cache()).cached);
    assert!(place.prepare(&place.cache()).cached, "it was replaced");
    let elsewhere = place.root.path().join("elsewhere");
    fs::rename(entry, &elsewhere).unwrap();
    symlink(&elsewhere, entry).unwrap();
    assert!(!place.prepare(&place.cache()).cached);
    fs::remove_file(entry).unwrap();
    fs::hard_link(&elsewhere, entry).unwrap();
    assert!(!place.prepare(&place.cache()).cached);

    let open = |path: &Path| Cache::open(path, 1, String::new());
    for bits in [0o777, 0o720, 0o1777] {
        mode(&place.plans(), bits);
        assert!(matches!(open(&place.plans()), Err(CacheError::Unsafe { .. })), "{bits:o}");
    }
    mode(&place.plans(), 0o755);
    assert!(open(&place.plans()).is_ok());
    let link = place.root.path().join("link");
    symlink(place.plans(), &link).unwrap();
    assert!(matches!(open(&link), Err(CacheError::Open { .. })));
    assert!(matches!(open(&place.root.path().join("a")), Err(CacheError::Open { .. })));
}

#[test]
fn separate_debug_info_must_be_the_same() {
    let place = Place::new();
    place.run("objcopy", &["--only-keep-debug", "a", "a.debug"]);
    place.run("objcopy", &["--strip-debug", "--add-gnu-debuglink=a.debug", "a"]);
    assert!(!place.prepare(&place.cache()).cached);
    let again = place.prepare(&place.cache());
    assert!(again.cached && again.debug.path().is_some_and(|path| path.ends_with("a.debug")));
    let debug = fs::read(place.root.path().join("a.debug")).unwrap();
    fs::remove_file(place.root.path().join("a.debug")).unwrap();
    let gone = place.prepare_for(&place.cache(), &|_| true, Aim::Counts);
    assert!(gone.prepared.is_empty() && gone.skipped[0].error.is_some());
    fs::write(place.root.path().join("a.debug"), debug).unwrap();
    assert!(!place.prepare(&place.cache()).cached);
}

#[test]
fn the_least_used_are_dropped_when_it_gets_too_big() {
    let place = Place::new();
    let directory = Directory::open(&place.plans(), 10_000).unwrap();
    let name = |n: u32| format!("{n:064x}{}", directory::ENDING);
    let age = |name: &str, seconds: u64| {
        let file = File::options().write(true).open(place.plans().join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    };
    for n in 0..9 {
        directory.write(&name(n), &[0; 1000]).unwrap();
        age(&name(n), 1000 - u64::from(n));
    }
    fs::write(place.plans().join("mine"), [0; 50_000]).unwrap();
    fs::write(place.plans().join(".new-1-left"), [0; 10]).unwrap();
    age(".new-1-left", 4000);
    directory.read(&name(0)).unwrap();
    directory.write(&name(9), &[0; 2000]).unwrap();
    // Eleven thousand bytes: the oldest go until 7500 are left, but not the one that was used just now.
    let left: Vec<String> =
        place.entries().iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let mut want: Vec<String> = [0, 5, 6, 7, 8, 9].map(name).to_vec();
    want.push("mine".to_owned());
    assert_eq!(left, want);
}

#[test]
fn whatever_changes_a_plan_changes_its_key() {
    let place = Place::new();
    let cache = place.cache();
    let usual = || PlanOptions::of(&|_| true);
    let all = [
        usual(),
        PlanOptions { scope: Scope::Part, ..usual() },
        PlanOptions { branches: true, ..usual() },
        PlanOptions { aim: Aim::Hits, ..usual() },
        PlanOptions { aim: Aim::Hits, goes: true, ..usual() },
        PlanOptions { freezes: true, ..usual() },
        PlanOptions { dear: Dear(4), ..usual() },
    ];
    let keys: BTreeSet<_> = all.iter().map(|options| cache.key(b"object", options).unwrap()).collect();
    assert_eq!(keys.len(), all.len());
    assert!(!keys.contains(&cache.key(b"another", &usual()).unwrap()));
    // What is selected, and what ran often, is in no key.
    let profile = |_: &Path| Vec::new();
    let selection = Selection { profile: Some(&profile), ..Selection::default() };
    assert_eq!(cache.key(b"object", &PlanOptions { selection, ..usual() }), None);
}

#[test]
fn prices_hold_until_the_machine_is_started_again() {
    let place = Place::new();
    let cache = place.cache();
    assert_eq!(cache.prices(), None);
    let prices = Prices { emulated: Duration::from_nanos(650), single_stepped: Duration::from_nanos(11_000) };
    cache.keep_prices(prices);
    assert_eq!(cache.prices(), Some(prices));
    let file = place.plans().join(PRICES);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.ends_with(" 650 11000\n"), "{text}");
    for other in [text.replace("-", "_"), text.replace("650", "x"), text.replace(" 11000", "")] {
        fs::write(&file, other).unwrap();
        assert_eq!(cache.prices(), None);
    }
}
