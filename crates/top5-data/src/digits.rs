//! The embedded digits.
use crate::dataset::Splits;
use crate::image::Image;

/// The UCI digits: train 1,197, validation 200, test 400.
pub fn digits() -> Splits {
    todo!()
}

/// A drawn digit, framed like the training digits: 1x28x28, light ink on black.
pub fn normalise_digit(_image: &Image) -> Image {
    todo!()
}
