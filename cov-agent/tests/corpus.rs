//! Hostile input: the corpus of the fuzz targets, cut at every byte, and changed in many ways. `cargo xtask fuzz`
//! searches for longer.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::expect_used, clippy::panic, reason = "so do what it shares with other tests")]

#[path = "../../fuzz/entries.rs"]
mod entries;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Changed copies of each file of the corpus.
const CHANGES: u64 = 1000;
/// Cuts of each file: of small ones at every byte.
const CUTS: usize = 2500;

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (end.max(1) as u64)).unwrap()
    }
}

/// Some changes as a fuzzer makes them: bits, bytes, numbers that are special, parts moved, doubled and left out.
fn changed(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    const SPECIAL: [&[u8]; 7] =
        [&[0], &[0xff], &[0x7f], &[0xff; 4], &[0x80, 0x80, 0x80, 0x80, 0x40], &[0xff; 8], b"1000000000"];
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            break;
        }
        let (at, length) = (random.below(bytes.len()), 1 + random.below(32));
        let end = bytes.len().min(at + length);
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            2 => drop(bytes.drain(at..end)),
            3 => bytes.extend_from_within(at..end),
            4 => {
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, part);
            }
            _ => {
                let special = SPECIAL[random.below(SPECIAL.len())];
                let end = bytes.len().min(at + special.len());
                bytes.splice(at..end, special.iter().copied());
            }
        }
    }
    bytes
}

/// Shows all of it to `entry`, which must not panic.
fn attack(name: &str, entry: fn(&[u8]) -> bool) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(&corpus).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let feed = |bytes: &[u8]| {
        let read = catch_unwind(AssertUnwindSafe(|| entry(bytes)));
        read.unwrap_or_else(|_| {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{name}"));
            fs::write(&path, bytes).unwrap();
            panic!("{name} panics on {}", path.display());
        })
    };
    let mut random = Random(0x5eed);
    for path in paths {
        let bytes = fs::read(&path).unwrap();
        assert!(feed(&bytes), "{} should be read", path.display());
        for length in (0..bytes.len()).step_by(bytes.len().div_ceil(CUTS).max(1)) {
            feed(&bytes[..length]);
        }
        for _ in 0..CHANGES {
            feed(&changed(&bytes, &mut random));
        }
    }
    // What they announce is not what they take.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 1 << 20, "{name} takes {peak} KiB");
}

#[test]
fn raw() {
    attack("raw", entries::raw);
}

#[test]
fn json() {
    attack("json", entries::json);
}

#[test]
fn lcov() {
    attack("lcov", entries::lcov);
}

#[test]
fn cobertura() {
    attack("cobertura", entries::cobertura);
}

#[test]
fn coverage_db() {
    attack("coverage_db", entries::coverage_db);
}

#[test]
fn parquet() {
    attack("parquet", entries::parquet);
}

#[test]
fn detect() {
    attack("detect", entries::detect);
}

#[test]
#[cfg(feature = "collect")]
fn object() {
    attack("object", entries::object);
}

#[test]
#[cfg(feature = "collect")]
fn plan() {
    attack("plan", entries::plan);
}
