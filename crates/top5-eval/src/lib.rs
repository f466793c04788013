//! Evaluation: top-1 and top-5 under the protocols of the papers, for any engine.
//!
//! [`evaluate`] classifies every image of a dataset once, as training does after each epoch. The papers' numbers come
//! from more than one look at an image: [`crops`] and [`dense`] turn an image into probabilities by several views of
//! it, [`ensemble`] averages networks, [`evaluate_with`] counts whatever such a classifier says, and [`protocol`] holds
//! as data which row of the results table was obtained how.

#![forbid(unsafe_code)]

pub mod crops;
pub mod dense;
pub mod ensemble;
mod evaluate;
pub mod metric;
pub mod protocol;
mod report;

pub use evaluate::{EvaluationError, evaluate, evaluate_loaded, evaluate_with};
pub use report::{ClassCount, Confusion, Report, Unread, percent};
