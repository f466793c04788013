//! A sliding window: kernel, stride, padding and dilation.

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
