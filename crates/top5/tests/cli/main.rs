//! The built program, as a user runs it.

mod bench;
mod eval;
mod predict;
mod program;
mod readme;
mod reliability;
mod train;
mod weights;
