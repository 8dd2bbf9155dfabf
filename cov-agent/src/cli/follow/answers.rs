//! What is done with a file that was read: it is armed, and those who wait for it are let go.

use super::read::Answer;
use super::{Follow, not_followed};
use crate::cli::measure::Measurement;
use crate::cli::message::Message;
use crate::coverage::LossKind;
use crate::process::gate::{Key, Remember};
use crate::runner::Candidate;
use std::path::Path;

impl Follow {
    pub(super) fn arm(&mut self, answer: Answer, measurement: &mut Measurement<'_>) -> Result<(), Message> {
        let Answer { key, path, objects, seen, late, unforeseen } = answer;
        let measured = !objects.prepared.is_empty();
        if !unforeseen.is_empty() {
            self.lose_unforeseen(&path, &unforeseen, measured, measurement);
        }
        if let Some(time) = late
            && measured
        {
            let detail =
                format!("{}: it may have run before its probes were armed, {time:.1?} after its exec", path.display());
            measurement.lose(LossKind::UnattachedObjects, detail);
        }
        let armed = measurement.add(objects);
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
        } else if self.waiting.remove(&key).is_some() && measured {
            lose_ended(&path, measurement);
        }
    }
}

/// Tells of a program that ran from its beginning to its end while it was being read.
fn lose_ended(path: &Path, measurement: &Measurement<'_>) {
    let detail = format!("{}: a process that ran it had ended before its probes were armed", path.display());
    measurement.lose(LossKind::UnattachedObjects, detail);
}
