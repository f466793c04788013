//! The tests that stand beside private parts of the crate. They are built from the few files that they are in, since the
//! kernels take minutes to compile: the library itself has no test build (`test = false` in `Cargo.toml`).

// Only what the tests reach is used here.
#![allow(dead_code, missing_docs, unreachable_pub, unused_imports)]

#[path = "../src/arena.rs"]
mod arena;
#[path = "../src/bf16.rs"]
mod bf16;
#[path = "../src/block.rs"]
mod block;
#[path = "../src/conv/geometry.rs"]
mod geometry;
#[path = "../src/jpeg/mod.rs"]
mod jpeg;
#[path = "../src/threads.rs"]
mod threads;
