//! Figure 7 of Zeiler & Fergus: what a gray square at each place does to a layer, to the class's probability and to the
//! answer. Size and stride of the square are not stated in the paper.

use top5_eval::metric::softmax;
use top5_graph::{NodeId, Tensor};

use super::explainer::Explainer;
use super::perturb::Grid;
use super::{Method, Target};
use crate::error::ExplainError;
use crate::map::Map;
use crate::signal::Start;

/// The panels. Maps have one value per place of the square; [`Grid::spread`] lays them over the image.
#[derive(Clone, Debug, PartialEq)]
pub struct Panels {
    /// The places.
    pub grid: Grid,
    /// The map of the layer that is strongest in the whole image.
    pub channel: usize,
    /// (b) The sum of that map's activation.
    pub activation: Map,
    /// (c) DeconvNet's projection of that map's strongest activation in the whole image, `[1, c, h, w]`.
    pub projection: Tensor,
    /// (d) Probability of the class.
    pub probability: Map,
    /// The same of the whole image.
    pub whole: f32,
    /// (e) The most probable class at each place, in row-major order.
    pub labels: Vec<usize>,
}

/// The panels of an image, a class and a layer. `progress` gets the places that are done and their number; coarse places come
/// first.
pub fn figure7(
    explainer: &mut Explainer,
    image: &[f32],
    class: usize,
    layer: NodeId,
    [size, stride]: [usize; 2],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Panels, ExplainError> {
    Target::class(class).check(explainer.graph().classes())?;
    let [_, height, width] = explainer.graph().input();
    let grid = Grid::new([height, width], size, stride)?;
    let batch = explainer.batch();
    let mut session = explainer.session(explainer.graph(), vec![layer], batch)?;
    let channels = explainer.graph().node(layer).shape().channels();
    let sums = |activation: &[f32]| -> Vec<f64> {
        let maps = activation.chunks_exact(activation.len() / channels);
        maps.map(|map| map.iter().map(|&v| f64::from(v)).sum()).collect()
    };
    let whole = session.forward(image)?;
    let totals = sums(whole.kept[0].data());
    let channel = (0..channels).rev().max_by(|&a, &b| totals[a].total_cmp(&totals[b]));
    let channel = channel.expect("a layer has channels");
    let whole = softmax(whole.logits.data())[class] as f32;

    let (order, count) = (grid.order(), grid.count());
    let (mut activation, mut probability, mut labels) =
        (vec![0.0; count], vec![0.0; count], vec![0; count]);
    let mut images = Vec::new();
    let mut left = &order[..];
    while !left.is_empty() {
        let places;
        (places, left) = left.split_at(explainer.next(left.len()));
        images.resize(places.len() * image.len(), 0.0);
        for (out, &place) in images.chunks_exact_mut(image.len()).zip(places) {
            grid.hide(image, place, out);
        }
        let forward = session.forward(&images)?;
        let per = forward.kept[0].data().len() / places.len();
        let logits = forward.logits.data().chunks_exact(explainer.graph().classes());
        for ((&place, logits), kept) in
            places.iter().zip(logits).zip(forward.kept[0].data().chunks_exact(per))
        {
            activation[place] = sums(kept)[channel] as f32;
            probability[place] = softmax(logits)[class] as f32;
            labels[place] = crate::signal::strongest(logits).0;
        }
        progress(count - left.len(), count);
    }
    let start = Start::Strongest(channel);
    let projection = explainer.project(&Method::Deconvnet, layer, start, image)?;
    let [rows, columns] = grid.places;
    Ok(Panels {
        channel,
        activation: Map::new(activation, rows, columns, false)?,
        projection,
        probability: Map::new(probability, rows, columns, false)?,
        whole,
        labels,
        grid,
    })
}
