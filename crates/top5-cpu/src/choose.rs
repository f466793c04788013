//! Which convolution kernel runs where: the tables of `top5-kernels` are asked, after what was measured.

use crate::purpose::Mode;
use crate::tuning::{LayerShape, Tuning};
use top5_kernels::conv::{
    Algorithm, ConvGeom, Convolution, Forward, InputGradient, Problem, WeightGradient,
};
use top5_kernels::table::{self, Allowed, Choice};
use top5_kernels::{Isa, Precision};

/// What plans are made for.
#[derive(Clone, Debug)]
pub(crate) struct Machinery {
    pub(crate) isa: Isa,
    pub(crate) threads: usize,
    /// Most images at once.
    pub(crate) batch: usize,
    /// Direct convolution only.
    pub(crate) exact: bool,
    /// No weights are kept in a form that is much larger.
    pub(crate) compact: bool,
    /// What products may be of.
    pub(crate) precision: Precision,
    /// Choices that go before ours in inference, which transforms its weights beforehand.
    pub(crate) tuning: Tuning,
    /// Training keeps activations in f32, and changes weights from run to run.
    pub(crate) mode: Mode,
}

impl Machinery {
    /// The same for plans of this mode and batch.
    pub(crate) fn for_plan(&self, batch: usize, mode: Mode) -> Self {
        Self { batch: batch.max(1), mode, ..self.clone() }
    }

    /// Whether products may be of bf16.
    pub(crate) fn in_bf16(&self) -> bool {
        self.precision == Precision::Bf16
    }

    /// The kernel for a convolution. It transforms its weights in each pass while they change, or where they would become too
    /// large.
    pub(crate) fn forward(&self, geom: &ConvGeom) -> Choice<dyn Forward> {
        let choice = self.choose(&table::FORWARD, geom, self.mode == Mode::Training);
        let kernel = &choice.kernel;
        let inflates = kernel.packs() && kernel.packed_len() > 2 * geom.packed_len();
        let keeps = !(self.compact && inflates) || self.in_bf16();
        if keeps {
            return choice;
        }
        // The same kernel, as in training.
        let kernel = self.choose_known(&table::FORWARD, geom, true, Some(kernel.name())).kernel;
        Choice { kernel, ..choice }
    }

    /// The kernel for a loop nest of the gradient of a convolution's input.
    pub(crate) fn input_gradient(&self, geom: &ConvGeom) -> Choice<dyn InputGradient> {
        self.choose(&table::INPUT_GRADIENT, geom, true)
    }

    /// The kernel for the gradient of the weights of a convolution.
    pub(crate) fn weight_gradient(&self, geom: &ConvGeom) -> Choice<dyn WeightGradient> {
        self.choose(&table::WEIGHT_GRADIENT, geom, true)
    }

    fn choose<K: Convolution + ?Sized>(
        &self,
        table: &[Algorithm<K>],
        geom: &ConvGeom,
        training: bool,
    ) -> Choice<K> {
        let tuned = self.tuning.kernel(&LayerShape::new(geom, self.batch));
        let tuned = tuned.filter(|_| self.mode == Mode::Inference);
        self.choose_known(table, geom, training, tuned)
    }

    /// The kernel with this name, if there is one for the loop nest, and else that which costs least. `training`: weights stay
    /// as they are, as in training and backward passes.
    fn choose_known<K: Convolution + ?Sized>(
        &self,
        table: &[Algorithm<K>],
        geom: &ConvGeom,
        training: bool,
        known: Option<&str>,
    ) -> Choice<K> {
        let problem = Problem::new(geom.clone(), self.batch, training);
        let problem = problem.expect("the options allow no batch that is larger than any memory");
        let &Self { isa, precision, exact, .. } = self;
        table::choose(table, &Allowed { isa, precision, exact }, &problem, known)
    }
}
