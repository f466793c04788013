//! The built program, as a user runs it.

mod bench;
mod caffe;
mod eval;
mod field;
mod hostile;
mod hub;
mod messages;
mod predict;
mod program;
mod readme;
mod reliability;
mod train;
mod weights;
