//! Convolution, and the sparsely connected convolution of LeNet-5.

use super::{divide, onnx::OnnxNode};
use crate::error::ShapeError;
use crate::op::Define;
use crate::param::{Init, Param};
use crate::shape::Shape;
use crate::spec::{Convolution, Family, Fans, Kernels, Spec};
use crate::window::Window;

/// Two-dimensional convolution (cross-correlation, as everywhere in the field).
/// Weight: `[out_channels, in_channels / groups, kernel height, kernel width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2d {
    /// Number of filters.
    pub out_channels: usize,
    /// Kernel, stride, padding, dilation.
    pub window: Window,
    /// Channels are split into this many independent groups.
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Conv2d {
    /// One group, with a bias.
    pub fn new(out_channels: usize, window: impl Into<Window>) -> Self {
        Self { out_channels, window: window.into(), groups: 1, bias: true }
    }

    /// With this many groups.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Without a bias, as before a batch normalisation.
    pub fn no_bias(self) -> Self {
        Self { bias: false, ..self }
    }
}

impl Define for Conv2d {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let [c, h, w] = inputs[0].chw()?;
        let per_group = divide("input channels", c, self.groups)?;
        divide("output channels", self.out_channels, self.groups)?;
        let [p, q] = self.window.output([h, w])?;
        let [r, s] = self.window.kernel;
        let params = Param::weight_bias([self.out_channels, per_group, r, s], self.bias)?;
        let groups =
            if self.groups == 1 { String::new() } else { format!(", {} groups", self.groups) };
        let label = format!("{}, {}{groups}", self.window, self.out_channels);
        Ok(Spec {
            family: Family::Convolution,
            caption: label.clone(),
            label,
            macs: params[0].elements() as u64 * (p * q) as u64,
            params,
            fans: Some(Fans {
                input: per_group * r * s,
                output: self.out_channels.saturating_mul(r * s),
            }),
            window: Some(self.window),
            convolution: Some(Convolution {
                window: self.window,
                groups: self.groups,
                kernels: Kernels::Dense,
            }),
            onnx: vec![
                OnnxNode::new("Conv").window(&self.window).int("group", self.groups).params(),
            ],
            ..Spec::new("Conv2d", "conv", Shape::Map([self.out_channels, p, q]))
        })
    }
}

/// LeNet-5's C3 (LeCun et al. 1998, Table I): output map `o` is connected to the input maps `table[o]` only.
/// Weight: `[connections, kernel height, kernel width]`, in the order of the table's rows; bias: one per output map.
#[derive(Clone, Debug, PartialEq)]
pub struct TableConv2d {
    /// For each output map, the input maps that it sees.
    pub table: Vec<Vec<usize>>,
    /// Kernel, stride, padding.
    pub window: Window,
}

impl TableConv2d {
    /// (output map, input map) of every connection, in the order of the weight's first dimension.
    pub fn connections(&self) -> impl Iterator<Item = (usize, usize)> {
        self.table.iter().enumerate().flat_map(|(o, maps)| maps.iter().map(move |&i| (o, i)))
    }
}

impl Define for TableConv2d {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let [c, h, w] = inputs[0].chw()?;
        let [p, q] = self.window.output([h, w])?;
        let [r, s] = self.window.kernel;
        for maps in &self.table {
            let sorted = maps.windows(2).all(|pair| pair[0] < pair[1]);
            if maps.is_empty() || !sorted || maps[maps.len() - 1] >= c {
                return Err(ShapeError::Attribute {
                    what: "a row of the connection table",
                    expected: "a rising, non-empty list of input maps",
                });
            }
        }
        let connections = self.connections().count();
        // The means over output and input maps, which see and are seen by different numbers of maps.
        let fans = Fans {
            input: connections * r * s / self.table.len().max(1),
            output: connections * r * s / c,
        };
        let init = Init::pytorch(fans.input.max(1));
        let weight = Param::learned("weight", [connections, r, s], init.clone());
        let label = format!("{}, {}, {connections} connections", self.window, self.table.len());
        let places = self.connections().map(|(o, i)| o * c + i).collect();
        Ok(Spec {
            family: Family::Convolution,
            caption: label.clone(),
            label,
            macs: weight.elements() as u64 * (p * q) as u64,
            params: vec![weight, Param::learned("bias", [self.table.len()], init)],
            fans: Some(fans),
            window: Some(self.window),
            convolution: Some(Convolution {
                window: self.window,
                groups: 1,
                kernels: Kernels::Scattered(places),
            }),
            onnx: vec![OnnxNode::new("Conv").window(&self.window).int("group", 1).params()],
            ..Spec::new("TableConv2d", "conv", Shape::Map([self.table.len(), p, q]))
        })
    }
}
