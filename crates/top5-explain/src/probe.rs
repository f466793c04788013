//! Layer probes: how well a linear classifier does on what a layer sees (Zeiler & Fergus, arXiv 1311.2901v1, table 7, whose
//! classifiers are SVMs on Caltech-101 and -256; ours is a softmax regression).
//!
//! Activations are pooled to a stated size, so that memory is bounded, and standardised with the training part's mean and
//! deviation. The classifier is a convex problem with one solution; no number is drawn.

mod regression;

use serde::Serialize;
use top5_graph::{Graph, Node, NodeId, Shape};

pub use regression::{Fitted, Regression, fit, memory};

/// Table 7 of ZFNet's first version: the layer, and the accuracies of an SVM on it, in percent, on Caltech-101 (30 images
/// per class) and Caltech-256 (60 per class). The network of that version is not the one of the others.
pub const ZFNET_TABLE_7: [(u32, f64, f64); 6] = [
    (1, 44.8, 24.6),
    (2, 66.2, 39.6),
    (3, 72.3, 46.0),
    (4, 76.6, 51.3),
    (5, 86.2, 65.6),
    (7, 85.5, 71.7),
];

/// The layers that show how a network proceeds: of those through which everything goes, the last of each size of maps or
/// number of features. The image itself comes first, the logits last.
pub fn layers(graph: &Graph) -> Vec<NodeId> {
    // Up to which node something from before is still read.
    let mut last_use: Vec<usize> = (0..graph.nodes().len()).collect();
    for node in graph.nodes() {
        for input in &node.inputs {
            last_use[input.index()] = last_use[input.index()].max(node.id.index());
        }
    }
    let mut open = 0;
    let mut found: Vec<&Node> = Vec::new();
    for node in graph.nodes() {
        // All that was made before is read by this node at the latest.
        let alone = open <= node.id.index();
        open = open.max(last_use[node.id.index()]);
        if !alone || graph.logits().id < node.id {
            continue;
        }
        let Some(before) = found.last().filter(|before| !before.inputs.is_empty()) else {
            found.push(node);
            continue;
        };
        match (before.shape(), node.shape()) {
            (Shape::Map([_, h, w]), Shape::Map([_, y, x])) if [h, w] == [y, x] => {
                found.pop();
                found.push(node);
            }
            (Shape::Flat(before), Shape::Flat(now)) if before == now => {
                found.pop();
                found.push(node);
            }
            // What only rearranges a map is no layer of its own.
            (Shape::Map([c, h, w]), Shape::Flat(now)) if c * h * w == now => {}
            (Shape::Map(_) | Shape::Flat(_), Shape::Map(_) | Shape::Flat(_)) => found.push(node),
        }
    }
    found.into_iter().map(|node| node.id).collect()
}

/// How a layer's activation becomes features.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pooling {
    /// Channels.
    pub channels: usize,
    /// Height and width of a map; of a vector 1 × 1.
    pub map: [usize; 2],
    /// Height and width after pooling: means over windows as PyTorch's adaptive pooling has them.
    pub to: [usize; 2],
}

impl Pooling {
    /// The least pooling that leaves at most `most` features; of each map one value at least is left, and vectors stay as they
    /// are.
    pub fn of(shape: Shape, most: usize) -> Self {
        let (channels, map) = match shape {
            Shape::Map([c, h, w]) => (c, [h, w]),
            Shape::Flat(n) => (n, [1, 1]),
        };
        let mut to = map;
        while channels * to[0] * to[1] > most && to != [1, 1] {
            let longer = usize::from(to[1] > to[0]);
            to[longer] -= 1;
        }
        Self { channels, map, to }
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.channels * self.to[0] * self.to[1]
    }

    /// Appends the features of one sample's activation, `[channels, height, width]`.
    pub fn pool(&self, activation: &[f32], features: &mut Vec<f32>) {
        let [height, width] = self.map;
        let window =
            |i: usize, size: usize, to: usize| i * size / to..((i + 1) * size).div_ceil(to);
        for map in activation.chunks_exact(height * width) {
            for row in 0..self.to[0] {
                for column in 0..self.to[1] {
                    let (rows, columns) =
                        (window(row, height, self.to[0]), window(column, width, self.to[1]));
                    let count = rows.len() * columns.len();
                    let sum: f64 = rows
                        .map(|y| &map[y * width..][columns.clone()])
                        .flat_map(|values| values.iter().map(|&value| f64::from(value)))
                        .sum();
                    features.push((sum / count as f64) as f32);
                }
            }
        }
    }
}

/// Moves features to mean 0 and deviation 1, as the training part has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Standard {
    mean: Vec<f64>,
    factor: Vec<f64>,
}

impl Standard {
    /// The means and deviations of `[n, width]` features. What does not vary becomes 0.
    pub fn of(features: &[f32], width: usize) -> Self {
        let rows = || features.chunks_exact(width);
        let count = rows().len().max(1) as f64;
        let mut mean = vec![0.0; width];
        rows().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x)));
        mean.iter_mut().for_each(|m| *m /= count);
        let mut square = vec![0.0; width];
        for row in rows() {
            let values = square.iter_mut().zip(row).zip(&mean);
            values.for_each(|((square, &x), mean)| *square += (f64::from(x) - mean).powi(2));
        }
        let factor = |(square, mean): (&f64, &f64)| {
            let deviation = (square / count).sqrt();
            // Less than rounding leaves is no variation.
            if deviation > 1e-6 * mean.abs().max(1e-30) { 1.0 / deviation } else { 0.0 }
        };
        let factor = square.iter().zip(&mean).map(factor).collect();
        Self { mean, factor }
    }

    /// Standardises `[n, width]` features in place.
    pub fn apply(&self, features: &mut [f32]) {
        for row in features.chunks_exact_mut(self.mean.len()) {
            for ((x, mean), factor) in row.iter_mut().zip(&self.mean).zip(&self.factor) {
                *x = ((f64::from(*x) - mean) * factor) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use top5_graph::{k, net};

    #[test]
    fn layers_are_those_that_everything_goes_through() {
        let graph = net("n", [3, 8, 8], |x| {
            let x = x.conv(4, k(3).pad(1)).relu();
            let y = x.conv(4, k(3).pad(1));
            let x = top5_graph::sum([x, y]).relu().max_pool(k(2).stride(2));
            x.flatten().linear(6).relu().linear(2)
        })
        .unwrap();
        let found = layers(&graph);
        let names: Vec<&str> = found.iter().map(|&id| graph.node(id).spec.stem).collect();
        let shapes: Vec<Shape> = found.iter().map(|&id| graph.node(id).shape()).collect();
        assert_eq!(found.len(), 5, "{names:?} {shapes:?}");
        assert_eq!(found[0].index(), 0);
        assert_eq!(shapes[1], Shape::Map([4, 8, 8]));
        // The sum after the branch, and not what goes into it.
        assert_eq!(names[1], "relu");
        assert!(found[1].index() > 3, "{found:?}");
        assert_eq!(shapes[2], Shape::Map([4, 4, 4]));
        assert_eq!((shapes[3], names[3]), (Shape::Flat(6), "relu"));
        assert_eq!(found[4], graph.logits().id);
    }

    #[test]
    fn pooling_takes_means_and_keeps_the_bound() {
        let pooling = Pooling::of(Shape::Map([2, 4, 6]), 12);
        assert_eq!((pooling.to, pooling.features()), ([2, 3], 12));
        let mut features = Vec::new();
        let activation: Vec<f32> = (0..48).map(|i| i as f32).collect();
        pooling.pool(&activation, &mut features);
        assert_eq!(features[..3], [3.5, 5.5, 7.5]);
        assert_eq!(features.len(), 12);
        let odd = Pooling { channels: 1, map: [3, 3], to: [2, 2] };
        let mut features = Vec::new();
        odd.pool(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], &mut features);
        assert_eq!(features, [2.0, 3.0, 5.0, 6.0]); // overlapping windows, as PyTorch's
        assert_eq!(Pooling::of(Shape::Flat(4096), 10).features(), 4096);
        assert_eq!(Pooling::of(Shape::Map([20, 5, 5]), 10).to, [1, 1]);
    }

    #[test]
    fn standardised_features_have_mean_0_and_deviation_1() {
        let train = [1.0, 5.0, 3.0, 5.0];
        let standard = Standard::of(&train, 2);
        let mut values = [1.0, 5.0, 3.0, 5.0, 5.0, 7.0];
        standard.apply(&mut values);
        assert_eq!(values, [-1.0, 0.0, 1.0, 0.0, 3.0, 0.0]);
    }
}
