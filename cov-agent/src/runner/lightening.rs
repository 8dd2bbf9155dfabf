//! Probes that go before the end: who takes them out, and what is then known of their counters.

use super::contexts::Contexts;
use super::{ArmedObject, Budget, CoverageTestRunner, Disarmed, Disarmer, Lingering};
use crate::probe::Kernel;
use std::io;

impl ArmedObject {
    /// Takes it from the thread that disarms.
    pub(super) fn let_go(&mut self, disarmer: Option<&Disarmer>, contexts: Option<&mut Contexts>) {
        self.take_frozen(disarmer);
        contexts.into_iter().for_each(Contexts::note_stops);
        if let Some(disarmer) = disarmer {
            disarmer.forget(self.id);
        }
    }

    /// Takes note of the counters that have stopped.
    pub(super) fn take_frozen(&mut self, disarmer: Option<&Disarmer>) {
        let stops = disarmer.map(|disarmer| disarmer.frozen(self.id)).filter(|stops| !stops.is_empty());
        self.measured.frozen = stops.unwrap_or_else(|| std::mem::take(&mut self.measured.frozen));
    }

    /// How many counters have stopped, in contexts or not, since this was asked last.
    pub(super) fn new_stops(&mut self, contexts: Option<&Contexts>) -> usize {
        let mut all = self.measured.frozen.clone();
        contexts.into_iter().for_each(|contexts| contexts.add_stops(self.id, &mut all));
        all.len().saturating_sub(std::mem::replace(&mut self.told_stops, all.len()))
    }
}

impl<K: Kernel> CoverageTestRunner<K> {
    /// Has a thread disarm what has done its work, or costs more than the `budget`, if the kernel's hits ask for that.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn disarm_when_done(&mut self, lingering: &Lingering, budget: Option<Budget>) -> io::Result<()> {
        if let Some(requests) = self.kernel.requests() {
            let disarmer = Disarmer::start(requests, lingering.clone(), budget)?;
            self.contexts.iter_mut().for_each(|contexts| contexts.ask_for_stops(disarmer.in_contexts()));
            self.disarmer = Some(disarmer);
        }
        Ok(())
    }

    /// Ends the thread that disarms, if there is one, and tells what it did.
    pub fn end_disarming(&mut self) -> Option<Disarmed> {
        let (disarmed, mut stops) = self.disarmer.take()?.end();
        for object in &mut self.armed {
            if let Some(stops) = stops.remove(&object.id) {
                object.measured.frozen = stops;
            }
        }
        Some(disarmed)
    }
}
