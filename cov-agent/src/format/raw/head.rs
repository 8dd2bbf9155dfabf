//! What a segment says beside its files.

use super::NAME;
use crate::coverage::{LossKind, Losses, Object, Run, RunId, Snapshot};
use crate::format::ReadError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The parts of a snapshot beside its files: known before the first file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// The runs, by id.
    pub runs: BTreeMap<RunId, Run>,
    /// The objects whose code was counted.
    pub objects: BTreeSet<Object>,
    /// What was lost, as it was recorded.
    pub losses: Losses,
    /// Whether conditional jumps were counted.
    pub branches: bool,
}

impl Head {
    /// Of a snapshot.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            runs: snapshot.runs().map(|run| (run.id, run.clone())).collect(),
            objects: snapshot.objects().cloned().collect(),
            losses: snapshot.recorded_losses().clone(),
            branches: snapshot.has_branches(),
        }
    }

    /// A snapshot with this head.
    #[must_use]
    pub fn into_snapshot(self, files: Vec<crate::coverage::FileCoverage>) -> Snapshot {
        Snapshot::of_runs(self.runs.into_values(), self.objects, self.losses, files).with_branches(self.branches)
    }

    /// Adds another head, as merging snapshots does.
    pub fn merge(&mut self, other: Self) {
        let this = std::mem::take(self).into_snapshot(Vec::new());
        *self = Self::of(&this.merge(other.into_snapshot(Vec::new())));
    }
}

#[derive(Serialize, Deserialize)]
struct StoredHead {
    runs: Vec<StoredRun>,
    objects: Vec<StoredObject>,
    losses: BTreeMap<String, StoredLoss>,
}

#[derive(Serialize, Deserialize)]
struct StoredRun {
    id: String,
    end: u64,
    program: String,
    directory: String,
    tool: String,
    commit: String,
    shard: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    selection: String,
}

#[derive(Serialize, Deserialize)]
struct StoredObject {
    build_id: String,
    path: String,
}

#[derive(Serialize, Deserialize)]
struct StoredLoss {
    count: u64,
    details: Vec<String>,
}

pub(super) fn encode(head: &Head) -> Result<Vec<u8>, serde_json::Error> {
    let runs = head.runs.values().cloned().map(|run| StoredRun {
        id: run.id.to_string(),
        end: run.end,
        program: run.program,
        directory: run.directory,
        tool: run.tool,
        commit: run.commit,
        shard: run.shard,
        selection: run.selection,
    });
    let objects = head.objects.iter().cloned().map(|o| StoredObject { build_id: o.build_id, path: o.path });
    let losses = head.losses.iter().map(|(kind, loss)| {
        (kind.slug().into(), StoredLoss { count: loss.count, details: loss.details.iter().cloned().collect() })
    });
    serde_json::to_vec(&StoredHead { runs: runs.collect(), objects: objects.collect(), losses: losses.collect() })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Head, ReadError> {
    let damaged = |what: String| ReadError::damaged(NAME, format!("its head: {what}"));
    let stored: StoredHead = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
    let mut head = Head::default();
    for run in stored.runs {
        let id = run_id(&run.id).ok_or_else(|| damaged(format!("\"{}\" is no run id", run.id)))?;
        let run = Run {
            id,
            end: run.end,
            program: run.program,
            directory: run.directory,
            tool: run.tool,
            commit: run.commit,
            shard: run.shard,
            selection: run.selection,
        };
        head.runs.insert(id, run);
    }
    head.objects = stored.objects.into_iter().map(|o| Object { build_id: o.build_id, path: o.path }).collect();
    for (slug, loss) in stored.losses {
        let kind = LossKind::from_slug(&slug).ok_or_else(|| damaged(format!("\"{slug}\" is no kind of loss")))?;
        head.losses.add(kind, loss.count);
        loss.details.into_iter().for_each(|detail| head.losses.describe(kind, detail));
    }
    Ok(head)
}

fn run_id(text: &str) -> Option<RunId> {
    let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(|id| RunId(id.to_be_bytes()))
}
