//! Every kernel on every instruction set of the machine against plain loops, over all small geometries, smallest first.
//! Inputs are small integers, so that sums are exact in any order and results are compared without a tolerance.

mod bf16;
mod channels;
mod conv;
mod elementwise;
mod errors;
mod geometries;
mod norm;
mod packing;
mod peak;
mod pixel;
mod pool;
mod solve;
mod table;
