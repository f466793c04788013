//! The built program, as a user runs it.

mod attacks;
mod bench;
mod caffe;
mod data;
mod ensembles;
mod eval;
mod explain;
mod field;
mod fitting;
mod hostile;
mod hub;
mod inside;
mod messages;
mod predict;
mod probe;
mod program;
mod readme;
mod reliability;
mod reports;
mod runs;
mod score;
mod serve;
mod train;
mod watch;
mod weights;
