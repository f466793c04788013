//! Evaluation: top-1 and top-5, for any engine.
//!
//! [`evaluate`] classifies every image of a dataset once, as training does after each epoch. [`evaluate_with`] counts
//! whatever another classifier says, for example one that looks at an image more than once.

#![forbid(unsafe_code)]

mod evaluate;
pub mod metric;
mod report;

pub use evaluate::{EvaluationError, evaluate, evaluate_with};
pub use report::{ClassCount, Confusion, Report, Unread, percent};
