//! What is done with a file that was read: it is armed, and those who wait for it are let go.

use super::read::{self, Answer, Question};
use super::{Follow, not_followed};
use crate::cli::measure::Measurement;
use crate::cli::message::Message;
use crate::coverage::LossKind;
use crate::process::gate::{self, Held, Key, Remember};
use crate::runner::Candidate;
use std::path::Path;
use std::time::{Duration, Instant};

impl Follow {
    pub(super) fn arm(&mut self, answer: Answer, measurement: &mut Measurement<'_>) -> Result<(), Message> {
        let Answer { key, path, objects, seen, late, since, part, unforeseen } = answer;
        let measured = !objects.prepared.is_empty();
        if !unforeseen.is_empty() {
            self.lose_unforeseen(&path, &unforeseen, measured, measurement);
        }
        let keys: Vec<Key> = seen.iter().filter_map(|object| Key::of(&object.file).ok()).collect();
        // Another answer for the same file may have let them go in time.
        let since = since.filter(|_| self.waiting.contains_key(&key));
        let late = late.filter(|_| self.waiting.contains_key(&key));
        // This process may be kept from its work at any moment.
        let late = late.or_else(|| longer_than(read::patience(), since));
        let armed =
            if late.is_none() || part.is_none() || !measured { measurement.add(objects) } else { Ok(Vec::new()) };
        // Whom the gate has let go before all probes were there may have begun to run.
        let late = late.or_else(|| longer_than(gate::patience(), since));
        let gone = |held: &Held| held.since.elapsed() > gate::patience();
        let times = self.waiting.get(&key).into_iter().flatten().filter(|held| gone(held)).count();
        let times = times.max(usize::from(late.is_some()));
        if measured && times > 0 {
            lose_beginning(&path, times, late, measurement);
            if let Some(part) = part {
                // The plan takes runs to be whole. Who waits still waits on, for one that does not.
                keys.iter().try_for_each(|key| measurement.disarm(*key, true).map(drop))?;
                self.waiting.entry(key).or_default().retain(|held| !gone(held));
                let _ = self.questions.send(Question { again: keys, ..part });
                return armed.map(drop);
            }
        }
        if measured {
            self.count_from_now(&unforeseen, measurement)?;
        }
        for Candidate { file, .. } in &seen {
            let key = Key::of(file).ok();
            if let Some(key) = key {
                self.unforeseen.expect(key);
            }
            let armed = key.is_some_and(|key| measurement.is_armed(key));
            let told = if armed { self.gate.watch(file) } else { self.gate.unwatch(file) };
            told.map_err(|e| not_followed(&e))?;
        }
        for held in self.waiting.remove(&key).unwrap_or_default() {
            // A loader that was given this program is asked about again, as is who opens a library.
            let counted = self.counts_on(&held, measurement)?;
            let remember = if held.key == key && !held.opening && !counted { Remember::Yes } else { Remember::No };
            self.gate.answer(&held, remember).map_err(|e| not_followed(&e))?;
        }
        armed.map(drop)
    }

    /// It is over. What is still being read ran meanwhile, unseen: that is told.
    pub(in crate::cli) async fn finish(follow: &mut Option<Self>, measurement: &mut Measurement<'_>) {
        let Some(this) = follow else { return };
        while !this.waiting.is_empty() {
            let Some(answer) = this.answers.recv().await else { return };
            this.answered_too_late(answer, measurement);
        }
        this.finish_unforeseen(measurement).await;
    }

    pub(super) fn answered_too_late(&mut self, answer: Answer, measurement: &Measurement<'_>) {
        let Answer { key, path, objects, unforeseen, .. } = answer;
        let measured = !objects.prepared.is_empty();
        if !unforeseen.is_empty() {
            self.lose_unforeseen(&path, &unforeseen, measured, measurement);
        } else if self.waiting.remove(&key).is_some_and(|held| !held.is_empty()) && measured {
            lose_ended(&path, measurement);
        }
    }
}

/// Tells of processes that may have begun to run too early.
fn lose_beginning(path: &Path, times: usize, late: Option<Duration>, measurement: &Measurement<'_>) {
    let after = late.map(|time| format!(", {time:.1?} after its exec")).unwrap_or_default();
    let detail = format!("{}: it may have run before its probes were armed{after}", path.display());
    measurement.lose_many(LossKind::UnattachedObjects, u64::try_from(times).unwrap_or(u64::MAX), detail);
}

/// How long somebody has waited, if that is longer than `limit`.
fn longer_than(limit: Duration, since: Option<Instant>) -> Option<Duration> {
    since.map(|since| since.elapsed()).filter(|time| *time > limit)
}

/// Tells of a program that ran from its beginning to its end while it was being read.
fn lose_ended(path: &Path, measurement: &Measurement<'_>) {
    let detail = format!("{}: a process that ran it had ended before its probes were armed", path.display());
    measurement.lose(LossKind::UnattachedObjects, detail);
}
