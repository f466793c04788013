//! A sliding window: kernel, stride, padding and dilation, and the only output-size formula of the project.

use crate::error::ShapeError;
use std::fmt;

/// A window that slides over the height and width of a map. Pairs are `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Height and width of the kernel, in elements.
    pub kernel: [usize; 2],
    /// Step between neighbouring positions.
    pub stride: [usize; 2],
    /// Zeros added before the first row and column.
    pub pad: [usize; 2],
    /// Zeros added after the last row and column.
    pub pad_end: [usize; 2],
    /// Distance between neighbouring kernel elements.
    pub dilation: [usize; 2],
    /// Round the output size up (Caffe's pooling), down otherwise.
    pub ceil: bool,
}

/// One number for both directions, or `[height, width]`.
pub trait IntoPair {
    /// `[height, width]`.
    fn pair(self) -> [usize; 2];
}

impl IntoPair for usize {
    fn pair(self) -> [usize; 2] {
        [self, self]
    }
}

impl IntoPair for [usize; 2] {
    fn pair(self) -> [usize; 2] {
        self
    }
}

/// A window with this kernel, stride 1, no padding: `k(3)`, `k([1, 7])`.
pub fn k(kernel: impl IntoPair) -> Window {
    Window {
        kernel: kernel.pair(),
        stride: [1, 1],
        pad: [0, 0],
        pad_end: [0, 0],
        dilation: [1, 1],
        ceil: false,
    }
}

/// A plain integer is a square window of stride 1 without padding.
impl From<usize> for Window {
    fn from(kernel: usize) -> Self {
        k(kernel)
    }
}

impl Window {
    /// With this stride.
    pub fn stride(self, stride: impl IntoPair) -> Self {
        Self { stride: stride.pair(), ..self }
    }

    /// With this padding on both sides.
    pub fn pad(self, pad: impl IntoPair) -> Self {
        let pad = pad.pair();
        Self { pad, pad_end: pad, ..self }
    }

    /// With this padding after the last row and column only (before them it stays as it is).
    pub fn pad_end(self, pad: impl IntoPair) -> Self {
        Self { pad_end: pad.pair(), ..self }
    }

    /// With this dilation.
    pub fn dilation(self, dilation: impl IntoPair) -> Self {
        Self { dilation: dilation.pair(), ..self }
    }

    /// Output size rounded up, as Caffe's pooling does.
    pub fn ceil(self) -> Self {
        Self { ceil: true, ..self }
    }

    /// The span of the dilated kernel: `dilation·(kernel − 1) + 1`.
    pub fn span(&self) -> [usize; 2] {
        [0, 1].map(|i| self.dilation[i] * (self.kernel[i] - 1) + 1)
    }

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

/// `3×3`, `1×7`, then what differs from the default: `/2` stride, `+1` padding, `:2` dilation, `⌈⌉` rounding up.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair = |[a, b]: [usize; 2]| if a == b { format!("{a}") } else { format!("{a},{b}") };
        write!(f, "{}×{}", self.kernel[0], self.kernel[1])?;
        if self.stride != [1, 1] {
            write!(f, " /{}", pair(self.stride))?;
        }
        if self.pad_end != self.pad {
            write!(f, " +{}|{}", pair(self.pad), pair(self.pad_end))?;
        } else if self.pad != [0, 0] {
            write!(f, " +{}", pair(self.pad))?;
        }
        if self.dilation != [1, 1] {
            write!(f, " :{}", pair(self.dilation))?;
        }
        if self.ceil {
            write!(f, " ⌈⌉")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
