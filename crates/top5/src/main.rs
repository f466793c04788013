//! The `top5` command.

#![forbid(unsafe_code)]

fn main() {}
