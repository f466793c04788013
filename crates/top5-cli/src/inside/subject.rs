//! What is looked at: layers and maps by name, a part of some data.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use top5::Model;
use top5::data::{Preprocess, Subset};
use top5::explain::zfnet::gallery::stages;
use top5::graph::random::{Stream, hash};
use top5::graph::{Family, Graph, NodeId};

use super::args::MapArgs;
use crate::eval::{DIGITS, DataChoice, Part, Split};
use crate::exit::Stop;
use crate::output::Output;

/// Maps that are drawn where nothing else is asked for.
const DRAWN: usize = 16;

/// The layers of these names; `default` of none. Fails where one is no map, if maps are needed.
pub(super) fn layers(
    graph: &Graph,
    names: &[String],
    maps: bool,
    default: impl FnOnce(&Graph) -> Vec<NodeId>,
) -> Result<Vec<NodeId>> {
    let of_name = |name: &String| -> Result<NodeId> {
        let listed = || format!("`top5 show {}` lists its layers", graph.name());
        let missing = || {
            let message = format!("{} has no layer {name:?}: {}", graph.name(), listed());
            Stop::BadInput(message)
        };
        let node = graph.find(name).ok_or_else(missing)?;
        if maps && node.shape().dims().len() != 3 || node.id.index() == 0 {
            let message = format!("{name} is no layer of maps: {}", listed());
            return Err(Stop::BadInput(message).into());
        }
        Ok(node.id)
    };
    let mut layers: Vec<NodeId> = match names {
        [] => default(graph),
        names => names.iter().map(of_name).collect::<Result<_>>()?,
    };
    // One that is named twice is looked at once: its pictures have one name.
    let mut seen = BTreeSet::new();
    layers.retain(|&layer| seen.insert(layer));
    if layers.is_empty() {
        let message =
            format!("{} has no layer that is looked at by default: give --layers", graph.name());
        return Err(Stop::BadInput(message).into());
    }
    Ok(layers)
}

/// The layers by whose last a class is told: the output of the first activation function and that of the last, as layers 1
/// and 7 of the paper.
pub(super) fn first_and_last(graph: &Graph) -> Vec<NodeId> {
    let activations = graph
        .nodes()
        .iter()
        .filter(|node| node.spec.family == Family::Activation && node.id != graph.logits().id);
    let all: Vec<NodeId> = activations.map(|node| node.id).collect();
    match all[..] {
        [first, .., last] => vec![first, last],
        _ => all,
    }
}

/// One layer for each size of map.
pub(super) fn of_each_size(graph: &Graph) -> Vec<NodeId> {
    stages(graph)
}

impl MapArgs {
    /// The maps of a layer that were asked for, ascending.
    pub(super) fn of(&self, graph: &Graph, layer: NodeId) -> Result<Vec<usize>> {
        let node = graph.node(layer);
        let count = node.shape().channels();
        if let Some(beyond) = self.maps.iter().find(|&&map| map >= count) {
            let (name, last) = (&node.name, count - 1);
            let message = format!("{name} has maps 0 to {last}, and no map {beyond}");
            return Err(Stop::BadInput(message).into());
        }
        let mut maps = match (self.all_maps, &self.maps[..]) {
            (true, _) => (0..count).collect(),
            (false, []) => {
                let stream = Stream::new(self.seed, hash("maps"));
                let mut drawn = stream.substream(layer.index() as u64).permutation(count);
                drawn.truncate(self.random.unwrap_or(DRAWN));
                drawn
            }
            (false, maps) => maps.to_vec(),
        };
        maps.sort_unstable();
        maps.dedup();
        Ok(maps)
    }
}

/// Images that are looked at, and how they are prepared.
pub(super) struct Images {
    pub(super) part: Part,
    /// How many, evenly spread: folders have their classes one after the other.
    pub(super) count: usize,
    pub(super) preprocess: Preprocess,
}

impl Images {
    /// Opens `most` images of a part of the data, or all.
    pub(super) fn open(
        data: &DataChoice,
        model: &Model,
        split: Split,
        most: Option<usize>,
        output: Output,
    ) -> Result<Self> {
        if most == Some(0) {
            let message = "--images 0: expected 1 or more".to_owned();
            return Err(Stop::Usage(message).into());
        }
        let part = data.open(model, split, output)?;
        let all = part.dataset.len();
        let count = most.unwrap_or(all).min(all);
        if count == 0 {
            let message = format!("the dataset {} has no images to look at", part.data);
            return Err(Stop::BadInput(message).into());
        }
        // The embedded digits already look like what drawn ones are brought to.
        let drawn_digits = model.preprocess.drawn_digits && part.data != DIGITS;
        let preprocess = Preprocess { drawn_digits, ..model.preprocess.clone() };
        Ok(Self { part, count, preprocess })
    }

    /// The number in the part of the data of the image that is looked at after `at` others.
    pub(super) fn number(&self, at: usize) -> usize {
        (at as u128 * self.part.dataset.len() as u128 / self.count as u128) as usize
    }

    /// The images that are looked at, after `from` of them.
    pub(super) fn rest(&self, from: usize) -> Arc<Subset> {
        let dataset = Arc::clone(&self.part.dataset);
        Arc::new(Subset::new(dataset, (from..self.count).map(|at| self.number(at)).collect()))
    }

    /// An image as the network gets it, and its height and width before.
    pub(super) fn prepared(&self, index: usize) -> Result<(Vec<f32>, [usize; 2])> {
        let image = self.part.dataset.sample(index)?.image;
        let mut prepared = vec![0.0; self.preprocess.size()];
        self.preprocess.apply(&image, &mut prepared);
        Ok((prepared, [image.height, image.width]))
    }

    /// What an image is called.
    pub(super) fn name(&self, index: usize) -> String {
        self.part.dataset.sample_name(index)
    }
}
