//! Test kit, for tests only: the comparison, the f64 reference engine, the reader of the reference files.
//!
//! Helpers assert: they panic with a message that names what differs. Nothing here is fast; everything is plain.

#![forbid(unsafe_code)]

pub mod close;
pub mod oracle;
mod reference;

pub use reference::ReferenceEngine;
