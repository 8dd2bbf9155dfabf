//! What a hit is taken to cost: as the person says, as measured since the machine was started, or as is usual.

use super::console::Console;
use crate::plan::Dear;
use crate::probe::{Bpf, Options, Prices};
use crate::runner::Cache;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Prices, and where they are from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Priced {
    pub(super) prices: Prices,
    /// `given`, `measured` or `typical`.
    pub(super) origin: &'static str,
}

impl Default for Priced {
    fn default() -> Self {
        Self { prices: Prices::TYPICAL, origin: "typical" }
    }
}

/// The thread that takes away the probes of a measurement.
#[derive(Default)]
pub(super) struct Measuring(Option<JoinHandle<()>>);

impl Drop for Measuring {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // It has nothing to tell.
            let _ = thread.join();
        }
    }
}

impl Priced {
    /// What is known without measuring.
    pub(super) fn known(given: Option<[Duration; 2]>, cache: Option<&Cache>) -> Self {
        if let Some([emulated, single_stepped]) = given {
            return Self { prices: Prices { emulated, single_stepped }, origin: "given" };
        }
        let kept = cache.and_then(Cache::prices);
        kept.map_or_else(Self::default, |prices| Self { prices, origin: "measured" })
    }

    /// The same; what is not known is measured, in milliseconds, and kept until the machine is started again. Without a
    /// cache that would be again and again: then it is measured only for what goes on for `long`.
    pub(super) fn find(
        given: Option<[Duration; 2]>,
        cache: Option<&Cache>,
        long: bool,
        console: Console,
    ) -> (Self, Measuring) {
        let known = Self::known(given, cache);
        let (priced, measuring) = match known.origin {
            "typical" if long || cache.is_some() => measure(cache),
            _ => (known, Measuring::default()),
        };
        let Self { prices: Prices { emulated, single_stepped }, origin } = priced;
        console.detail(&format!("a hit costs {emulated:.1?}, single-stepped {single_stepped:.1?}: {origin}"));
        (priced, measuring)
    }

    /// How much dearer a hit of a single-stepped instruction is: a power of two, so that plans stay the same however exactly
    /// it was measured.
    pub(super) fn dear(&self) -> Dear {
        let Prices { emulated, single_stepped } = self.prices;
        let ratio = single_stepped.as_secs_f64() / emulated.as_secs_f64().max(1e-9);
        Dear(
            [2, 4, 8, 16, 32]
                .into_iter()
                .rfind(|&power| f64::from(power) <= ratio * std::f64::consts::SQRT_2)
                .unwrap_or(1),
        )
    }
}

fn measure(cache: Option<&Cache>) -> (Priced, Measuring) {
    let (tell, told) = sync_channel(1);
    let thread = thread::Builder::new().name("prices".into()).spawn(move || {
        let Ok(mut kernel) = Bpf::new(Options::default()) else { return };
        if let Ok((prices, _)) = Prices::begin(&mut kernel) {
            // Nobody waits any more only where the agent has ended.
            let _ = tell.send(prices);
        }
        // To drop the kernel takes the probes away, which nobody waits for before the end.
    });
    let prices = told.recv().ok();
    if let (Some(prices), Some(cache)) = (prices, cache) {
        cache.keep_prices(prices);
    }
    let priced = prices.map_or_else(Priced::default, |prices| Priced { prices, origin: "measured" });
    (priced, Measuring(thread.ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dear_hits_are_so_many_times_dearer() {
        let dear = |emulated, stepped| {
            let prices = [emulated, stepped].map(Duration::from_nanos);
            Priced::known(Some(prices), None).dear().0
        };
        let found = [(650, 11_000), (300, 900), (800, 9_000), (500, 500), (1, 1000), (0, 0)].map(|(e, s)| dear(e, s));
        assert_eq!(found, [16, 4, 8, 1, 32, 1]);
    }
}
