//! ZFNet's renormalisation of filters (Zeiler & Fergus, arXiv:1311.2901, section 3.1): "each filter in the convolutional layers
//! whose RMS value exceeds a fixed radius" is scaled to that radius, so that no few of them dominate.

use top5_graph::{EngineError, Family, Training};

use crate::fine_tune::FineTuning;

/// Scales the filters of convolutions whose root mean square exceeds `most` to it; frozen ones stay. The average of the weights,
/// where there is one, takes part of it from the next step on.
pub(crate) fn renormalise(
    training: &mut dyn Training,
    tuning: &FineTuning,
    most: f64,
) -> Result<(), EngineError> {
    let nodes = training.graph().nodes().iter();
    let convolutions = nodes.filter(|node| node.spec.family == Family::Convolution);
    let params = convolutions.flat_map(|node| node.spec.params.iter().map(move |of| (node, of)));
    let weights = params.filter(|(_, param)| param.learned && param.shape.len() > 1);
    let names = weights.map(|(node, param)| node.param_name(param));
    let names: Vec<String> = names.filter(|name| !tuning.is_frozen(name)).collect();
    let (mut weights, mut changed) = (training.weights(), false);
    for name in &names {
        let Some(tensor) = weights.tensor_mut(name) else { continue };
        let elements: usize = tensor.shape()[1..].iter().product();
        for filter in tensor.data_mut().chunks_exact_mut(elements.max(1)) {
            let squares: f64 = filter.iter().map(|&value| f64::from(value).powi(2)).sum();
            let rms = (squares / filter.len() as f64).sqrt();
            if rms > most {
                let factor = (most / rms) as f32;
                filter.iter_mut().for_each(|value| *value *= factor);
                changed = true;
            }
        }
    }
    if changed {
        // Loading begins the optimiser anew.
        let state = training.state();
        training.load(&weights)?;
        training.load_state(&state)?;
    }
    Ok(())
}
