//! From peaks to pictures: patches beside their projections.

use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;
use top5::data::Image;
use top5::explain::picture::{blocks, sheet};
use top5::explain::zfnet::field::{Rectangle, receptive_field};
use top5::explain::zfnet::gallery::{patch, picture_of_signal, project};
use top5::explain::zfnet::strongest::Peak;
use top5::graph::{Graph, Network, NodeId, Purpose, Rule, Session, SessionOptions};

use super::subject::Images;
use crate::exit::Stop;
use crate::interrupt::Interrupt;

/// What must be said of every projection.
pub(super) const WARNING: &str = "A DeconvNet projection recovers parts of the image that a unit sees and says little of why \
     the network decides as it does (Nie et al., arXiv:1805.07039; Mahendran & Vedaldi 2016). Contrast normalisation, whose \
     inverse the paper does not state, is passed over.";

/// Sides of the squares that patches are drawn in, in pixels.
const CELLS: [usize; 2] = [28, 64];
/// White between pictures of one map.
const GAP: usize = 2;

/// A strong activation, where it is and what it shows.
pub(super) struct Example {
    pub(super) record: Record,
    patch: Image,
    projection: Image,
}

/// What is written about an example.
#[derive(Clone, Serialize)]
pub(super) struct Record {
    pub(super) map: usize,
    /// Its place among the map's strongest, from 1.
    pub(super) rank: usize,
    pub(super) value: f32,
    /// Number of the image in the part of the data.
    pub(super) image: usize,
    pub(super) name: String,
    pub(super) class: String,
    /// Row and column in the map.
    pub(super) unit: [usize; 2],
    /// What the unit sees, in the prepared image.
    pub(super) rectangle: Rectangle,
    /// The same in the source image, in its pixels rounded outwards; absent where the preparation moves pixels otherwise.
    pub(super) source: Option<Rectangle>,
    /// What is drawn black or white in the projection.
    pub(super) scale: f32,
}

/// Projects activations of one layer.
pub(super) struct Projector<'p> {
    session: Box<dyn Session>,
    layer: NodeId,
    images: &'p Images,
    classes: &'p [String],
    interrupt: &'p Interrupt,
}

impl<'p> Projector<'p> {
    pub(super) fn new(
        network: &Arc<dyn Network>,
        layer: NodeId,
        images: &'p Images,
        interrupt: &'p Interrupt,
    ) -> Result<Self> {
        let graph = network.graph();
        let purpose = Purpose::explanation(layer, vec![graph.nodes()[0].id], Rule::deconvnet());
        let options = SessionOptions { purpose, ..SessionOptions::inference(1) };
        let classes = images.part.dataset.classes();
        Ok(Self { session: network.session(graph, &options)?, layer, images, classes, interrupt })
    }

    /// The examples of these peaks, each with its map and rank, in their order. Each image goes forward once. A signal ends it
    /// before the next peak.
    pub(super) fn examples(&mut self, peaks: &[(usize, usize, Peak)]) -> Result<Vec<Example>> {
        let mut order: Vec<usize> = (0..peaks.len()).collect();
        order.sort_by_key(|&at| peaks[at].2.image);
        let mut examples: Vec<Option<Example>> = peaks.iter().map(|_| None).collect();
        let mut current: Option<(usize, Vec<f32>, [usize; 2])> = None;
        for at in order {
            if let Some(signal) = self.interrupt.signal() {
                let message = "stopped while projecting; give the same command again".to_owned();
                return Err(Stop::Interrupted { signal, message }.into());
            }
            let (map, rank, peak) = &peaks[at];
            let (_, prepared, size) = match current.take() {
                Some(of) if of.0 == peak.image => current.insert(of),
                _ => {
                    let (prepared, size) = self.images.prepared(self.images.number(peak.image))?;
                    self.session.forward(&prepared)?;
                    current.insert((peak.image, prepared, size))
                }
            };
            examples[at] = Some(example(
                self.session.as_mut(),
                self.layer,
                (*map, *rank, peak),
                (self.images, self.classes),
                (prepared, *size),
            )?);
        }
        Ok(examples.into_iter().flatten().collect())
    }
}

fn example(
    session: &mut dyn Session,
    layer: NodeId,
    (map, rank, peak): (usize, usize, &Peak),
    (images, classes): (&Images, &[String]),
    (prepared, size): (&[f32], [usize; 2]),
) -> Result<Example> {
    let graph = session.graph();
    let [channels, height, width] = graph.input();
    debug_assert_eq!(prepared.len(), channels * height * width);
    let columns = graph.node(layer).shape().size()[1];
    let whole = Rectangle { top: 0, left: 0, height, width };
    let rectangle = receptive_field(graph, layer, peak.unit).unwrap_or(whole);
    let signal = project(session, layer, map, peak)?;
    let preprocess = &images.preprocess;
    let (projection, scale) = picture_of_signal(preprocess, &signal, rectangle);
    let image = images.number(peak.image);
    let label = images.part.dataset.label(image) as usize;
    let corner = [rectangle.top, rectangle.left];
    let source = preprocess.to_source(size, corner, [rectangle.height, rectangle.width]);
    let record = Record {
        map,
        rank,
        value: peak.value,
        image,
        name: images.name(image),
        class: classes.get(label).cloned().unwrap_or_default(),
        unit: [peak.unit / columns, peak.unit % columns],
        rectangle,
        source: source.map(|[top, left, height, width]| Rectangle { top, left, height, width }),
        scale,
    };
    Ok(Example { record, patch: patch(preprocess, prepared, rectangle), projection })
}

/// The patches of one map in a square, and beside it their projections in the same order. Empty for a map that is dead.
pub(super) fn block(examples: &[&Example], places: usize) -> Image {
    let columns = (1..=places).find(|side| side * side >= places).unwrap_or(1);
    let side = |example: &&Example| example.patch.height.max(example.patch.width);
    let cell = examples.iter().map(side).max().unwrap_or(1).clamp(CELLS[0], CELLS[1]);
    let square = |of: fn(&Example) -> &Image| {
        let pictures: Vec<Option<Image>> =
            (0..places).map(|at| examples.get(at).map(|example| of(example).clone())).collect();
        sheet(&pictures, columns, cell, GAP)
    };
    blocks(&[square(|e| &e.patch), square(|e| &e.projection)], 2, 2 * GAP)
}

/// Bytes that the examples of a map of a layer take, and what [`block`] draws of them.
pub(super) fn of_block(graph: &Graph, layer: NodeId, places: usize) -> u64 {
    let [rows, columns] = graph.node(layer).shape().size();
    // The field of a unit in the middle is cut off at no border, unless all are.
    let middle = receptive_field(graph, layer, rows / 2 * columns + columns / 2);
    let field = middle.map_or(0, |field| field.height * field.width);
    let square = (CELLS[1] + GAP).pow(2);
    // A patch and its projection; each in a square, and this in the map's picture and the sheet.
    places as u64 * 2 * 3 * (field + 3 * square) as u64
}

/// A patch above its projection.
pub(super) fn pair(example: &Example, cell: usize) -> Image {
    let pictures = [Some(example.patch.clone()), Some(example.projection.clone())];
    sheet(&pictures, 1, cell, GAP)
}
