//! What outlives a killed agent of its contexts: their names, and the counts that it has taken from the kernel.
//!
//! The counters of contexts that go on lie in a map of the kernel, which is kept. Those of contexts that are over are taken
//! from there, and would die with the agent. So it writes them down before it forgets them in the kernel: a file of
//! entries, each with its length before it, to which is only added. When that has grown, what it says as a whole takes its place.

use super::record::ContextHits;
use crate::plan::Frozen;
use crate::probe::{ArmedId, ContextCount};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// How large the file may become, in bytes, before it is made anew; later, twice as large as it was then.
const LARGE: u64 = 16 << 20;

/// The name of hits whose context has lost its own.
pub(super) const UNNAMED: &str = "(unnamed)";

/// One thing that was written down.
#[derive(Debug, Serialize, Deserialize)]
enum Entry<'a> {
    /// An armed object, and what the journal calls it.
    Armed(ArmedId, u32),
    /// A context has begun.
    Begun(u32, Cow<'a, str>),
    /// Counters that are now forgotten in the kernel: context, object, slot, hits.
    Moved(Vec<(u32, ArmedId, u32, u64)>),
    /// They are; and these contexts are over.
    Forgotten(Vec<u32>),
    /// Hits of an object's slots in all contexts of a name that were taken from the kernel.
    Total(ArmedId, Cow<'a, str>, BTreeMap<u32, u64>),
}

/// The file, for the agent that writes it.
#[derive(Debug)]
pub(super) struct ContextLog {
    path: PathBuf,
    file: File,
    size: u64,
    /// When to make it anew.
    large: u64,
}

impl ContextLog {
    /// Begins one at `path`.
    pub(super) fn begin(path: PathBuf) -> io::Result<Self> {
        let file = File::options().append(true).create_new(true).open(&path)?;
        Ok(Self { path, file, size: 0, large: LARGE })
    }

    /// What the journal calls an armed object.
    pub(super) fn armed(&mut self, object: ArmedId, name: u32) -> io::Result<()> {
        self.write(&Entry::Armed(object, name))
    }

    /// A context has begun.
    pub(super) fn begun(&mut self, context: u32, name: &str) -> io::Result<()> {
        self.write(&Entry::Begun(context, name.into()))
    }

    /// Counts that are about to be forgotten in the kernel.
    pub(super) fn moved(&mut self, counts: &[ContextCount]) -> io::Result<()> {
        let all = counts.iter().map(|one| (one.context, one.object, one.slot, one.count));
        self.write(&Entry::Moved(all.collect()))
    }

    /// They are forgotten; and the contexts `over` are about to make room for others.
    pub(super) fn forgotten(&mut self, over: impl Iterator<Item = u32>) -> io::Result<()> {
        self.write(&Entry::Forgotten(over.collect()))?;
        if self.size > self.large { self.shrink() } else { Ok(()) }
    }

    /// Takes it away: what it says is not all any more.
    pub(super) fn give_up(self) {
        // Removing needs no room.
        let _ = fs::remove_file(&self.path);
    }

    fn write(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let bytes = encode(entry)?;
        self.file.write_all(&bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn shrink(&mut self) -> io::Result<()> {
        let whole = Kept::read(&self.path)?.encode()?;
        let part = self.path.with_extension("part");
        let mut file = File::options().append(true).create_new(true).open(&part)?;
        file.write_all(&whole)?;
        fs::rename(&part, &self.path)?;
        self.size = whole.len() as u64;
        self.large = LARGE.max(self.size.saturating_mul(2));
        self.file = file;
        Ok(())
    }
}

fn encode(entry: &Entry<'_>) -> io::Result<Vec<u8>> {
    let entry = postcard::to_stdvec(entry).map_err(io::Error::other)?;
    let length = u32::try_from(entry.len()).map_err(io::Error::other)?;
    Ok([&length.to_le_bytes()[..], &entry].concat())
}

/// What a file of a killed agent says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    armed: BTreeMap<ArmedId, u32>,
    /// Of the contexts that are not over, by number.
    names: BTreeMap<u32, String>,
    totals: BTreeMap<(ArmedId, String), BTreeMap<u32, u64>>,
    /// What may be forgotten in the kernel, or not, and is in the totals: context, object and slot.
    moving: BTreeSet<(u32, ArmedId, u32)>,
}

impl Kept {
    /// Reads what was written whole.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let bytes = fs::read(path)?;
        let mut kept = Self::default();
        let mut rest = &bytes[..];
        while let Some((length, after)) = rest.split_first_chunk()
            && let Some((entry, after)) = after.split_at_checked(u32::from_le_bytes(*length) as usize)
        {
            kept.take(postcard::from_bytes(entry).map_err(io::Error::other)?);
            rest = after;
        }
        Ok(kept)
    }

    fn take(&mut self, entry: Entry<'_>) {
        match entry {
            Entry::Armed(object, name) => drop(self.armed.insert(object, name)),
            Entry::Begun(context, name) => drop(self.names.insert(context, name.into_owned())),
            Entry::Moved(counts) => {
                for (context, object, slot, count) in counts {
                    self.add(context, object, slot, count);
                    self.moving.insert((context, object, slot));
                }
            }
            Entry::Forgotten(over) => {
                self.moving.clear();
                over.iter().for_each(|context| drop(self.names.remove(context)));
            }
            Entry::Total(object, name, hits) => drop(self.totals.insert((object, name.into_owned()), hits)),
        }
    }

    fn add(&mut self, context: u32, object: ArmedId, slot: u32, count: u64) {
        let name = self.names.get(&context).map_or(UNNAMED, String::as_str).to_owned();
        let total = self.totals.entry((object, name)).or_default().entry(slot).or_default();
        *total = total.saturating_add(count);
    }

    /// Adds what is still in the kernel.
    pub(super) fn add_kernel(&mut self, counts: &[ContextCount]) {
        for one in counts {
            // Nobody added to it any more when it was written down.
            if !self.moving.contains(&(one.context, one.object, one.slot)) {
                self.add(one.context, one.object, one.slot, one.count);
            }
        }
    }

    /// The hits of the object that the journal calls so, by context's name. In which of them counters have stopped is not
    /// written down: those that are `frozen` anywhere may have in each.
    pub(super) fn of_object(&self, name: u32, frozen: &Frozen) -> Vec<ContextHits> {
        let ours = |object: &ArmedId| self.armed.get(object) == Some(&name);
        let hits = self.totals.iter().filter(|((object, _), _)| ours(object));
        let of = |((_, name), hits): (&(_, String), &BTreeMap<_, _>)| ContextHits {
            name: name.as_str().into(),
            hits: hits.clone(),
            frozen: frozen.clone(),
        };
        hits.map(of).collect()
    }

    /// The fewest entries that say the same.
    fn encode(&self) -> io::Result<Vec<u8>> {
        let armed = self.armed.iter().map(|(&object, &name)| Entry::Armed(object, name));
        let names = self.names.iter().map(|(&context, name)| Entry::Begun(context, name.into()));
        let totals = self.totals.iter().map(|((object, name), hits)| Entry::Total(*object, name.into(), hits.clone()));
        let all: Vec<_> = armed.chain(names).chain(totals).map(|entry| encode(&entry)).collect::<io::Result<_>>()?;
        Ok(all.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> ArmedId {
        postcard::from_bytes(&[0]).unwrap()
    }

    fn count(context: u32, slot: u32, count: u64) -> ContextCount {
        ContextCount { context, object: object(), slot, count }
    }

    fn named(kept: &Kept) -> Vec<(String, Vec<(u32, u64)>)> {
        kept.of_object(7, &Frozen::default())
            .into_iter()
            .map(|one| (one.name.to_string(), one.hits.into_iter().collect()))
            .collect()
    }

    #[test]
    fn counts_are_added_once_wherever_the_agent_was_killed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("contexts");
        let mut log = ContextLog::begin(path.clone()).unwrap();
        log.armed(object(), 7).unwrap();
        log.begun(1, "first").unwrap();
        log.begun(2, "second").unwrap();
        let (over, goes_on) = ([count(1, 0, 5), count(1, 3, 2)], count(2, 0, 9));
        let expected = [("first".to_owned(), vec![(0, 5), (3, 2)]), ("second".to_owned(), vec![(0, 9)])];
        let read = |kernel: &[ContextCount]| {
            let mut kept = Kept::read(&path).unwrap();
            kept.add_kernel(kernel);
            named(&kept)
        };
        assert_eq!(read(&[over[0], over[1], goes_on]), expected);
        log.moved(&over).unwrap();
        assert_eq!(read(&[over[0], over[1], goes_on]), expected, "nothing is forgotten yet");
        assert_eq!(read(&[over[1], goes_on]), expected, "amid forgetting");
        log.forgotten([1].into_iter()).unwrap();
        assert_eq!(read(&[goes_on]), expected);
        // The number is used again, and nobody has heard its name.
        let mut unnamed = vec![(UNNAMED.to_owned(), vec![(4, 1)])];
        unnamed.extend(expected.clone());
        assert_eq!(read(&[goes_on, count(1, 4, 1)]), unnamed);
        // Killed amid writing.
        log.file.write_all(&[9, 0, 0, 0, 1]).unwrap();
        assert_eq!(read(&[goes_on]), expected);
    }

    #[test]
    fn what_has_grown_is_made_anew_and_says_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("contexts");
        let mut log = ContextLog::begin(path.clone()).unwrap();
        log.armed(object(), 7).unwrap();
        log.large = 2000;
        for round in 0..1000u32 {
            log.begun(1 + round % 3, ["a", "b", "c"][round as usize % 3]).unwrap();
            log.moved(&[count(1 + round % 3, round % 5, 1)]).unwrap();
            log.forgotten([1 + round % 3].into_iter()).unwrap();
            log.large = log.large.min(4000);
        }
        assert!(fs::metadata(&path).unwrap().len() <= 4100);
        let kept = Kept::read(&path).unwrap();
        let hits: u64 = named(&kept).iter().flat_map(|(_, hits)| hits).map(|(_, count)| count).sum();
        assert_eq!((hits, named(&kept).len()), (1000, 3));
        log.begun(5, "later").unwrap();
        log.moved(&[count(5, 1, 8)]).unwrap();
        assert_eq!(named(&Kept::read(&path).unwrap())[3], ("later".to_owned(), vec![(1, 8)]));
    }
}
