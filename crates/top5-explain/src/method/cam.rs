//! Methods that weight the maps of a layer by the score's derivative with respect to them.

use top5_graph::{NodeId, Rule, Tensor};

use super::explainer::Explainer;
use super::{Explanation, Target, gradients};
use crate::error::ExplainError;
use crate::map::Map;
use crate::signal::Path;

pub(super) fn grad_cam(
    explainer: &mut Explainer,
    image: &[f32],
    target: Target,
) -> Result<Explanation, ExplainError> {
    let weighted = |maps: &[f32], gradients: &[f32], plane: usize, sums: &mut [f64]| {
        let total: f64 = gradients.iter().map(|&g| f64::from(g)).sum();
        let weight = total / plane as f64;
        sums.iter_mut().zip(maps).for_each(|(sum, &map)| *sum += weight * f64::from(map));
    };
    weighted_maps(explainer, image, target, &weighted)
}

pub(super) fn hires_cam(
    explainer: &mut Explainer,
    image: &[f32],
    target: Target,
) -> Result<Explanation, ExplainError> {
    let weighted = |maps: &[f32], gradients: &[f32], _: usize, sums: &mut [f64]| {
        for ((sum, &map), &gradient) in sums.iter_mut().zip(maps).zip(gradients) {
            *sum += f64::from(gradient) * f64::from(map);
        }
    };
    weighted_maps(explainer, image, target, &weighted)
}

pub(super) fn guided_grad_cam(
    explainer: &mut Explainer,
    image: &[f32],
    target: Target,
) -> Result<Explanation, ExplainError> {
    let cam = grad_cam(explainer, image, target)?;
    let mut signal = gradients::signal(explainer, Rule::guided(), image, target)?;
    let plane = cam.map.values().len();
    for signal in signal.data_mut().chunks_exact_mut(plane) {
        // A contrast is signed; what speaks against the class is left out here as ReLU does in the paper.
        signal.iter_mut().zip(cam.map.values()).for_each(|(s, &cam)| *s *= cam.max(0.0));
    }
    let explanation = explainer.of_signal(signal, target.against.is_some())?;
    Ok(Explanation { cells: cam.cells, ..explanation })
}

/// Adds one map, weighted by its gradients, to the sums; the third argument is the number of its cells.
type Weighted = dyn Fn(&[f32], &[f32], usize, &mut [f64]);

/// Positive evidence only, as in the papers; of a contrast, both signs.
fn weighted_maps(
    explainer: &mut Explainer,
    image: &[f32],
    target: Target,
    weighted: &Weighted,
) -> Result<Explanation, ExplainError> {
    let (layer, field) = explainer.map_layer()?;
    let [_, height, width] = explainer.graph().input();
    let [h, w] = explainer.graph().node(layer).shape().size();
    let (maps, gradients) = maps_and_gradients(explainer, layer, image, target)?;
    let plane = h * w;
    let mut sums = vec![0.0f64; plane];
    for (maps, gradients) in
        maps.data().chunks_exact(plane).zip(gradients.data().chunks_exact(plane))
    {
        weighted(maps, gradients, plane, &mut sums);
    }
    let signed = target.against.is_some();
    // NaN stays, for the map to refuse.
    let value = |sum: f64| if !signed && sum < 0.0 { 0.0 } else { sum as f32 };
    let cells = Map::new(sums.into_iter().map(value).collect(), h, w, signed)?;
    let map = field.place(&cells, [height, width]);
    Ok(Explanation { map, signal: None, cells: Some(cells), notes: Vec::new() })
}

/// A layer's activation and the target's derivative with respect to it.
fn maps_and_gradients(
    explainer: &mut Explainer,
    layer: NodeId,
    image: &[f32],
    target: Target,
) -> Result<(Tensor, Tensor), ExplainError> {
    let graph = explainer.graph();
    let path = Path { from: graph.logits().id, to: vec![layer], rule: Rule::gradient() };
    let projector = explainer.projector(&path)?;
    let (_, mut kept) = projector.forward(image)?;
    let gradients = projector.backward(&[target.start()])?.remove(0);
    Ok((kept.remove(0), gradients))
}
