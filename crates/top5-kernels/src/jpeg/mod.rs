//! What decoding a JPEG image computes on every sample, to the bit as libjpeg-turbo does: the inverse cosine transform, and
//! the way from YCbCr to RGB.
//!
//! Written once for vectors of eight 16-bit numbers (`lanes`).

mod colour;
mod idct;
mod lanes;

pub use colour::rgb_from_ycbcr;
pub use idct::inverse;
