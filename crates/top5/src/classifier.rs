//! From images to classes: a model on the CPU engine.

use std::collections::BTreeSet;
use std::sync::Arc;

use top5_cpu::Options;
use top5_data::{Image, Preprocess};
use top5_eval::metric;
use top5_graph::{Device, EngineError, Graph, Network, Retain, Session, SessionOptions};

use crate::finite::Finite;
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

/// A model, ready to say what images show. Each thread has one of its own; those of one model share its weights.
pub struct Classifier {
    network: Arc<dyn Network>,
    session: Finite,
    batch: usize,
    classes: Arc<[String]>,
    preprocess: Preprocess,
}

impl Classifier {
    /// Plans the network for up to `batch` images at once (at least one). Fails when the plan needs more memory than it may have,
    /// and where the machine lacks what the options ask for.
    pub fn new(model: Model, batch: usize, options: &Options) -> Result<Self, EngineError> {
        Self::on(&crate::device(options)?, model, batch)
    }

    /// As [`Classifier::new`], on a device that others may use too.
    pub fn on(device: &dyn Device, model: Model, batch: usize) -> Result<Self, EngineError> {
        Self::retaining(device, model, batch, Retain::Nothing)
    }

    /// As [`Classifier::on`]; its [`Classifier::network`] makes other sessions too where it retains the tensors.
    pub fn retaining(
        device: &dyn Device,
        model: Model,
        batch: usize,
        retain: Retain,
    ) -> Result<Self, EngineError> {
        let Model { graph, weights, classes, preprocess } = model;
        let batch = batch.max(1);
        let graph = graph.inference();
        let needed: BTreeSet<String> = graph.params().map(|(name, _)| name).collect();
        let weights = weights.into_iter().filter(|(name, _)| needed.contains(name)).collect();
        let network = device.network(&graph, weights, retain)?;
        let session = Finite::new(network.session(&graph, &SessionOptions::inference(batch))?);
        Ok(Self { network, session, batch, classes: classes.into(), preprocess })
    }

    /// Another one for another thread, with the same weights in memory.
    pub fn share(&self) -> Result<Self, EngineError> {
        let network = Arc::clone(&self.network);
        let session = network.session(network.graph(), &SessionOptions::inference(self.batch))?;
        let session = Finite::new(session);
        let (classes, preprocess) = (Arc::clone(&self.classes), self.preprocess.clone());
        Ok(Self { network, session, batch: self.batch, classes, preprocess })
    }

    /// The network with its weights.
    pub fn network(&self) -> &Arc<dyn Network> {
        &self.network
    }

    /// The network that it runs.
    pub fn graph(&self) -> &Graph {
        self.session.graph()
    }

    /// How an image of any size becomes the network's input.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// The prepared image of the last answer that was infinite or no number; see [`Finite::culprit`].
    pub fn culprit(&self) -> &[f32] {
        self.session.culprit()
    }

    /// The `top` most probable classes, most probable first; of equally probable ones, the one with the smaller label.
    pub fn predict(&mut self, image: &Image, top: usize) -> Result<Vec<Prediction>, EngineError> {
        Ok(self.predict_batch(&[image], top)?.remove(0))
    }

    /// [`Classifier::predict`] for each of any number of images, as many at once as were planned for. No image's answer depends
    /// on the others. Fails where one is infinite or no number: [`trace`](crate::trace) then says why.
    pub fn predict_batch(
        &mut self,
        images: &[&Image],
        top: usize,
    ) -> Result<Vec<Vec<Prediction>>, EngineError> {
        let size = self.preprocess.size();
        let mut predictions = Vec::with_capacity(images.len());
        for images in images.chunks(self.batch) {
            let mut input = vec![0.0; images.len() * size];
            for (image, input) in images.iter().zip(input.chunks_exact_mut(size)) {
                self.preprocess.apply(image, input);
            }
            let logits = self.logits(&input)?;
            let logits = logits.chunks_exact(self.classes.len());
            predictions.extend(logits.map(|logits| best(logits, &self.classes, top)));
        }
        Ok(predictions)
    }

    /// The name of each class.
    pub fn classes(&self) -> &Arc<[String]> {
        &self.classes
    }

    /// The logits, [images, classes], of images that [`Classifier::preprocess`] has prepared: as many as were planned for, or
    /// fewer. [`best`] says what they mean.
    pub fn logits(&mut self, input: &[f32]) -> Result<Vec<f32>, EngineError> {
        Ok(self.session.forward(input)?.logits.into_data())
    }
}

/// The probability of each class: the softmax of one image's logits.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    metric::softmax(logits).into_iter().map(|probability| probability as f32).collect()
}

/// The `top` most probable classes of one image, whose logits and names are given: as [`Classifier::predict`] has them.
pub fn best(logits: &[f32], classes: &[String], top: usize) -> Vec<Prediction> {
    let probabilities = softmax(logits);
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let prediction = |label: usize| Prediction {
        label: label as u32,
        class: classes[label].clone(),
        probability: probabilities[label],
    };
    order.into_iter().take(top).map(prediction).collect()
}

/// The class of this name, or of this number where none is called so: digits are called after numbers.
pub fn class_named(classes: &[String], said: &str) -> Option<usize> {
    let numbered = || said.parse().ok().filter(|&number| number < classes.len());
    classes.iter().position(|class| class == said).or_else(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_classified_alike_alone_and_together() {
        let model = Model::lenet_digits().unwrap();
        let test = top5_data::digits().test.unwrap();
        let images: Vec<Image> = (0..7).map(|index| test.sample(index).unwrap().image).collect();
        let images: Vec<&Image> = images.iter().collect();
        let mut one = Classifier::new(model.clone(), 1, &Options::default()).unwrap();
        let mut three = Classifier::new(model, 3, &Options::default()).unwrap();
        let together = three.predict_batch(&images, 2).unwrap();
        let labels = |predictions: &[Prediction]| -> Vec<u32> {
            predictions.iter().map(|prediction| prediction.label).collect()
        };
        assert_eq!(together.len(), images.len());
        for (image, together) in images.into_iter().zip(together) {
            let alone = one.predict(image, 2).unwrap();
            assert_eq!(labels(&alone), labels(&together));
            assert!((alone[0].probability - together[0].probability).abs() < 1e-5);
        }
        assert!(three.predict_batch(&[], 2).unwrap().is_empty());
    }
}
