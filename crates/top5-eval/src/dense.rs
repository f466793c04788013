//! Dense evaluation: the network slides over the whole image.
//!
//! The fully connected layers become convolutions ([`Graph::dense`]), so that a larger image gives a map of logits. The
//! map is pooled to one row of logits, the softmax of which is averaged over scales and mirror images.
//!
//! - VGG (Simonyan & Zisserman, ICLR 2015, section 3.2): the mean over the map
//! - OverFeat (Sermanet et al., ICLR 2014, section 3.3): the maximum over the map. Here at the network's own stride: its
//!   finer map from nine offsets of the last pooling is not made.
//! - ResNet (He et al., CVPR 2016, section 3.4): the average pooling before the classifier already is over the whole map;
//!   five scales

use serde::{Deserialize, Serialize};
use top5_data::{CropMode, Image, Preprocess};
use top5_graph::{Graph, Network, Session, SessionOptions, Tensor};

use crate::crops::{View, scale};
use crate::evaluate::EvaluationError;
use crate::metric::softmax;

/// How a map of logits becomes one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The mean over the map.
    Mean,
    /// The greatest value over the map, for each class.
    Max,
}

/// A protocol of dense evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    /// What the shorter side of the image is scaled to, for each scale.
    pub shorter: Vec<usize>,
    /// How maps are pooled.
    pub pool: Pool,
    /// Whether the mirror image is evaluated too.
    pub flip: bool,
}

/// A network that slides over images of any size. A session is made for a size and kept until another size comes; all share
/// the network's weights.
pub struct DenseNetwork<'a> {
    network: &'a dyn Network,
    /// Without auxiliary heads.
    graph: Graph,
    session: Option<Box<dyn Session>>,
}

impl<'a> DenseNetwork<'a> {
    /// The dense form of a network, which must have been made with [`Retain::Tensors`](top5_graph::Retain::Tensors): each
    /// size may need its weights in another form.
    pub fn new(network: &'a dyn Network) -> Self {
        Self { network, graph: network.graph().inference(), session: None }
    }

    /// The map of logits for an image in network form, order C H W: [1, classes, rows, columns], or [1, classes].
    pub fn map(&mut self, image: &[f32], input: [usize; 3]) -> Result<Tensor, EvaluationError> {
        let session = match self.session.take() {
            Some(session) if session.graph().input() == input => session,
            Some(_) | None => {
                self.network.session(&self.graph.dense(input)?, &SessionOptions::inference(1))?
            }
        };
        Ok(self.session.insert(session).forward(image)?.logits)
    }

    /// The probabilities of an image, by this protocol. Filter, channels and statistics are those of `preprocess`. An image
    /// whose scaled side is smaller than the network's input is stretched to it.
    pub fn probabilities(
        &mut self,
        image: &Image,
        protocol: &Dense,
        preprocess: &Preprocess,
    ) -> Result<Vec<f64>, EvaluationError> {
        let [channels, least_height, least_width] = self.graph.input();
        let mut rows = Vec::new();
        for &shorter in &protocol.shorter {
            let [height, width] = scale([image.height, image.width], shorter);
            let (height, width) = (height.max(least_height), width.max(least_width));
            let preprocess = Preprocess {
                input_size: [channels, height, width],
                crop_mode: CropMode::Squash,
                crop_pct: 1.0,
                drawn_digits: false,
                ..preprocess.clone()
            };
            let size = [height, width];
            for flip in [false, true].into_iter().take(1 + usize::from(protocol.flip)) {
                let view = View { scaled: size, top: 0, left: 0, window: size, flip };
                let mut input = vec![0.0; preprocess.size()];
                view.apply(image, &preprocess, &mut input);
                let map = self.map(&input, [channels, height, width])?;
                rows.push(softmax(&pool(&map, protocol.pool)));
            }
        }
        Ok(mean(&rows))
    }
}

/// One row of logits of a map `[1, classes, …]`.
pub fn pool(map: &Tensor, how: Pool) -> Vec<f32> {
    let classes = map.shape().get(1).copied().unwrap_or(0).max(1);
    let cells = (map.data().len() / classes).max(1);
    let pooled = |cells: &[f32]| match how {
        Pool::Mean => {
            let sum: f64 = cells.iter().map(|&logit| f64::from(logit)).sum();
            (sum / cells.len() as f64) as f32
        }
        // A NaN stays.
        Pool::Max => cells
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, |a, b| if a >= b || a.is_nan() { a } else { b }),
    };
    map.data().chunks_exact(cells).map(pooled).collect()
}

/// The mean of some rows of equal length.
fn mean(rows: &[Vec<f64>]) -> Vec<f64> {
    let mut mean = vec![0.0; rows.first().map_or(0, Vec::len)];
    for row in rows {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value);
    }
    mean.iter_mut().for_each(|mean| *mean /= rows.len() as f64);
    mean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_pooled_by_class() {
        let map = Tensor::new([1, 2, 1, 3], vec![1.0, 2.0, 6.0, -1.0, -5.0, 0.0]).unwrap();
        assert_eq!(pool(&map, Pool::Mean), [3.0, -2.0]);
        assert_eq!(pool(&map, Pool::Max), [6.0, 0.0]);
        let row = Tensor::new([1, 3], vec![1.0, 2.0, 3.0]).unwrap();
        assert_eq!(pool(&row, Pool::Max), [1.0, 2.0, 3.0]);
        for cells in [[f32::NAN, 1.0], [1.0, f32::NAN]] {
            let map = Tensor::new([1, 1, 1, 2], cells.to_vec()).unwrap();
            assert!(pool(&map, Pool::Max)[0].is_nan() && pool(&map, Pool::Mean)[0].is_nan());
        }
    }
}
