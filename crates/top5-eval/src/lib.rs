//! Evaluation: top-1 and top-5 under the protocols of the papers, for any engine.
//!
//! [`evaluate`] classifies every image of a dataset once, as training does after each epoch. The papers' numbers come
//! from more than one look at an image: a [`Protocol`] says which, a [`Pipe`] looks, [`evaluate_by`] counts, [`ensemble`]
//! averages networks, and [`rows`] holds as data which row of the results table was obtained how.

#![forbid(unsafe_code)]

mod calibration;
pub mod crops;
pub mod dense;
pub mod ensemble;
mod error;
mod evaluate;
pub mod imagenet;
mod judge;
pub mod metric;
mod mixture;
mod named;
mod pipe;
mod predictions;
mod protocol;
mod report;
pub mod rows;
mod statistics;
mod terms;
pub mod twins;
mod view;

pub use calibration::{
    BINS, Bin, Calibration, TEMPERATURES, at_temperature, null_is_infinite, temperature,
};
pub use error::EvaluationError;
pub use evaluate::{evaluate, evaluate_by, evaluate_each, evaluate_loaded};
pub use judge::{Judged, KEPT};
pub use named::{NAMES, named};
pub use pipe::{Answer, Pipe};
pub use predictions::{
    Averaged, Division, Header, Origin, Predictions, PredictionsError, Shard, Weighted, kept_row,
};
pub use protocol::{Average, Part, Protocol};
pub use report::{ClassCount, Confusion, Report, Unread, percent};
pub use statistics::{Paired, wilson};
pub use terms::{FittedTo, RightAnswers, Temperature, Terms};
pub use view::View;
