//! Galleries (figure 2): for each map the patches of a data set to which it answers most, beside what a DeconvNet projects of
//! each such answer alone.
//!
//! The search is one pass over the images. It holds as many peaks as are asked for and nothing of the images; what it holds
//! can be written down after any image, and read to go on from there.

use serde::{Deserialize, Serialize};
use std::fmt;
use top5_data::{Image, Preprocess};
use top5_graph::{EngineError, Family, Graph, Node, NodeId, Session, Tensor};

use super::field::Rectangle;
use super::strongest::{Peak, Strongest};

/// Version of the form of a search in a file.
const FORMAT: u32 = 1;

/// A search for the strongest activations, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    format: u32,
    /// What identifies model, preprocessing, images and layers.
    of: String,
    seen: usize,
    unread: usize,
    layers: Vec<Strongest>,
}

/// Why a search cannot go on from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchError {
    /// The file is none of a search.
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
    /// The search is another one: of another model, of other images, layers or maps.
    Another,
}

impl fmt::Display for SearchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { reason } => write!(f, "it is no state of a search: {reason}"),
            Self::Another => f.write_str(
                "it is the state of another search (another model, preprocessing, other images, layers or maps)",
            ),
        }
    }
}

impl std::error::Error for SearchError {}

impl Search {
    /// A search that has seen nothing, for the `most` strongest activations of these maps of each layer. `of` is compared
    /// where a search goes on.
    pub fn new(of: impl Into<String>, most: usize, maps: Vec<Vec<usize>>) -> Self {
        let layers = maps.into_iter().map(|maps| Strongest::new(most, maps)).collect();
        Self { format: FORMAT, of: of.into(), seen: 0, unread: 0, layers }
    }

    /// The search in a file, if it is this one at a later time; `units` are those of a map, for each layer.
    pub fn resume(&self, json: &[u8], units: &[usize]) -> Result<Self, SearchError> {
        let read: Self = serde_json::from_slice(json)
            .map_err(|error| SearchError::Unreadable { reason: error.to_string() })?;
        let seen = read.seen;
        let same = (read.format, &read.of, read.layers.len())
            == (self.format, &self.of, self.layers.len())
            && read.unread <= read.seen
            && (read.layers.iter().zip(&self.layers).zip(units))
                .all(|((read, asked), &units)| read.continues(asked, seen, units));
        if same { Ok(read) } else { Err(SearchError::Another) }
    }

    /// Its form in a file.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts have a JSON form")
    }

    /// Images looked at so far, those that could not be read among them: the next one's number.
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// Images that could not be read.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// What was found in each layer.
    pub fn layers(&self) -> &[Strongest] {
        &self.layers
    }

    /// Looks at activations `[n, channels, …]`, a tensor per layer, of the images with these numbers, and at `unread` more
    /// that have none. Together they are the next images. On an error nothing was taken that counts.
    pub fn observe(
        &mut self,
        images: &[usize],
        kept: &[Tensor],
        unread: usize,
    ) -> Result<(), EngineError> {
        if !images.is_empty() {
            for (layer, activations) in self.layers.iter_mut().zip(kept) {
                layer.observe(images, activations)?;
            }
        }
        self.seen += images.len() + unread;
        self.unread += unread;
        Ok(())
    }
}

/// The layers that show the stages of a network: of each size of map the last activation function's output, for sizes above
/// one pixel.
pub fn stages(graph: &Graph) -> Vec<NodeId> {
    let shows = |node: &&Node| {
        node.spec.family == Family::Activation
            && node.shape().dims().len() == 3
            && node.shape().size().iter().all(|&side| side > 1)
    };
    let mut stages: Vec<&Node> = Vec::new();
    for node in graph.nodes().iter().filter(shows) {
        stages.retain(|other| other.shape().size() != node.shape().size());
        stages.push(node);
    }
    stages.into_iter().map(|node| node.id).collect()
}

/// What one activation alone sends back to the image, `[channels, height, width]`: by the rule of the session, whose
/// signals go from `layer` to the image, through the last forward pass, which was of one image.
pub fn project(
    session: &mut dyn Session,
    layer: NodeId,
    map: usize,
    peak: &Peak,
) -> Result<Vec<f32>, EngineError> {
    let shape = session.graph().node(layer).shape();
    let mut seed = Tensor::zeros([vec![1], shape.dims()].concat());
    let [height, width] = shape.size();
    seed.data_mut()[map * height * width + peak.unit] = peak.value;
    Ok(session.backward(&seed)?.remove(0).into_data())
}

/// A part of a prepared image as it was before the mean was subtracted.
pub fn patch(preprocess: &Preprocess, prepared: &[f32], part: Rectangle) -> Image {
    picture(preprocess, part, |channel, at| {
        let value = prepared[at] * preprocess.std[channel] + preprocess.mean[channel];
        255.0 * value
    })
}

/// A part of a signal as a picture, grey where it is zero, and the value that is drawn black or white. One scale for all
/// channels; each picture has its own.
pub fn picture_of_signal(preprocess: &Preprocess, signal: &[f32], part: Rectangle) -> (Image, f32) {
    let [_, height, width] = preprocess.input_size;
    let inside = |at: usize| {
        let (y, x) = (at % (height * width) / width, at % width);
        (part.top..part.top + part.height).contains(&y)
            && (part.left..part.left + part.width).contains(&x)
    };
    let largest = signal
        .iter()
        .enumerate()
        .filter(|&(at, _)| inside(at))
        .fold(0.0_f32, |most, (_, value)| most.max(value.abs()));
    let scale = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    (picture(preprocess, part, |_, at| 128.0 + scale * signal[at]), largest)
}

/// Pixels of a part of an input, from the value of each channel at each place; clipped to 0 … 255.
fn picture(preprocess: &Preprocess, part: Rectangle, value: impl Fn(usize, usize) -> f32) -> Image {
    let [channels, height, width] = preprocess.input_size;
    let mut pixels = Vec::with_capacity(part.height * part.width * channels);
    for y in part.top..part.top + part.height {
        for x in part.left..part.left + part.width {
            let at = |channel: usize| (channel * height + y) * width + x;
            pixels.extend((0..channels).map(|c| value(c, at(c)).round() as u8));
        }
    }
    Image { channels, height: part.height, width: part.width, pixels }
}

#[cfg(test)]
mod tests {
    use super::*;
    use top5_cpu::{CpuDevice, Options};
    use top5_graph::{Device, NO_SWITCH, Purpose, Retain, Rule, SessionOptions, k, net};
    use top5_testkit::fill::signed;
    use top5_testkit::oracle::weights_for;

    fn device(threads: usize) -> CpuDevice {
        CpuDevice::new(&Options { threads: Some(threads), ..Options::default() }).unwrap()
    }

    fn graph() -> Graph {
        net("small", [1, 11, 9], |x| {
            let x = x.conv(6, k(3).pad(1)).relu().max_pool(k(3).stride(2).ceil());
            x.conv(5, k(3).pad(1)).relu().flatten().linear(3)
        })
        .unwrap()
    }

    /// Units of a map of its two stages.
    const UNITS: [usize; 2] = [99, 30];

    /// The search over twenty images in batches of this size, cut off and resumed after each that is named.
    fn search(threads: usize, batch: usize, cuts: &[usize]) -> Search {
        let (graph, device) = (graph(), device(threads));
        let keep = stages(&graph);
        let network = device.network(&graph, weights_for(&graph), Retain::Nothing).unwrap();
        let options = SessionOptions { keep, ..SessionOptions::inference(batch) };
        let mut session = network.session(&graph, &options).unwrap();
        let images = signed("images", 20 * 99);
        let fresh = || Search::new("twenty", 3, vec![(0..6).collect(), vec![4, 0]]);
        let mut search = fresh();
        while search.seen() < 20 {
            let until = cuts.iter().copied().filter(|&cut| cut > search.seen()).min();
            let end = (search.seen() + batch).min(20).min(until.unwrap_or(20));
            let numbers: Vec<usize> = (search.seen()..end).collect();
            let forward = session.forward(&images[search.seen() * 99..end * 99]).unwrap();
            search.observe(&numbers, &forward.kept, 0).unwrap();
            if cuts.contains(&end) {
                search = fresh().resume(&search.to_json(), &UNITS).unwrap();
            }
        }
        search
    }

    #[test]
    fn batches_threads_and_interruptions_change_nothing() {
        let whole = search(1, 20, &[]).to_json();
        for (threads, batch, cuts) in [(2, 20, &[][..]), (1, 3, &[]), (2, 7, &[4, 5, 19])] {
            assert_eq!(search(threads, batch, cuts).to_json(), whole, "{threads} {batch}");
        }
    }

    #[test]
    fn another_search_is_not_gone_on_with() {
        let done = search(1, 20, &[]);
        for other in [
            Search::new("others", 3, vec![(0..6).collect(), vec![4, 0]]),
            Search::new("twenty", 4, vec![(0..6).collect(), vec![4, 0]]),
            Search::new("twenty", 3, vec![(0..6).collect(), vec![0, 4]]),
            Search::new("twenty", 3, vec![(0..6).collect()]),
        ] {
            assert_eq!(other.resume(&done.to_json(), &UNITS), Err(SearchError::Another));
        }
        // Places beyond the maps, which no search writes.
        for units in [[1, 30], [99, 1]] {
            assert_eq!(done.resume(&done.to_json(), &units), Err(SearchError::Another));
        }
        let cut = &done.to_json()[..50];
        assert!(matches!(done.resume(cut, &UNITS), Err(SearchError::Unreadable { .. })));
    }

    #[test]
    fn projections_are_the_same_bytes_on_one_and_two_threads() {
        let graph = graph();
        let layer = stages(&graph)[1];
        let run = |threads| {
            let device = device(threads);
            let network = device.network(&graph, weights_for(&graph), Retain::Nothing).unwrap();
            let to = vec![graph.nodes()[0].id];
            let purpose = Purpose::explanation(layer, to, Rule::deconvnet());
            let options =
                SessionOptions { purpose, keep: vec![layer], ..SessionOptions::inference(1) };
            let mut session = network.session(&graph, &options).unwrap();
            let kept = session.forward(&signed("image", 99)).unwrap().kept.remove(0);
            let [height, width] = graph.node(layer).shape().size();
            let maps = kept.data().chunks_exact(height * width).enumerate();
            let peaks = maps
                .filter_map(|(map, values)| Some((map, super::super::strongest::peak(0, values)?)));
            let peaks: Vec<(usize, Peak)> = peaks.collect();
            assert!(peaks.len() > 1, "the test needs maps that answer");
            let project =
                |(map, peak): (usize, Peak)| project(session.as_mut(), layer, map, &peak).unwrap();
            peaks.into_iter().map(project).collect::<Vec<_>>()
        };
        let one = run(1);
        assert!(one.iter().any(|signal| signal.iter().any(|&value| value != 0.0)));
        assert_eq!(one, run(2));
    }

    /// Identity T4: unpooling touches the recorded places only.
    #[test]
    fn unpooling_touches_recorded_places_only() {
        for (height, width) in [(11, 9), (8, 8), (7, 10)] {
            for window in [k(3).stride(2).ceil(), k(2).stride(2), k(3).stride(2)] {
                let graph =
                    net("pool", [2, height, width], |x| x.max_pool(window).flatten().linear(2))
                        .unwrap();
                let pool = graph.nodes()[1].id;
                let device = device(1);
                let network = device.network(&graph, weights_for(&graph), Retain::Nothing).unwrap();
                let purpose =
                    Purpose::explanation(pool, vec![graph.nodes()[0].id], Rule::deconvnet());
                let options = SessionOptions { purpose, ..SessionOptions::inference(1) };
                let mut session = network.session(&graph, &options).unwrap();
                session.forward(&signed("pooled", 2 * height * width)).unwrap();
                let switches = session.switches(pool).unwrap();
                let mut seed = Tensor::zeros([vec![1], graph.node(pool).shape().dims()].concat());
                let values = signed("signal", seed.data().len());
                seed.data_mut().copy_from_slice(&values);
                let signal = session.backward(&seed).unwrap().remove(0);
                assert_eq!(signal.shape(), [1, 2, height, width]);
                let mut expected = vec![0.0_f32; 2 * height * width];
                let per_map = switches.len() / 2;
                for (i, (&switch, &value)) in switches.iter().zip(&values).enumerate() {
                    assert_ne!(switch, NO_SWITCH);
                    expected[i / per_map * height * width + switch as usize] += value;
                }
                let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
                assert!(signal.data().iter().zip(&expected).all(close), "{window}");
            }
        }
    }

    #[test]
    fn patches_are_what_the_network_saw() {
        let preprocess = Preprocess::imagenet(4, 5);
        let pixels: Vec<u8> = (0..60).map(|i| (i * 4) as u8).collect();
        let image = Image { channels: 3, height: 4, width: 5, pixels };
        let mut prepared = vec![0.0; 60];
        // The centre of an image that is scaled to 8/7 would be another one.
        let whole = Preprocess { crop_pct: 1.0, ..preprocess };
        whole.apply(&image, &mut prepared);
        let part = Rectangle { top: 1, left: 2, height: 3, width: 2 };
        assert_eq!(patch(&whole, &prepared, part), image.crop(1, 2, 3, 2));
        let signal: Vec<f32> = (0..60).map(|i| if i == 7 { -2.0 } else { 0.0 }).collect();
        let (drawn, scale) = picture_of_signal(&whole, &signal, part);
        assert_eq!((drawn.pixels[0], drawn.pixels[1], scale), (1, 128, 2.0));
        let (drawn, scale) = picture_of_signal(&whole, &[0.0; 60], part);
        assert!(drawn.pixels.iter().all(|&pixel| pixel == 128) && scale == 0.0);
    }
}
