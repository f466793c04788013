//! From images to classes: a model on the CPU engine.

use anyhow::Result;
use top5_cpu::{CpuEngine, Options};
use top5_data::Image;
use top5_graph::Engine;

use crate::model::Model;

/// A class and how probable it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Index of the class.
    pub label: u32,
    /// Name of the class.
    pub class: String,
    /// Its probability, the softmax of the logits.
    pub probability: f32,
}

/// A model, ready to say what images show.
pub struct Classifier {
    engine: CpuEngine,
    classes: Vec<String>,
    preprocess: top5_data::Preprocess,
}

impl Classifier {
    /// Plans the network for one image at a time. Fails when the plan needs more memory than it may have.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        let mut engine = crate::engine(model.graph.clone(), 1, options)?;
        engine.load(&model.weights)?;
        let (classes, preprocess) = (model.classes.clone(), model.preprocess.clone());
        Ok(Self { engine, classes, preprocess })
    }

    /// The `top` most probable classes, most probable first; of equally probable ones, the one with the smaller label.
    pub fn predict(&mut self, image: &Image, top: usize) -> Result<Vec<Prediction>> {
        let mut input = vec![0.0; self.preprocess.size()];
        self.preprocess.apply(image, &mut input);
        let logits = self.engine.forward(&input, &[])?.logits.into_data();
        let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exponentials: Vec<f32> = logits.iter().map(|logit| (logit - greatest).exp()).collect();
        let sum: f32 = exponentials.iter().sum();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let prediction = |label: usize| Prediction {
            label: label as u32,
            class: self.classes[label].clone(),
            probability: exponentials[label] / sum,
        };
        Ok(order.into_iter().take(top).map(prediction).collect())
    }
}
