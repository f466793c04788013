//! Measured choices of kernels, which go before those of the cost model.

use std::collections::BTreeMap;

/// The shape of a convolution's loop nest, as far as it matters to the choice of a kernel. In a first layer, which reads
/// plain planes, the rows of a kernel are its taps and their elements are inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerShape {
    /// Most images at once.
    pub batch: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Output rows.
    pub rows: usize,
    /// Output columns.
    pub cols: usize,
    /// Elements of the kernel.
    pub taps: usize,
    /// Distance of the inputs of neighbouring outputs, in floats: 16 times the stride, or the stride in a first layer.
    pub step: usize,
    /// Blocks of input channels that an output reads: all of them unless there are groups.
    pub blocks: usize,
    /// Input channels of a group; 16 where there are no groups.
    pub group: usize,
}

/// Kernels by the shape that they are the fastest for, as measured on some machine. A shape that is missing, or whose
/// kernel cannot run it (it may be of another instruction set), is left to the cost model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    kernels: BTreeMap<LayerShape, String>,
}

impl Tuning {
    /// The kernel for a shape.
    pub fn kernel(&self, shape: &LayerShape) -> Option<&str> {
        self.kernels.get(shape).map(String::as_str)
    }

    /// Chooses a kernel, by its name, for a shape.
    pub fn choose(&mut self, shape: LayerShape, kernel: impl Into<String>) {
        self.kernels.insert(shape, kernel.into());
    }

    /// All choices.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&LayerShape, &str)> {
        self.kernels.iter().map(|(shape, kernel)| (shape, kernel.as_str()))
    }
}
