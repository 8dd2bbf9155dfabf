//! `cov-agent lines OBJECT`: what would be measured, without running anything and without root.

mod text;
mod view;

use super::args::LinesArgs;
use super::console::Console;
use super::exit::Exit;
use super::message::{Message, Slug};
