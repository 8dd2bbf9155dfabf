//! What the agent and its kernel programs agree on: map names, cookie layout, sizes.
#![no_std]
