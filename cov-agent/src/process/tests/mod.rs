//! Launching and attaching, tried on real processes.

mod foreign;
mod launch;
