//! One contract for the fake kernel and the running one, and what only the running one can show.

mod child;
mod contract;
mod fixture;
mod running;
