//! Dense evaluation: the network slides over the whole image.
//!
//! The fully connected layers become convolutions ([`Graph::dense_form`](top5_graph::Graph::dense_form)), so that a larger image
//! gives a map of logits, which is pooled to one row.
//!
//! - VGG (Simonyan & Zisserman, ICLR 2015, section 3.2): the mean over the map
//! - OverFeat (Sermanet et al., ICLR 2014, section 3.3): the last pooling at every offset, the maximum over the map
//! - ResNet (He et al., CVPR 2016, section 3.4): the average pooling before the classifier is over the whole map; five
//!   scales

use serde::{Deserialize, Serialize};
use top5_graph::DenseForm;

use crate::metric::softmax;
use crate::view::{Place, View, cover, offset};

/// Longest side of a scaled image; of a longer one, the middle is taken.
pub const LONGEST: usize = 4096;

/// How a map of logits becomes one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The mean over the map.
    #[default]
    Mean,
    /// The greatest value over the map, for each class.
    Max,
}

/// Where the softmax is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SoftmaxAt {
    /// Of the row that a map was pooled to.
    #[default]
    Row,
    /// At every place of the map, before it is pooled.
    Place,
}

/// What the whole image is scaled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the shorter side, or height and width as [245, 281]")]
pub enum Scale {
    /// The shorter side; the proportions are kept.
    Shorter(usize),
    /// The centre of this height and width of an image that is just large enough; of a portrait, this width and height.
    Window([usize; 2]),
}

/// A way to evaluate whole images. A scaled image that would be smaller than the network's input is scaled until it holds it,
/// with its proportions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dense {
    /// The scales.
    pub scales: Vec<Scale>,
    /// Whether the mirror image is evaluated too.
    #[serde(default)]
    pub flip: bool,
    /// How maps are pooled.
    #[serde(default)]
    pub pool: Pool,
    /// Where the softmax is taken.
    #[serde(default)]
    pub softmax: SoftmaxAt,
    /// Whether a mean over the whole last map is replaced by means over windows (see [`DenseForm::windows`]).
    #[serde(default)]
    pub windows: bool,
    /// Whether the last pooling is made at every offset (see [`DenseForm::every_offset`]).
    #[serde(default)]
    pub every_offset: bool,
}

impl Dense {
    /// The mean over the map, at these shorter sides.
    pub fn mean(shorter: &[usize], flip: bool) -> Self {
        Self {
            scales: shorter.iter().copied().map(Scale::Shorter).collect(),
            flip,
            pool: Pool::Mean,
            softmax: SoftmaxAt::Row,
            windows: false,
            every_offset: false,
        }
    }

    /// The form of the network that it needs.
    pub fn form(&self) -> DenseForm {
        DenseForm { windows: self.windows, every_offset: self.every_offset }
    }

    /// Number of views of one image.
    pub fn count(&self) -> usize {
        self.scales.len() * self.of_a_scale()
    }

    /// Number of views at one scale.
    pub(crate) fn of_a_scale(&self) -> usize {
        1 + usize::from(self.flip)
    }

    /// The views of an image of `image` [height, width] for a network with an input of `input` [height, width]: at each scale
    /// the image, then its mirror image.
    pub fn views(&self, image: [usize; 2], input: [usize; 2]) -> Vec<View> {
        let both = |view: View| [view, view.mirrored()].into_iter().take(self.of_a_scale());
        self.scales.iter().map(|scale| scale.view(image, input)).flat_map(both).collect()
    }

    /// One row of scores of a map: `classes` maps of equal size, one after the other.
    pub(crate) fn row(&self, map: &[f32], classes: usize) -> Vec<f32> {
        match self.softmax {
            SoftmaxAt::Row => pool(map, classes, self.pool),
            SoftmaxAt::Place => {
                let places = (map.len() / classes.max(1)).max(1);
                let mut probabilities = vec![0.0; map.len()];
                for place in 0..places {
                    let logits: Vec<f32> =
                        map.iter().skip(place).step_by(places).copied().collect();
                    let at = probabilities.iter_mut().skip(place).step_by(places);
                    at.zip(softmax(&logits)).for_each(|(to, from)| *to = from as f32);
                }
                pool(&probabilities, classes, self.pool)
            }
        }
    }
}

impl Scale {
    fn view(self, image: [usize; 2], input: [usize; 2]) -> View {
        let (scaled, window) = match self {
            Self::Shorter(shorter) => {
                let scaled = cover(image, shorter, input);
                (scaled, [0, 1].map(|axis| scaled[axis].min(LONGEST.max(input[axis]))))
            }
            Self::Window([height, width]) => {
                let portrait = image[0] > image[1];
                let window = if portrait { [width, height] } else { [height, width] };
                let window = [0, 1].map(|axis| window[axis].max(input[axis]));
                (cover(image, 1, window), window)
            }
        };
        let [top, left] = offset(scaled, window, Place::Centre);
        View { scaled, top, left, window, size: window, flip: false }
    }

    /// Its sides.
    pub(crate) fn sides(&self) -> &[usize] {
        match self {
            Self::Shorter(side) => std::slice::from_ref(side),
            Self::Window(sides) => sides,
        }
    }
}

/// One row of a map: `classes` maps of equal size, one after the other.
pub fn pool(map: &[f32], classes: usize, how: Pool) -> Vec<f32> {
    let cells = (map.len() / classes.max(1)).max(1);
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
    map.chunks_exact(cells).map(pooled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_pooled_by_class() {
        let map = [1.0, 2.0, 6.0, -1.0, -5.0, 0.0];
        assert_eq!(pool(&map, 2, Pool::Mean), [3.0, -2.0]);
        assert_eq!(pool(&map, 2, Pool::Max), [6.0, 0.0]);
        assert_eq!(pool(&[1.0, 2.0, 3.0], 3, Pool::Max), [1.0, 2.0, 3.0]);
        for cells in [[f32::NAN, 1.0], [1.0, f32::NAN]] {
            assert!(pool(&cells, 1, Pool::Max)[0].is_nan());
            assert!(pool(&cells, 1, Pool::Mean)[0].is_nan());
        }
    }

    #[test]
    fn softmax_may_come_before_the_pooling() {
        let dense = |softmax| Dense { pool: Pool::Max, softmax, ..Dense::mean(&[8], false) };
        // Two classes at two places: (ln 3, 0) and (0, 0).
        let map = [3f32.ln(), 0.0, 0.0, 0.0];
        assert_eq!(dense(SoftmaxAt::Row).row(&map, 2), [3f32.ln(), 0.0]);
        let row = dense(SoftmaxAt::Place).row(&map, 2);
        assert!((row[0] - 0.75).abs() < 1e-6 && (row[1] - 0.5).abs() < 1e-6, "{row:?}");
    }

    #[test]
    fn whole_image_is_scaled_with_its_proportions() {
        let dense = Dense::mean(&[256, 100], true);
        let views = dense.views([375, 500], [224, 224]);
        assert_eq!((views.len(), dense.count()), (4, 4));
        let sizes: Vec<_> = views.iter().map(|view| (view.scaled, view.size, view.flip)).collect();
        assert_eq!(
            sizes,
            [
                ([256, 341], [256, 341], false),
                ([256, 341], [256, 341], true),
                ([224, 298], [224, 298], false),
                ([224, 298], [224, 298], true)
            ]
        );
        let long = Dense::mean(&[256], false).views([10, 1000], [224, 224]);
        assert_eq!((long[0].scaled, long[0].size), ([256, 25_600], [256, LONGEST]));
        assert_eq!((long[0].top, long[0].left), (0, (25_600 - 4096) / 2));
    }

    #[test]
    fn window_is_the_centre_of_an_image_just_large_enough() {
        let scale = Scale::Window([281, 317]);
        let view = scale.view([375, 500], [221, 221]);
        assert_eq!((view.scaled, view.size, view.top), ([281, 374], [281, 317], 0));
        assert_eq!(view.left, 28);
        let view = scale.view([500, 375], [221, 221]);
        assert_eq!((view.scaled, view.size), ([374, 281], [317, 281]));
        let view = scale.view([300, 300], [221, 221]);
        assert_eq!((view.scaled, view.top, view.left), ([317, 317], 18, 0));
    }
}
