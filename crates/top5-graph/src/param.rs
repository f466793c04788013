//! What a layer declares of its parameters: shapes, and how they start.

use crate::error::ShapeError;
use crate::size::volume;
use std::sync::Arc;

/// How a parameter starts. `fan_in` is the number of inputs that one output sums.
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    /// Every element has this value.
    Constant(f32),
    /// Uniform in [−bound, bound].
    Uniform(f32),
    /// Normal with mean zero and this standard deviation.
    Normal(f32),
    /// These values, in row-major order.
    Values(Arc<[f32]>),
}

impl Init {
    /// PyTorch's default for convolutions and linear layers: uniform in ±1/√fan_in
    /// (`kaiming_uniform_` with a = √5), for weights and biases alike.
    pub fn pytorch(fan_in: usize) -> Self {
        Self::Uniform((1.0 / fan_in as f64).sqrt() as f32)
    }

    /// He et al., "Delving Deep into Rectifiers", ICCV 2015, equation 10: normal with variance 2/fan.
    pub fn kaiming_normal(fan: usize) -> Self {
        Self::Normal((2.0 / fan as f64).sqrt() as f32)
    }

    /// Glorot & Bengio, AISTATS 2010, equation 16: uniform in ±√(6/(fan_in + fan_out)).
    pub fn xavier_uniform(fan_in: usize, fan_out: usize) -> Self {
        Self::Uniform((6.0 / (fan_in as f64 + fan_out as f64)).sqrt() as f32)
    }
}

/// A tensor that belongs to a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name within the layer: `weight`, `bias`, `running_mean`, …
    pub role: &'static str,
    /// Its shape, as PyTorch has it.
    pub shape: Vec<usize>,
    /// How it starts.
    pub init: Init,
    /// Learned by gradient descent; otherwise a buffer, which does not count as a parameter.
    pub learned: bool,
}

impl Param {
    /// A learned parameter.
    pub(crate) fn learned(role: &'static str, shape: impl Into<Vec<usize>>, init: Init) -> Self {
        Self { role, shape: shape.into(), init, learned: true }
    }

    /// A buffer: part of the state, but not learned.
    pub(crate) fn buffer(role: &'static str, shape: impl Into<Vec<usize>>, init: Init) -> Self {
        Self { role, shape: shape.into(), init, learned: false }
    }

    /// The weight (first dimension: outputs; the product of the others is fan_in) and, if there is one, its bias.
    pub(crate) fn weight_bias(
        shape: impl Into<Vec<usize>>,
        bias: bool,
    ) -> Result<Vec<Self>, ShapeError> {
        let shape = shape.into();
        volume(&shape)?;
        let init = Init::pytorch(shape[1..].iter().product());
        let outputs = shape[0];
        let mut params = vec![Self::learned("weight", shape, init.clone())];
        if bias {
            params.push(Self::learned("bias", [outputs], init));
        }
        Ok(params)
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}
