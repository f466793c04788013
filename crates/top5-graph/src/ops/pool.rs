//! Pooling.

use super::onnx::OnnxNode;
use crate::error::ShapeError;
use crate::op::Define;
use crate::param::{Init, Param};
use crate::shape::Shape;
use crate::spec::{Convolution, Family, Fans, Kernels, Spec};
use crate::window::{Window, k};

/// Maximum over each window; padding never wins. The first of equal maxima (in row-major order) gets the gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPool2d {
    /// Kernel, stride, padding, rounding.
    pub window: Window,
}

impl Define for MaxPool2d {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let [c, h, w] = inputs[0].chw()?;
        let [p, q] = self.window.pool_output([h, w])?;
        Ok(Spec {
            family: Family::Pooling,
            short: "max",
            caption: format!("max {}", self.window),
            label: self.window.to_string(),
            window: Some(self.window),
            onnx: vec![
                OnnxNode::new("MaxPool")
                    .window(&self.window)
                    .int("ceil_mode", usize::from(self.window.ceil)),
            ],
            ..Spec::new("MaxPool2d", "pool", Shape::Map([c, p, q]))
        })
    }
}

/// Mean over each window. The divisor counts the padding when `count_include_pad` is set (but never what rounding up
/// adds beyond it), and only real elements otherwise: PyTorch's two conventions.
#[derive(Clone, Debug, PartialEq)]
pub struct AvgPool2d {
    /// Kernel, stride, padding, rounding; no dilation.
    pub window: Window,
    /// Whether padding counts in the divisor.
    pub count_include_pad: bool,
}

impl Define for AvgPool2d {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let [c, h, w] = inputs[0].chw()?;
        if self.window.dilation != [1, 1] {
            return Err(ShapeError::Attribute {
                what: "dilation of an average pooling",
                expected: "1",
            });
        }
        let [p, q] = self.window.pool_output([h, w])?;
        Ok(Spec {
            family: Family::Pooling,
            short: "avg",
            caption: format!("avg {}", self.window),
            label: self.window.to_string(),
            window: Some(self.window),
            onnx: vec![
                OnnxNode::new("AveragePool")
                    .window(&self.window)
                    .int("ceil_mode", usize::from(self.window.ceil))
                    .int("count_include_pad", usize::from(self.count_include_pad)),
            ],
            ..Spec::new("AvgPool2d", "pool", Shape::Map([c, p, q]))
        })
    }
}

/// Mean over the windows that divide a map of any size into `output` rows and columns, as PyTorch's `AdaptiveAvgPool2d`: the
/// `i`-th of n along an axis of `size` elements is [`adaptive_window`]. Windows may overlap by one element, and a map may be
/// smaller than the output.
#[derive(Clone, Debug, PartialEq)]
pub struct AdaptiveAvgPool2d {
    /// Rows and columns.
    pub output: [usize; 2],
}

/// The elements `⌊i·size/n⌋ … ⌈(i + 1)·size/n⌉ − 1` along an axis, which the `i`-th of `n` adaptive windows covers.
pub fn adaptive_window(i: usize, n: usize, size: usize) -> std::ops::Range<usize> {
    i * size / n..((i + 1) * size).div_ceil(n)
}

/// The matrix `[size, n]` with which rows of `size` elements are multiplied to get their `n` means.
fn means(n: usize, size: usize) -> Vec<f32> {
    let weight = |at: usize, i: usize| {
        let window = adaptive_window(i, n, size);
        if window.contains(&at) { 1.0 / window.len() as f32 } else { 0.0 }
    };
    (0..size * n).map(|cell| weight(cell / n, cell % n)).collect()
}

impl Define for AdaptiveAvgPool2d {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let [c, h, w] = inputs[0].chw()?;
        let [p, q] = self.output;
        if p == 0 || q == 0 {
            let (what, expected) = ("output of an adaptive pooling", "at least one row and column");
            return Err(ShapeError::Attribute { what, expected });
        }
        let swap = || OnnxNode::new("Transpose").ints("perm", &[0, 1, 3, 2]);
        let product = |n, size| OnnxNode::new("MatMul").floats([size, n], means(n, size));
        Ok(Spec {
            family: Family::Pooling,
            short: "adaptive avg",
            caption: format!("adaptive avg {p}×{q}"),
            label: format!("{p}×{q}"),
            onnx: vec![product(q, w), swap(), product(p, h), swap()],
            ..Spec::new("AdaptiveAvgPool2d", "avgpool", Shape::Map([c, p, q]))
        })
    }
}

/// Mean over each map: `c×h×w` to `c×1×1`.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalAvgPool;

impl Define for GlobalAvgPool {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let [c, h, w] = inputs[0].chw()?;
        Ok(Spec {
            family: Family::Pooling,
            window: Some(k([h, w])),
            onnx: vec![OnnxNode::new("GlobalAveragePool")],
            ..Spec::new("GlobalAvgPool", "avgpool", Shape::Map([c, 1, 1])).short("global avg")
        })
    }
}

/// LeNet-5's S2 and S4 (LeCun et al. 1998, section II.B): the sum over each window times a trainable coefficient plus
/// a trainable bias, both per map. Weight and bias: `[channels]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Subsampling {
    /// Kernel and stride; no padding, no dilation.
    pub window: Window,
}

impl Define for Subsampling {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let [c, h, w] = inputs[0].chw()?;
        if self.window.dilation != [1, 1]
            || self.window.pad != [0, 0]
            || self.window.pad_end != [0, 0]
        {
            return Err(ShapeError::Attribute {
                what: "padding and dilation of a subsampling",
                expected: "0 and 1",
            });
        }
        let [p, q] = self.window.output([h, w])?;
        let [r, s] = self.window.kernel;
        let init = Init::pytorch(r * s);
        Ok(Spec {
            family: Family::Pooling,
            short: "sum",
            caption: format!("sum {}", self.window),
            label: self.window.to_string(),
            params: vec![
                Param::learned("weight", [c], init.clone()),
                Param::learned("bias", [c], init),
            ],
            fans: Some(Fans { input: r * s, output: p * q }),
            window: Some(self.window),
            convolution: Some(Convolution {
                window: self.window,
                groups: c,
                kernels: Kernels::Repeated,
            }),
            onnx: vec![OnnxNode::new("Conv").window(&self.window).int("group", c).params()],
            ..Spec::new("Subsampling", "subsampling", Shape::Map([c, p, q]))
        })
    }
}
