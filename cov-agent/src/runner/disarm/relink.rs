//! For processes that start later: links with fewer sites. Replacing them takes grace periods of the kernel, so a thread
//! of its own does.

use super::Shared;
use crate::probe::ArmedId;
use crate::runner::Lingering;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Replacing links may take this part of the time.
const SHARE: u32 = 4;

/// Fewer sites than this are not worth it.
const LEAST: usize = 16;

/// Replaces links when that pays.
pub(super) struct Relinker {
    orders: Option<Sender<ArmedId>>,
    finished: Receiver<Duration>,
    thread: Option<JoinHandle<()>>,
    busy: bool,
    /// Not before this time.
    next: Instant,
}

impl Relinker {
    pub(super) fn start(shared: Shared, lingering: Lingering) -> Self {
        let (orders, ordered) = channel();
        let (tell, finished) = channel();
        let thread = thread::spawn(move || {
            for id in ordered {
                let begun = Instant::now();
                relink(&shared, id, &lingering);
                if tell.send(begun.elapsed()).is_err() {
                    return;
                }
            }
        });
        Self { orders: Some(orders), finished, thread: Some(thread), busy: false, next: Instant::now() }
    }

    /// Has the links of `id` replaced, of which `since` of `linked` sites have done their work, if that pays now.
    pub(super) fn consider(&mut self, id: ArmedId, since: usize, linked: usize) {
        if let Ok(took) = self.finished.try_recv() {
            self.busy = false;
            self.next = Instant::now() + took * (SHARE - 1);
        }
        let pays = since >= LEAST && since * 16 >= linked;
        if self.busy || !pays || Instant::now() < self.next {
            return;
        }
        self.busy = self.orders.as_ref().is_some_and(|orders| orders.send(id).is_ok());
    }
}

impl Drop for Relinker {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // What it does is no more than a saving.
            let _ = thread.join();
        }
    }
}

fn relink(shared: &Shared, id: ArmedId, lingering: &Lingering) {
    let Some(object) = shared.object(id) else { return };
    // Where it fails, what is armed stays armed.
    if let Ok(old) = object.relink() {
        // Another process holds these too, so this takes no time; it lets them go when yet another has the new ones.
        drop(old);
        if lingering.renew().is_ok() {
            shared.told.relinked.fetch_add(1, Ordering::Relaxed);
        }
    }
}
