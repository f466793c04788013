//! Which sizes there are: the only output-size formula of the project, the most elements of a tensor, and the errors where a
//! window or a shape is not what an op needs. Shapes and windows themselves know no errors, since errors name them.

use crate::error::ShapeError;
use crate::shape::Shape;
use crate::window::Window;

/// No activation of one sample, and no parameter tensor, may hold more elements than this (4 TiB of f32).
pub(crate) const MAX_ELEMENTS: usize =
    if usize::BITS < 64 { 1 << 28 } else { 1_usize.rotate_left(40) };

/// The product of `dims`, or an error when it is zero or beyond [`MAX_ELEMENTS`].
pub(crate) fn volume(dims: &[usize]) -> Result<usize, ShapeError> {
    let product = dims.iter().try_fold(1usize, |product, &d| product.checked_mul(d));
    match product {
        Some(0) => Err(ShapeError::Empty { dims: dims.to_vec() }),
        Some(n) if n <= MAX_ELEMENTS => Ok(n),
        Some(_) | None => Err(ShapeError::TooLarge { dims: dims.to_vec() }),
    }
}

impl Shape {
    /// `[c, h, w]`, or an error for a flat vector.
    pub fn chw(&self) -> Result<[usize; 3], ShapeError> {
        match *self {
            Self::Map(chw) => Ok(chw),
            Self::Flat(n) => Err(ShapeError::NotAMap { features: n }),
        }
    }

    /// The number of features, or an error for a map that was not flattened.
    pub fn flat(&self) -> Result<usize, ShapeError> {
        match *self {
            Self::Flat(n) => Ok(n),
            Self::Map(chw) => Err(ShapeError::NotFlat { chw }),
        }
    }
}

impl Window {
    /// Output height and width for an input of this height and width.
    ///
    /// Rounded down, or up when `ceil` is set; rounding up never makes a window that starts beyond the input and its
    /// padding before it (PyTorch's and Caffe's rule).
    pub fn output(&self, input: [usize; 2]) -> Result<[usize; 2], ShapeError> {
        let limit = 1 << 16;
        let fields = [self.kernel, self.stride, self.dilation];
        if fields.iter().flatten().any(|&v| v == 0 || v > limit)
            || self.pad.iter().chain(&self.pad_end).any(|&v| v > limit)
        {
            return Err(ShapeError::BadWindow { window: *self });
        }
        let mut output = [0, 0];
        for i in 0..2 {
            let padded = input[i] + self.pad[i] + self.pad_end[i];
            let Some(room) = padded.checked_sub(self.span()[i]) else {
                return Err(ShapeError::DoesNotFit { window: *self, input });
            };
            let mut size = room / self.stride[i] + 1;
            if self.ceil
                && room % self.stride[i] != 0
                && size * self.stride[i] < input[i] + self.pad[i]
            {
                size += 1;
            }
            output[i] = size;
        }
        Ok(output)
    }

    /// As [`Window::output`], for pooling: every window must hold at least one input element, so the padding is at
    /// most half the kernel.
    pub fn pool_output(&self, input: [usize; 2]) -> Result<[usize; 2], ShapeError> {
        let output = self.output(input)?;
        let span = self.span();
        if (0..2).any(|i| 2 * self.pad[i].max(self.pad_end[i]) > span[i]) {
            return Err(ShapeError::PadTooLarge { window: *self });
        }
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::k;

    #[test]
    fn sizes_of_known_layers() {
        assert_eq!(k(11).stride(4).output([227, 227]), Ok([55, 55]));
        assert_eq!(k(7).stride(2).pad(3).output([224, 224]), Ok([112, 112]));
        assert_eq!(k(3).stride(2).pad(1).output([112, 112]), Ok([56, 56]));
        assert_eq!(k([1, 7]).pad([0, 3]).output([17, 17]), Ok([17, 17]));
        assert_eq!(k(3).dilation(2).pad(2).output([14, 14]), Ok([14, 14]));
    }

    #[test]
    fn rounding_up_follows_caffe() {
        // GoogLeNet's pool1 and ZFNet's pool1.
        assert_eq!(k(3).stride(2).ceil().output([112, 112]), Ok([56, 56]));
        assert_eq!(k(3).stride(2).ceil().output([110, 110]), Ok([55, 55]));
        assert_eq!(k(3).stride(2).output([110, 110]), Ok([54, 54]));
        // The window that would start in the padding after the input is dropped.
        assert_eq!(k(2).stride(2).pad(1).ceil().output([5, 5]), Ok([3, 3]));
        assert_eq!(k(2).stride(3).ceil().output([3, 3]), Ok([1, 1]));
    }

    #[test]
    fn window_that_does_not_fit_is_rejected() {
        assert!(matches!(k(5).output([3, 9]), Err(ShapeError::DoesNotFit { .. })));
        assert!(matches!(k(3).stride(0).output([9, 9]), Err(ShapeError::BadWindow { .. })));
        assert!(matches!(k(usize::MAX).output([9, 9]), Err(ShapeError::BadWindow { .. })));
    }

    #[test]
    fn padding_larger_than_half_the_pool_is_rejected() {
        assert!(matches!(k(2).pad(2).pool_output([9, 9]), Err(ShapeError::PadTooLarge { .. })));
        assert!(k(2).pad(1).pool_output([9, 9]).is_ok());
    }
}
