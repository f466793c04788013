//! The ops, one family per file: attributes and definition.

mod activation;
mod combine;
mod conv;
mod linear;
mod norm;
pub mod onnx;
mod pool;
mod reshape;

pub use activation::*;
pub use combine::*;
pub use conv::*;
pub use linear::*;
pub use norm::*;
pub use pool::*;
pub use reshape::*;

use crate::error::ShapeError;

/// `value / by`, or an error when it does not divide.
fn divide(what: &'static str, value: usize, by: usize) -> Result<usize, ShapeError> {
    if by == 0 || !value.is_multiple_of(by) {
        return Err(ShapeError::NotDivisible { what, value, by });
    }
    Ok(value / by)
}
