//! The ops, one family per file: attributes and definition.

mod activation;
mod combine;
mod conv;
mod linear;
mod norm;
pub mod onnx;
mod pool;
mod reshape;

pub use activation::{Activation, Dropout, Softmax};
pub use combine::{Add, Concat, MulConstant, Scale};
pub use conv::{Conv2d, TableConv2d};
pub use linear::{EuclideanRbf, Linear};
pub use norm::{AlphaOver, BatchNorm2d, LocalResponseNorm};
pub use pool::{AvgPool2d, GlobalAvgPool, MaxPool2d, Subsampling};
pub use reshape::{Flatten, Input, PadChannels, SliceChannels, Subsample};

use crate::error::ShapeError;

/// `value / by`, or an error when it does not divide.
fn divide(what: &'static str, value: usize, by: usize) -> Result<usize, ShapeError> {
    if by == 0 || !value.is_multiple_of(by) {
        return Err(ShapeError::NotDivisible { what, value, by });
    }
    Ok(value / by)
}
