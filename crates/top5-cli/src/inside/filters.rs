//! `top5 filters`: the first layer's filters with and without clipping of their scale, aliasing, dead and saturated maps
//! (figure 6).

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use top5::data::{Image, Loader, LoaderOptions};
use top5::explain::page::Page;
use top5::explain::picture::{blocks, encode, sheet};
use top5::explain::zfnet::filters::{
    Activity, Filter, Health, clipped, filters, first_convolution,
};
use top5::graph::{
    Device, Family, Graph, NodeId, Retain, Session, SessionOptions, Tensor, counted,
};
use top5::{Finite, Model, Options};

use super::args::FiltersArgs;
use super::subject::Images;
use crate::eval::{DataChoice, Split};
use crate::exit::Stop;
use crate::folder::Folder;
use crate::memory::{limited_beside, readers};
use crate::output::{Kind, Output, Versioned};
use crate::progress::Progress;
use crate::source::StoredModel;

const DOCUMENT: &str = "filters.json";
/// Side of a filter's square in the picture, in pixels.
const CELL: usize = 33;

/// The command, resolved.
pub(crate) struct Task {
    model: StoredModel,
    data: DataChoice,
    split: Split,
    images: Option<usize>,
    radius: Option<f64>,
    batch: usize,
    out: PathBuf,
    options: Options,
}

/// The document of `--json`, and `filters.json`.
#[derive(Serialize)]
struct Filters {
    network: String,
    layer: String,
    /// Root mean square to which filters are scaled down in the second picture.
    radius: f64,
    /// Filters that it scales down.
    clipped: Vec<usize>,
    /// Images on which maps were looked at; absent without data.
    images: Option<usize>,
    dead: Option<Vec<usize>>,
    saturated: Option<Vec<usize>>,
    filters: Vec<One>,
}

#[derive(Serialize)]
struct One {
    #[serde(flatten)]
    filter: Filter,
    /// The share of the map's units, over all images, that were positive.
    active: Option<f64>,
    health: Option<Health>,
}

impl Task {
    pub(crate) fn resolve(args: FiltersArgs) -> Result<Self> {
        if let Some(radius) = args.radius.filter(|radius| !(*radius > 0.0 && radius.is_finite())) {
            let message = format!("--radius {radius}: expected a positive number");
            return Err(Stop::Usage(message).into());
        }
        Ok(Self {
            data: DataChoice::resolve(args.data, args.split, Some(&args.model))?,
            model: StoredModel::resolve(&args.model, &args.weights)?,
            split: args.split,
            images: args.images,
            radius: args.radius,
            batch: args.batch_size,
            out: args.out,
            options: args.engine.options()?,
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let model = self.model.open(output)?.inference();
        let first = first_convolution(&model.graph).ok_or_else(|| {
            let message = format!("{} has no convolution", model.graph.name());
            Stop::BadInput(message)
        })?;
        let (id, layer) = (first.id, first.name.clone());
        let stride = first.spec.window.map_or([1, 1], |window| window.stride);
        let weight = model.weights.tensor(&format!("{layer}.weight")).cloned();
        let weight = weight.filter(|weight| weight.shape().len() == 4).ok_or_else(|| {
            let message = format!("the filters of {layer} are not all of one shape");
            Stop::BadInput(message)
        })?;
        let images = match self.data.is_known(&model) {
            true => Some(Images::open(&self.data, &model, self.split, self.images, output)?),
            false => {
                output.note("dead and saturated maps are found on images: give --data");
                None
            }
        };
        let mut folder = Folder::claim(&self.out, Some(DOCUMENT), output)?;
        let all = filters(&weight, stride);
        let radius = self.radius.unwrap_or_else(|| median(&all));
        let look = |images: &Images| self.look(images, model.clone(), id, output);
        let activity = images.as_ref().map(look).transpose()?;
        let health = |map: usize| activity.as_ref().map(|activity| activity.health(map));
        let of = |health: Health| -> Option<Vec<usize>> {
            let activity = activity.as_ref()?;
            Some((0..all.len()).filter(|&map| activity.health(map) == health).collect())
        };
        let told = Filters {
            network: model.graph.name().to_owned(),
            layer,
            radius,
            clipped: all.iter().filter(|f| f.rms > radius).map(|f| f.map).collect(),
            images: activity.as_ref().map(|activity| activity.images),
            dead: of(Health::Dead),
            saturated: of(Health::Saturated),
            filters: all
                .iter()
                .map(|&filter| One {
                    filter,
                    active: activity.as_ref().map(|activity| activity.share(filter.map)),
                    health: health(filter.map),
                })
                .collect(),
        };
        let picture = blocks(&[drawn(&weight), drawn(&clipped(&weight, radius))], 2, 16);
        let description = format!(
            "{}: filters on one scale; right: those with a root mean square above {radius} scaled down to it",
            told.layer
        );
        let png = encode(&picture, &[("Description", &description)])?;
        folder.write("filters.png", &png)?;
        let mut page = Page::new(&format!("{}: its first layer's filters", told.network));
        page.figure(&png, &description, &description);
        page.code(&describe(&told));
        folder.report("index.html", Kind::ReportHtml, page.finish().as_bytes(), output)?;
        let json = serde_json::to_vec_pretty(&Versioned::new(&told))?;
        folder.report(DOCUMENT, Kind::ReportJson, &json, output)?;
        folder.finish()?;
        if output.json { output.document(&told) } else { output.text(&describe(&told)) }
    }

    /// How active the maps are on images: after the activation function that follows, if one does.
    fn look(
        &self,
        images: &Images,
        model: Model,
        first: NodeId,
        output: Output,
    ) -> Result<Activity> {
        let waiting = Loader::memory(self.batch, images.preprocess.size());
        let options = limited_beside(self.options.clone(), waiting, &model.graph);
        let device = top5::device(&options)?;
        let Model { graph, weights, .. } = model;
        let node = activated(&graph, first);
        let network = device.network(&graph, weights, Retain::Nothing)?;
        let keep = SessionOptions { keep: vec![node], ..SessionOptions::inference(self.batch) };
        let mut session = Finite::new(network.session(&graph, &keep)?);
        let mut activity = Activity::new(graph.node(node).shape().channels());
        let loading = LoaderOptions {
            skip_unreadable: self.data.skip_bad,
            ..LoaderOptions::evaluation(self.batch)
        };
        let loader = Loader::new(images.rest(0), images.preprocess.clone(), loading);
        let progress = Progress::new(output, "looking", images.count);
        for batch in loader.threads(readers(&options)).epoch(0, 0) {
            let batch = batch?;
            for (_, error) in &batch.unread {
                progress.warn(&format!("left out: {error}"));
            }
            if !batch.labels.is_empty() {
                let kept = session.forward(&batch.images).map_err(anyhow::Error::from);
                let culprit = session.culprit();
                let kept = self.model.traced(kept, culprit, &self.options, output)?.kept;
                activity.observe(&kept[0]);
            }
            progress.set(activity.images, String::new);
        }
        Ok(activity)
    }
}

/// The output of the activation function after a layer, or the layer's own: only layers of one input and the same shape lie
/// between.
fn activated(graph: &Graph, first: NodeId) -> NodeId {
    let mut at = first;
    for node in &graph.nodes()[first.index() + 1..] {
        if node.inputs[..] != [at] || node.shape() != graph.node(first).shape() {
            break;
        }
        at = node.id;
        if node.spec.family == Family::Activation {
            return at;
        }
    }
    first
}

fn median(filters: &[Filter]) -> f64 {
    let mut all: Vec<f64> = filters.iter().map(|filter| filter.rms).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(0.0)
}

/// All filters on one scale, gray at zero: in colours where they have three channels, else each channel of each filter.
fn drawn(weight: &Tensor) -> Image {
    let [maps, channels, height, width] = *weight.shape() else {
        return Image::filled(3, 1, 1, 255);
    };
    let largest = weight.data().iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    let scale = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let level = |value: f32| (128.0 + scale * value).round() as u8;
    let area = height * width;
    let planes = if channels == 3 { 3 } else { 1 };
    let picture = |values: &[f32]| {
        let pixels = (0..area).flat_map(|at| (0..planes).map(move |c| (c, at)));
        let pixels = pixels.map(|(c, at)| level(values[c * area + at])).collect();
        Some(Image { channels: planes, height, width, pixels })
    };
    let pictures: Vec<Option<Image>> =
        weight.data().chunks_exact(planes * area).map(picture).collect();
    let count = maps * channels / planes;
    let columns = (1..=count).find(|side| side * side >= count).unwrap_or(1);
    sheet(&pictures, columns, CELL, 2)
}

fn describe(told: &Filters) -> String {
    let Filters { layer, filters, radius, clipped, .. } = told;
    let mut text = format!(
        "{layer}: {}, root mean square {:.4} to {:.4}; {} above the radius {radius:.4}\n",
        counted(filters.len(), "filter"),
        filters.iter().map(|f| f.filter.rms).fold(f64::INFINITY, f64::min),
        filters.iter().map(|f| f.filter.rms).fold(0.0, f64::max),
        clipped.len()
    );
    let aliased: Vec<f64> = filters.iter().filter_map(|f| f.filter.aliased).collect();
    if !aliased.is_empty() {
        let mean = 100.0 * aliased.iter().sum::<f64>() / aliased.len() as f64;
        text +=
            &format!("{mean:.1} % of their energy is beyond what the stride carries (aliasing)\n");
    }
    if let (Some(images), Some(dead), Some(saturated)) = (told.images, &told.dead, &told.saturated)
    {
        text += &format!(
            "on {} {} of {} maps are dead {dead:?}, {} saturated {saturated:?}\n",
            counted(images, "image"),
            dead.len(),
            filters.len(),
            saturated.len()
        );
    }
    text
}
