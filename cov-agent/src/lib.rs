//! Line coverage, with execution counts, of unmodified programs on Linux.
//!
//! The data's way: **object file → lines → probe plan → probes → counters → line counts → reports**.
//! Every stage is a module that takes owned data and gives owned data; only [`probe`] and
//! [`process`] touch the kernel.
#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod coverage;
pub mod format;
#[cfg(feature = "collect")]
pub mod object;
#[cfg(feature = "collect")]
pub mod plan;
#[cfg(feature = "collect")]
pub mod probe;
#[cfg(feature = "collect")]
pub mod process;
#[cfg(feature = "collect")]
pub mod python;
#[cfg(feature = "collect")]
pub mod runner;
