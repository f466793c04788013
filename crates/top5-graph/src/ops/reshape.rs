//! Ops that move elements without computing on them.

use super::onnx::OnnxNode;
use crate::error::ShapeError;
use crate::op::Define;
use crate::shape::Shape;
use crate::size::volume;
use crate::spec::{Family, Spec};
use crate::window::k;

/// The network's input.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Channels, height, width.
    pub chw: [usize; 3],
}

impl Define for Input {
    fn spec(&self, _: &[Shape]) -> Result<Spec, ShapeError> {
        volume(&self.chw)?;
        let spec = Spec::new("Input", "input", Shape::Map(self.chw)).short("input");
        Ok(Spec { family: Family::Input, ..spec })
    }

    fn arity(&self) -> (usize, usize) {
        (0, 0)
    }
}

/// Channels `start..start + len` of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceChannels {
    /// First channel.
    pub start: usize,
    /// Number of channels.
    pub len: usize,
}

impl Define for SliceChannels {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let [channels, h, w] = inputs[0].chw()?;
        let (start, len) = (self.start, self.len);
        let end = match start.checked_add(len) {
            Some(end) if end <= channels && len > 0 => end,
            Some(_) | None => return Err(ShapeError::Range { start, len, channels }),
        };
        Ok(Spec {
            short: "slice",
            caption: format!("slice {start}..{end}"),
            label: format!("{start}..{end}"),
            onnx: vec![OnnxNode::new("Slice").integers(&[start]).integers(&[end]).integers(&[1])],
            ..Spec::new("SliceChannels", "slice", Shape::Map([len, h, w]))
        })
    }
}

/// Zero channels before and after those of a map: with [`Subsample`], ResNet's parameter-free shortcut (option A).
#[derive(Clone, Debug, PartialEq)]
pub struct PadChannels {
    /// Zero channels before.
    pub before: usize,
    /// Zero channels after.
    pub after: usize,
}

impl Define for PadChannels {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let [c, h, w] = inputs[0].chw()?;
        let (before, after) = (self.before, self.after);
        let channels = c.saturating_add(before).saturating_add(after);
        volume(&[channels, h, w])?;
        Ok(Spec {
            label: format!("{before} + {c} + {after}"),
            onnx: vec![OnnxNode::new("Pad").integers(&[0, before, 0, 0, 0, after, 0, 0])],
            ..Spec::new("PadChannels", "pad", Shape::Map([channels, h, w])).short("pad")
        })
    }
}

/// Rows and columns 0, stride, 2·stride, …: a 1×1 window with a stride and no weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Subsample {
    /// Distance between kept rows and columns.
    pub stride: usize,
}

impl Define for Subsample {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let [c, h, w] = inputs[0].chw()?;
        let window = k(1).stride(self.stride);
        let [p, q] = window.output([h, w])?;
        Ok(Spec {
            caption: format!("every {}", self.stride),
            label: format!("/{}", self.stride),
            window: Some(window),
            onnx: vec![OnnxNode::new("MaxPool").window(&window)],
            ..Spec::new("Subsample", "subsample", Shape::Map([c, p, q]))
        })
    }
}

/// A map as a vector, in (channel, row, column) order.
#[derive(Clone, Debug, PartialEq)]
pub struct Flatten;

impl Define for Flatten {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let onnx = OnnxNode::new("Flatten").int("axis", 1);
        let output = Shape::Flat(inputs[0].elements());
        // Whatever reads the vector sees the whole map.
        let window = Some(k(inputs[0].size()));
        Ok(Spec {
            trails: true,
            window,
            onnx: vec![onnx],
            ..Spec::new("Flatten", "flatten", output).short("flatten")
        })
    }
}
