//! What each context ran, as `coverage.json` tells it.

use crate::Outcome;
use std::collections::BTreeMap;
use std::path::Path;

/// By context, the counts of the lines of one file; lines that a context did not run are not there.
pub type Contexts = BTreeMap<String, BTreeMap<u32, u64>>;

impl Outcome {
    /// What each context ran in the file whose path ends in `name`.
    ///
    /// # Panics
    /// Where `coverage.json` has another form.
    #[must_use]
    pub fn contexts(&self, name: &str) -> Contexts {
        let files = self.json["files"].as_object().unwrap();
        let (_, file) = files.iter().find(|(path, _)| Path::new(path).ends_with(name)).unwrap();
        let mut contexts = Contexts::new();
        for (context, lines) in file["cov_agent"]["contexts"].as_object().into_iter().flatten() {
            let lines = lines["counts"].as_object().unwrap();
            let lines = lines.iter().map(|(line, count)| (line.parse().unwrap(), count.as_u64().unwrap()));
            contexts.insert(context.clone(), lines.filter(|(_, count)| *count > 0).collect());
        }
        contexts
    }
}
