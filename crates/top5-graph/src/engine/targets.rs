//! What the loss compares a network's scores with.

use super::EngineError;
use crate::graph::Graph;

/// How far the sum of a row of a distribution may be from one.
const TOLERANCE: f64 = 1e-4;

/// A target for each image of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Targets<'a> {
    /// The index of its class.
    Classes(&'a [u32]),
    /// A distribution over the classes: `[n, classes]`, rows that sum to one. Mixed images and distilled labels are
    /// such.
    Distributions(&'a [f32]),
}

impl Targets<'_> {
    /// Fails unless there is one valid target for each of `images` images and every output of the network.
    pub fn check(&self, images: usize, graph: &Graph) -> Result<(), EngineError> {
        match *self {
            Self::Classes(labels) => check_labels(labels, images, graph),
            Self::Distributions(values) => check_distributions(values, images, graph),
        }
    }

    /// The share of class `class` in the target of image `image`, before any smoothing.
    pub fn share(&self, image: usize, class: usize, classes: usize) -> f32 {
        match self {
            Self::Classes(labels) => f32::from(u8::from(labels[image] as usize == class)),
            Self::Distributions(values) => values[image * classes + class],
        }
    }
}

fn check_labels(labels: &[u32], images: usize, graph: &Graph) -> Result<(), EngineError> {
    if labels.len() != images {
        return Err(EngineError::Labels { expected: images, got: labels.len() });
    }
    let outputs = graph.outputs().iter().map(|output| graph.node(output.node));
    let classes = outputs.map(|node| node.shape().channels()).min().unwrap_or(0);
    match labels.iter().position(|&label| label as usize >= classes) {
        Some(index) => Err(EngineError::Label { index, label: labels[index], classes }),
        None => Ok(()),
    }
}

fn check_distributions(values: &[f32], images: usize, graph: &Graph) -> Result<(), EngineError> {
    let (classes, got) = (graph.classes(), values.len());
    let mut outputs = graph.outputs().iter().map(|output| graph.node(output.node));
    if let Some(node) = outputs.find(|node| node.shape().channels() != classes) {
        let why = format!("a distribution is over {classes} classes, and it has other ones");
        return Err(EngineError::Unsupported { node: node.name.clone(), why });
    }
    if images.checked_mul(classes) != Some(got) {
        return Err(EngineError::Distributions { images, classes, got });
    }
    for (index, row) in values.chunks_exact(classes).enumerate() {
        // A share that is negative or no number spoils the sum.
        let share = |&v: &f32| if v >= 0.0 { f64::from(v) } else { f64::NAN };
        let sum: f64 = row.iter().map(share).sum();
        let whole = (sum - 1.0).abs() <= TOLERANCE;
        if !whole {
            return Err(EngineError::Distribution { index, sum });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net;

    fn graph(classes: usize) -> Graph {
        net("scores", [2, 1, 1], |x| x.flatten().linear(classes)).unwrap()
    }

    #[test]
    fn distributions_must_be_distributions() {
        let good = [0.25, 0.75, 1.0, 0.0];
        assert_eq!(Targets::Distributions(&good).check(2, &graph(2)), Ok(()));
        let count = Targets::Distributions(&good).check(3, &graph(2));
        assert_eq!(count, Err(EngineError::Distributions { images: 3, classes: 2, got: 4 }));
        for second in [[0.5, 0.6], [1.5, -0.5], [f32::NAN, 1.0], [f32::INFINITY, 0.0]] {
            let values = [0.5, 0.5, second[0], second[1]];
            let wrong = Targets::Distributions(&values).check(2, &graph(2));
            assert!(matches!(wrong, Err(EngineError::Distribution { index: 1, .. })), "{second:?}");
        }
    }

    #[test]
    fn labels_must_be_classes() {
        assert_eq!(Targets::Classes(&[0, 2]).check(2, &graph(3)), Ok(()));
        let count = Targets::Classes(&[0]).check(2, &graph(3));
        assert_eq!(count, Err(EngineError::Labels { expected: 2, got: 1 }));
        let label = Targets::Classes(&[0, 3]).check(2, &graph(3));
        assert_eq!(label, Err(EngineError::Label { index: 1, label: 3, classes: 3 }));
    }

    #[test]
    fn both_kinds_say_the_same() {
        let (classes, shares) = (Targets::Classes(&[1]), Targets::Distributions(&[0.0, 1.0, 0.0]));
        for class in 0..3 {
            assert_eq!(classes.share(0, class, 3), shares.share(0, class, 3));
        }
    }
}
