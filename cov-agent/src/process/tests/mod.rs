//! Launching and attaching, tried on real processes.

mod launch;
