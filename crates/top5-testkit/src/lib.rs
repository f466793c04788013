//! Test kit, for tests only: the comparison, the f64 reference engine, the conformance suite of the
//! engines, the reader of the reference files, writers of other programs' files, and what to fill and enumerate test inputs
//! with.
//!
//! Helpers assert: they panic with a message that names what differs. Nothing here is fast; everything is plain.

#![forbid(unsafe_code)]

pub mod cases;
pub mod close;
mod conformance;
pub mod enumerate;
pub mod files;
pub mod fill;
pub mod inside;
pub mod optimizers;
pub mod oracle;
mod reference;

pub use conformance::{
    Make, Tolerance, check_beside, check_case, check_signals, conformance, conformance_except,
    signal_conformance,
};
pub use reference::ReferenceDevice;
