//! A model that looks at images.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use top5::data::together::together;
use top5::data::{Dataset, Loader, Preprocess};
use top5::eval::{Header, Origin, Pipe, Protocol, Shard, Terms};
use top5::graph::{Device, EngineError, Retain, Tensor, Weights, counted};
use top5::train::Ranks;
use top5::{CpuDevice, Model, Options, sha256, sha256_of};

use super::blocks::{self, Said, Take, Told, Unread};
use super::classes::Classes;
use super::data::{self, DIGITS, Part};
use super::names::names;
use super::protocol::Choice;
use crate::exit::Stop;
use crate::memory::{limited_beside, readers};
use crate::output::Output;
use crate::preprocess::PreprocessArgs;
use crate::progress::Progress;
use crate::source::StoredModel;

/// How a model is to look.
#[derive(Clone)]
pub(crate) struct Look {
    pub(crate) model: StoredModel,
    pub(crate) protocol: Choice,
    pub(crate) preprocess: PreprocessArgs,
    /// Names of the model's classes, where they are not its own.
    pub(crate) class_names: Option<PathBuf>,
}

/// What all models of an evaluation share.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) batch: usize,
    pub(crate) skip_bad: bool,
    /// Only this one of so many shards, from 1.
    pub(crate) shard: Option<[usize; 2]>,
    pub(crate) options: Options,
    /// Whether anybody will see the hash of the weights.
    pub(crate) hash: bool,
    /// The processes that share the images, where they are several.
    pub(crate) ranks: Option<Arc<dyn Ranks>>,
}

/// Takes the probabilities of an image: its number in the part, its class, one value per class of the data.
pub(crate) type Each<'e> = &'e mut dyn FnMut(usize, u32, &[f64]);

impl Settings {
    /// The shard of a part; none where all of it is looked at.
    fn of(&self, part: &Part) -> Option<Shard> {
        self.shard.map(|[number, shards]| Shard::new(number, shards, part.dataset.len()))
    }
}

impl Look {
    /// Fails where a crop is described that the protocol does not take.
    pub(crate) fn new(
        model: StoredModel,
        protocol: Choice,
        preprocess: PreprocessArgs,
        class_names: Option<PathBuf>,
    ) -> Result<Self> {
        // Whatever the input: sides follow it, kinds of views do not.
        let views = protocol.at([224, 224])?;
        if preprocess.describes_crop() && !views.takes_own_crop() {
            let message = format!(
                "--crop-pct and --crop-mode are about the crop of the model's own preprocessing: {} scales and crops images \
                 itself",
                views.name
            );
            return Err(Stop::Usage(message).into());
        }
        Ok(Self { model, protocol, preprocess, class_names })
    }

    /// Reads the model.
    pub(crate) fn open(&self, output: Output) -> Result<Model> {
        let model = self.model.open(output)?;
        Ok(match &self.class_names {
            None => model,
            Some(path) => Model { classes: names(path, model.graph.classes())?, ..model },
        })
    }

    /// Finds what would keep it from looking at some data, without a word.
    pub(crate) fn check(&self, data: &data::Choice, output: Output) -> Result<()> {
        let silent = Output { quiet: true, verbose: false, mute: true, ..output };
        let model = self.open(silent)?;
        let part = data.open(&model, data.split, silent)?;
        Classes::new(&model, part.dataset.classes(), silent)?;
        self.preprocess.apply(model.preprocess.clone())?;
        let [_, height, width] = model.graph.input();
        Ok(Pipe::check(&model.graph.inference(), &self.protocol.at([height, width])?)?)
    }

    /// Looks at every image of a part, or of a shard of it; together with the other ranks where there are. Only the first of
    /// these learns what the images came to.
    pub(crate) fn at(
        &self,
        model: Model,
        part: &Part,
        settings: &Settings,
        output: Output,
        each: Each<'_>,
    ) -> Result<Header> {
        let classes = Classes::new(&model, part.dataset.classes(), output)?;
        // The embedded digits already look like what drawn ones are brought to.
        let preprocess = match &*part.data {
            DIGITS => Preprocess { drawn_digits: false, ..model.preprocess.clone() },
            _ => model.preprocess.clone(),
        };
        let preprocess = self.preprocess.apply(preprocess)?;
        let [_, height, width] = model.graph.input();
        let protocol = self.protocol.at([height, width])?;
        let weights =
            if settings.hash || output.json { hash(&model.weights) } else { String::new() };
        let params = model.graph.inference().param_count();
        let origin = Origin {
            network: model.graph.name().to_owned(),
            weights,
            ensemble: None,
            data: part.data.clone(),
            split: part.split.name().to_owned(),
            division: part.division.clone(),
            fingerprint: part.fingerprint(),
            preprocess: Some(preprocess.clone()),
            protocol: Some(protocol.clone()),
            terms: Terms::default(),
        };
        if let Some(ranks) = &settings.ranks {
            let what = (&origin, &part.dataset.classes(), settings.batch, hash(&model.weights));
            blocks::check_same(ranks.as_ref(), &serde_json::to_string(&what)?)?;
            output.note(&format!("{} processes share the images", ranks.size()));
        }
        let images = Loader::memory(settings.batch, preprocess.size());
        let options = limited_beside(settings.options.clone(), images, &model.graph);
        let settings = &Settings { options, ..settings.clone() };
        let device = top5::device(&settings.options)?;
        let graph = model.graph.clone();
        let mut culprit = None;
        let looked = look(
            &device,
            model,
            (protocol, &preprocess),
            (&classes, part, settings),
            output,
            &mut culprit,
            each,
        );
        if let Some(index) = culprit {
            // The layer is looked for in the one crop that the preprocessing itself makes.
            let mut input = vec![0.0; preprocess.size()];
            preprocess.apply(&part.dataset.sample(index)?.image, &mut input);
            let weights = self.model.open(output)?.weights;
            return Err(top5::trace(&device, &graph, weights, &input).into());
        }
        let Seen { images, pixels, unread } = looked?;
        let names = part.dataset.classes().to_vec();
        let (params, subset, shard) = (Some(params), classes.is_subset(), settings.of(part));
        Ok(Header { origin, classes: names, images, pixels, unread, params, subset, shard })
    }
}

/// Which images were looked at.
#[derive(Default)]
struct Seen {
    images: Vec<String>,
    pixels: Vec<String>,
    /// What is wrong with those that cannot be read.
    unread: Vec<String>,
}

/// Sends all images of a part through a model. Ends where an answer is not finite, whose image is the `culprit`.
fn look(
    device: &CpuDevice,
    model: Model,
    (protocol, preprocess): (Protocol, &Preprocess),
    (classes, part, settings): (&Classes, &Part, &Settings),
    output: Output,
    culprit: &mut Option<usize>,
    each: Each<'_>,
) -> Result<Seen> {
    let Model { graph, weights, .. } = model;
    // One crop needs the network in one form; other sizes may need weights in another.
    let retain = if protocol.is_own() { Retain::Nothing } else { Retain::Tensors };
    let network = device.network(&graph, weights, retain)?;
    let (threads, views) = (readers(&settings.options), protocol.count());
    let pipe = Pipe::new(network.as_ref(), protocol, preprocess.clone(), settings.batch, threads)?;
    let mut pipe = classes.narrow(pipe);
    let dataset = part.dataset.as_ref();
    let range = settings.of(part).map_or(0..dataset.len(), |shard| shard.start..shard.end);
    let all = range.len();
    if all == 0 {
        return Err(nothing_to_see(dataset).into());
    }
    let start = Instant::now();
    let see = &mut |range: Range<usize>, take: Take<'_>| -> Result<()> {
        pipe.run(dataset, range, &mut |answer| {
            let told = match answer.probabilities {
                Ok(probabilities) if probabilities.iter().any(|p| !p.is_finite()) => {
                    *culprit = Some(answer.index);
                    let what = format!("an answer of {}", graph.name());
                    return Err(EngineError::NotFinite { what }.into());
                }
                Ok(probabilities) => {
                    Ok(Said { pixels: format!("{:016x}", answer.fingerprint), probabilities })
                }
                Err(error) => Err(Unread::from(&error)),
            };
            take(answer.index, told);
            Ok(())
        })
    };
    let (mut seen, mut unread): (Seen, Vec<Unread>) = (Seen::default(), Vec::new());
    let take = &mut |index: usize, told: Told| match told {
        Ok(Said { pixels, probabilities }) => {
            seen.images.push(dataset.sample_name(index));
            seen.pixels.push(pixels);
            each(index, dataset.label(index), &probabilities);
        }
        Err(error) => unread.push(error),
    };
    see_all(settings, blocks::images(settings.batch, views), range, output, see, take)?;
    if settings.ranks.as_ref().is_some_and(|ranks| ranks.rank() > 0) {
        return Ok(seen);
    }
    let seconds = start.elapsed().as_secs_f64();
    output.note(&format!(
        "{} in {seconds:.1} s, {:.1} images/s",
        counted(all, "image"),
        all as f64 / seconds
    ));
    let none = seen.images.is_empty();
    leave_out(&unread, settings, none, all, output)?;
    Ok(Seen { unread: unread.into_iter().map(|error| error.reason).collect(), ..seen })
}

/// Why a part, or a shard of it, has no image to look at.
fn nothing_to_see(dataset: &dyn Dataset) -> Stop {
    let name = dataset.name();
    Stop::BadInput(match dataset.len() {
        0 => format!("the dataset {name} has no images to evaluate on"),
        images => {
            let images = counted(images, "image");
            format!("{name} has {images}, and none for this shard: make fewer")
        }
    })
}

/// Tells of the images that could not be read, of `all`; an error where they may not be left out, or were `all` of them.
fn leave_out(
    unread: &[Unread],
    settings: &Settings,
    none_was_read: bool,
    all: usize,
    output: Output,
) -> Result<(), Stop> {
    if let Some(error) = unread.iter().find(|error| !error.is_bad) {
        return Err(error.clone().into());
    }
    unread.iter().for_each(|error| output.warn(&format!("left out: {}", error.reason)));
    // Without a shard, which may be one of bad images only, there is nothing to tell.
    let may_be_empty = settings.shard.is_some() && settings.skip_bad;
    match unread {
        [] => Ok(()),
        [error, ..] if none_was_read && !may_be_empty => Err(error.clone().into()),
        _ if settings.skip_bad => Ok(()),
        _ => Err(Stop::BadInput(format!(
            "{} of {} could not be used, see above: replace them, or leave them out with --skip-bad",
            unread.len(),
            counted(all, "image")
        ))),
    }
}

/// Has all images of a range seen, with a bar: by `see`, which sees some of them and hands over what each came to; in blocks of `most`
/// images of each rank, where there are ranks. `take` gets them in their order, on rank 0 alone.
fn see_all(
    settings: &Settings,
    most: usize,
    range: Range<usize>,
    output: Output,
    see: &mut dyn FnMut(Range<usize>, Take<'_>) -> Result<()>,
    take: Take<'_>,
) -> Result<()> {
    let (first, all) = (range.start, range.len());
    let progress = Progress::new(output, "evaluating", all);
    let start = Instant::now();
    let show = |done: usize| {
        let speed = || done as f64 / start.elapsed().as_secs_f64().max(1e-9);
        progress.set(done, || format!("{:.1} images/s", speed()));
    };
    let Some(ranks) = &settings.ranks else {
        return see(range, &mut |index, told| {
            take(index, told);
            show(index + 1 - first);
        });
    };
    let mut done = 0;
    let mut look = |own: Range<usize>| {
        let mut seen = Vec::with_capacity(own.len());
        see(own, &mut |_, told| {
            seen.push(told);
            // The others are about as far.
            show((done + seen.len() * ranks.size()).min(all));
        })?;
        done += seen.len() * ranks.size();
        Ok(seen)
    };
    blocks::together(ranks.as_ref(), range, most, &mut look, take)
}

/// Values that are hashed at once.
const PART: usize = 1 << 14;

/// SHA-256 of the names and the SHA-256 of all tensors, by name: whatever file they were in.
pub(crate) fn hash(weights: &Weights) -> String {
    let tensors: Vec<(&str, &Tensor)> = weights.iter().collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut lines = Vec::new();
        while let Some((at, (name, tensor))) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            tensors.get(at).map(|tensor| (at, tensor))
        } {
            let bytes = |part: &[f32]| -> Vec<u8> {
                part.iter().flat_map(|value| value.to_le_bytes()).collect()
            };
            let line = format!("{name} {}\n", sha256_of(tensor.data().chunks(PART).map(bytes)));
            lines.push((at, line));
        }
        lines
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(tensors.len());
    let lines: BTreeMap<usize, String> = together(threads, work).into_iter().flatten().collect();
    sha256(lines.into_values().collect::<String>().as_bytes())
}
