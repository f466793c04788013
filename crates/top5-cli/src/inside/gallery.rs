//! `top5 gallery`: for each map its strongest patches of a data set, beside their projections (figure 2).

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;
use top5::data::{Image, Loader};
use top5::explain::page::Page;
use top5::explain::picture::{blocks, encode, layout};
use top5::explain::zfnet::field::Rectangle;
use top5::explain::zfnet::gallery::Search;
use top5::graph::{Device, Graph, Network, NodeId, Retain, counted};
use top5::{Model, Options, sha256};

use super::args::{GalleryArgs, MapArgs};
use super::draw::{Example, Projector, Record, WARNING, block, of_block};
use super::search::{Pass, STATE};
use super::subject::{Images, layers, of_each_size};
use crate::eval::{DataChoice, Split, hash_of_weights};
use crate::folder::{Folder, PageFile, file_name};
use crate::interrupt::Interrupt;
use crate::memory::{self, limited_beside};
use crate::output::{Kind, Output};
use crate::progress::Progress;
use crate::source::StoredModel;

/// Maps on one sheet: what is in memory at once.
const ON_A_SHEET: usize = 64;
/// Maps beside each other on a sheet.
const COLUMNS: usize = 4;
/// White between maps.
const GAP: usize = 12;
pub(crate) const DOCUMENT: &str = "gallery.json";

/// The command, resolved.
pub(crate) struct Task {
    model: StoredModel,
    layers: Vec<String>,
    maps: MapArgs,
    data: DataChoice,
    split: Split,
    images: Option<usize>,
    top: usize,
    batch: usize,
    save_every: usize,
    out: PathBuf,
    options: Options,
}

/// The document of `--json`, and `gallery.json`.
#[derive(Serialize)]
struct Gallery {
    network: String,
    data: String,
    split: String,
    images: usize,
    unread: usize,
    preprocess: String,
    method: &'static str,
    warning: &'static str,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    /// Maps that no image made positive.
    dead: Vec<usize>,
    sheets: Vec<String>,
    maps: Vec<usize>,
    /// Where each of the maps is drawn, patches to the left and projections to the right.
    places: Vec<Place>,
    examples: Vec<Record>,
}

impl Layer {
    /// Of which nothing is drawn yet.
    fn new(name: &str, maps: &[usize]) -> Self {
        Self {
            name: name.to_owned(),
            dead: Vec::new(),
            sheets: Vec::new(),
            maps: maps.to_vec(),
            places: Vec::new(),
            examples: Vec::new(),
        }
    }
}

#[derive(Serialize)]
struct Place {
    /// The number of the sheet, from 0, and the rectangle in it.
    sheet: usize,
    #[serde(flatten)]
    rectangle: Rectangle,
}

impl Task {
    pub(crate) fn resolve(args: GalleryArgs) -> Result<Self> {
        let subject = args.subject;
        Ok(Self {
            data: DataChoice::resolve(args.data, args.split, Some(&subject.model))?,
            model: StoredModel::resolve(&subject.model, &subject.weights)?,
            layers: subject.layers,
            maps: args.maps,
            split: args.split,
            images: args.images,
            top: args.top,
            batch: args.batch_size,
            save_every: args.save_every,
            out: args.out,
            options: subject.engine.options()?,
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let model = self.model.open(output)?.inference();
        let images = Images::open(&self.data, &model, self.split, self.images, output)?;
        let layers = layers(&model.graph, &self.layers, true, of_each_size)?;
        let maps = layers.iter().map(|&layer| self.maps.of(&model.graph, layer));
        let maps: Vec<Vec<usize>> = maps.collect::<Result<_>>()?;
        check_sheets(&model.graph, &layers, &maps, self.top.min(images.count))?;
        let search = Search::new(identity(&model, &images, &layers), self.top, maps);
        let mut folder = Folder::claim(&self.out, Some(STATE), output)?;

        let waiting = Loader::memory(self.batch, images.preprocess.size());
        let options = limited_beside(self.options.clone(), waiting, &model.graph);
        let device = top5::device(&options)?;
        let Model { graph, weights, .. } = model;
        let network = device.network(&graph, weights, Retain::Tensors)?;
        let interrupt = Interrupt::default();
        let pass = Pass {
            layers: &layers,
            batch: self.batch,
            skip_bad: self.data.skip_bad,
            options: &options,
            interrupt: &interrupt,
            output,
            state: Some((&self.out, self.save_every)),
            open: &|| self.model.open(output),
        };
        let mut search = pass.begin(search, network.graph())?;
        interrupt.listen()?;
        pass.run(network.as_ref(), &images, &mut search)?;
        folder.own(STATE)?;
        self.draw(&network, &layers, &images, &search, (&interrupt, output), &mut folder)?;
        folder.finish()
    }

    /// Projects, and writes sheets, page and document.
    fn draw(
        &self,
        network: &Arc<dyn Network>,
        layers: &[NodeId],
        images: &Images,
        search: &Search,
        (interrupt, output): (&Interrupt, Output),
        folder: &mut Folder,
    ) -> Result<()> {
        let graph = network.graph();
        let mut gallery = Gallery {
            network: graph.name().to_owned(),
            data: images.part.data.clone(),
            split: self.split.name().to_owned(),
            images: search.seen(),
            unread: search.unread(),
            preprocess: images.preprocess.describe(),
            method: "DeconvNet, from each strongest activation alone",
            warning: WARNING,
            layers: Vec::new(),
        };
        let title = format!("{}: what its maps answer to", graph.name());
        let mut page = folder.page(&title, output)?;
        page.text.paragraph(&format!(
            "The {} strongest patches of each map in {} of {} ({}), each image once, and to their right their \
             projections in the same order: gray is zero, and each projection has a scale of its own.",
            self.top,
            counted(gallery.images, "image"),
            gallery.data,
            gallery.split
        ));
        page.text.warning(WARNING);
        let total = search.layers().iter().map(|layer| layer.maps().len()).sum();
        let progress = Progress::new(output, "projecting", total);
        let mut done = 0;
        for (&layer, strongest) in layers.iter().zip(search.layers()) {
            let name = &graph.node(layer).name;
            page.text.heading(&format!("{name}: {}", shape(graph, layer)));
            let mut told = Layer::new(name, strongest.maps());
            let mut projector = Projector::new(network, layer, images, interrupt)?;
            let places: Vec<usize> = (0..strongest.maps().len()).collect();
            for places in places.chunks(ON_A_SHEET) {
                let peaks = places.iter().flat_map(|&place| {
                    let ranked = strongest.peaks(place).iter().enumerate();
                    ranked.map(move |(i, &peak)| (strongest.maps()[place], i + 1, peak))
                });
                let examples = projector.examples(&peaks.collect::<Vec<_>>())?;
                let maps = &strongest.maps()[places[0]..][..places.len()];
                // An image counts once: there are no more patches than images.
                let most = self.top.min(images.count);
                sheet(maps, examples, (&mut told, &mut page.text), most, folder)?;
                page.flush()?;
                done += places.len();
                progress.set(done, || name.clone());
            }
            gallery.layers.push(told);
        }
        drop(progress);
        write(&gallery, page, folder, output)
    }
}

/// Draws some maps of a layer with their examples, into the page and as the layer's next sheet.
fn sheet(
    maps: &[usize],
    examples: Vec<Example>,
    (layer, page): (&mut Layer, &mut Page),
    most: usize,
    folder: &mut Folder,
) -> Result<()> {
    let name = &layer.name;
    let mut pictures: Vec<Image> = Vec::new();
    page.begin_row();
    for &map in maps {
        let own: Vec<_> = examples.iter().filter(|e| e.record.map == map).collect();
        let picture = block(&own, most);
        let caption = match own.first() {
            Some(first) => format!("map {map}, to {:.3}", first.record.value),
            None => format!("map {map}: no image made it positive"),
        };
        layer.dead.extend(own.is_empty().then_some(map));
        page.figure(&encode(&picture, &[])?, &format!("{name}, {caption}"), &caption);
        pictures.push(picture);
    }
    page.end_row();
    let number = layer.sheets.len();
    let (corners, _) = layout(&pictures, COLUMNS, GAP);
    layer.places.extend(pictures.iter().zip(corners).map(|(picture, [top, left])| {
        let Image { height, width, .. } = *picture;
        Place { sheet: number, rectangle: Rectangle { top, left, height, width } }
    }));
    let file = format!("{}-{}.png", file_name(name), number + 1);
    let description = format!("{name}: strongest patches and projections");
    let texts = [("Description", &*description), ("Warning", WARNING)];
    let png = encode(&blocks(&pictures, COLUMNS, GAP), &texts)?;
    folder.write(&file, &png)?;
    layer.sheets.push(file);
    layer.examples.extend(examples.into_iter().map(|example| example.record));
    Ok(())
}

fn write(gallery: &Gallery, page: PageFile, folder: &mut Folder, output: Output) -> Result<()> {
    let json = serde_json::to_vec_pretty(&crate::output::Versioned::new(gallery))?;
    folder.report(DOCUMENT, Kind::ReportJson, &json, output)?;
    folder.finish_page(page, output)?;
    if output.json {
        return output.document(gallery);
    }
    for layer in &gallery.layers {
        let dead = match &layer.dead[..] {
            [] => String::new(),
            dead => format!(", {} without a positive activation", dead.len()),
        };
        let sheets = layer.sheets.join(", ");
        output.text(&format!(
            "{}: {}{dead}: {sheets}\n",
            layer.name,
            counted(layer.maps.len(), "map")
        ))?;
    }
    Ok(())
}

/// `64 maps of 16×16`.
pub(super) fn shape(graph: &Graph, layer: NodeId) -> String {
    let shape = graph.node(layer).shape();
    let [height, width] = shape.size();
    format!("{} of {height}×{width}", counted(shape.channels(), "map"))
}

/// Fails where the patches of a sheet, of which a map has up to `top`, do not fit into memory.
fn check_sheets(graph: &Graph, layers: &[NodeId], maps: &[Vec<usize>], top: usize) -> Result<()> {
    for (&layer, maps) in layers.iter().zip(maps) {
        let count = maps.len().min(ON_A_SHEET);
        let needed = of_block(graph, layer, top).saturating_mul(count as u64);
        let name = &graph.node(layer).name;
        memory::check(needed, &format!("{top} patches of each of {count} maps of {name}"))?;
    }
    Ok(())
}

/// What a search must agree on to go on: weights, preparation, images and layers.
fn identity(model: &Model, images: &Images, layers: &[NodeId]) -> String {
    let names: Vec<&str> = layers.iter().map(|&layer| &*model.graph.node(layer).name).collect();
    let text = format!(
        "{} {} {:?} {} {} {names:?}",
        model.graph.name(),
        hash_of_weights(&model.weights),
        images.preprocess,
        images.part.fingerprint(),
        images.count
    );
    sha256(text.as_bytes())
}
