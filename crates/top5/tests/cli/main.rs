//! The built program, as a user runs it.

mod bench;
mod predict;
mod program;
mod readme;
mod train;
