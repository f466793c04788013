//! `top5 evolve`: how the projection of each map's strongest activation changes while a network learns (figure 4).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use top5::data::{Image, Loader};
use top5::explain::page::Page;
use top5::explain::picture::{blocks, encode, layout};
use top5::explain::zfnet::field::Rectangle;
use top5::explain::zfnet::gallery::Search;
use top5::graph::{Device, NodeId, Retain, counted};
use top5::{CpuDevice, Model, Options, WeightFiles};

use super::args::{EvolveArgs, MapArgs};
use super::draw::{Projector, Record, WARNING, pair};
use super::search::Pass;
use super::subject::{Images, layers, of_each_size};
use crate::eval::{DataChoice, Split};
use crate::exit::Stop;
use crate::folder::{Folder, PageFile, file_name};
use crate::interrupt::Interrupt;
use crate::memory::limited_beside;
use crate::output::{Kind, Output, Versioned};
use crate::run_folder::{EPOCHS, kept_epoch};

/// The side of the squares that patches are drawn in.
const CELL: usize = 48;
const GAP: usize = 6;
pub(crate) const DOCUMENT: &str = "evolution.json";

/// The command, resolved.
pub(crate) struct Task {
    /// The kept epochs' numbers and files, ascending.
    epochs: Vec<(usize, PathBuf)>,
    layers: Vec<String>,
    maps: MapArgs,
    data: DataChoice,
    images: usize,
    batch: usize,
    out: PathBuf,
    options: Options,
}

/// The document of `--json`, and `evolution.json`.
#[derive(Serialize)]
struct Evolution {
    network: String,
    data: String,
    images: usize,
    epochs: Vec<usize>,
    warning: &'static str,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    sheet: String,
    maps: Vec<Map>,
}

#[derive(Serialize)]
struct Map {
    map: usize,
    /// For each epoch the strongest activation; absent where none was positive.
    strongest: Vec<Option<Record>>,
    /// Epochs at which the strongest image is another one than at the epoch kept before.
    jumps: Vec<usize>,
    /// For each epoch where in the sheet it is drawn, the patch above the projection.
    places: Vec<Rectangle>,
}

impl Task {
    pub(crate) fn resolve(args: EvolveArgs) -> Result<Self> {
        let run = args.run.display().to_string();
        Ok(Self {
            epochs: epochs(&args.run)?,
            data: DataChoice::resolve(args.data, Split::Train, Some(&run))?,
            layers: args.layers,
            maps: args.maps,
            images: args.images,
            batch: args.batch_size,
            out: args.out,
            options: args.engine.options()?,
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let model = open(&self.epochs[0].1)?;
        let images = Images::open(&self.data, &model, Split::Train, Some(self.images), output)?;
        let layers = layers(&model.graph, &self.layers, true, of_each_size)?;
        let maps = layers.iter().map(|&layer| self.maps.of(&model.graph, layer));
        let maps: Vec<Vec<usize>> = maps.collect::<Result<_>>()?;
        for (_, path) in &self.epochs[1..] {
            check_alike(path, &open(path)?, &model)?;
        }
        let mut folder = Folder::claim(&self.out, Some(DOCUMENT), output)?;
        let waiting = Loader::memory(self.batch, images.preprocess.size());
        let options = limited_beside(self.options.clone(), waiting, &model.graph);
        let device = top5::device(&options)?;
        let interrupt = Interrupt::default();
        interrupt.listen()?;
        // Per layer and map, what is drawn and told of each epoch.
        let empty = |maps: &Vec<usize>| maps.iter().map(|_| Vec::new()).collect();
        let mut told: Vec<Vec<Vec<Option<Record>>>> = maps.iter().map(empty).collect();
        let mut drawn: Vec<Vec<Vec<Image>>> =
            told.iter().map(|layer| layer.iter().map(|_| Vec::new()).collect()).collect();
        for (epoch, path) in &self.epochs {
            output.note(&format!("epoch {epoch}"));
            let model = open(path)?;
            let pass = Pass {
                layers: &layers,
                batch: self.batch,
                skip_bad: self.data.skip_bad,
                options: &options,
                interrupt: &interrupt,
                output,
                state: None,
                open: &|| open(path),
            };
            let found = look(&device, model, &images, (&pass, &maps))?;
            for ((of_layer, told), drawn) in found.into_iter().zip(&mut told).zip(&mut drawn) {
                for ((example, told), drawn) in of_layer.into_iter().zip(told).zip(drawn) {
                    let (record, picture) = example.unzip();
                    told.push(record);
                    drawn.push(picture.unwrap_or_else(|| Image::filled(3, 1, 1, 255)));
                }
            }
        }
        let names: Vec<String> =
            layers.iter().map(|&layer| model.graph.node(layer).name.clone()).collect();
        let mut evolution = Evolution {
            network: model.graph.name().to_owned(),
            data: images.part.data.clone(),
            images: images.count,
            epochs: self.epochs.iter().map(|(epoch, _)| *epoch).collect(),
            warning: WARNING,
            layers: Vec::new(),
        };
        let title = format!("{}: how its maps evolve", evolution.network);
        let mut page = folder.page(&title, output)?;
        page.text.paragraph(&format!(
            "The strongest activation of each map over {} training images of {}, at the epochs {:?}: the patch above \
             its projection. Where the patch jumps, another image has become the strongest.",
            evolution.images, evolution.data, evolution.epochs
        ));
        page.text.warning(WARNING);
        for (((name, maps), told), drawn) in names.into_iter().zip(maps).zip(told).zip(drawn) {
            let sheet = format!("{}.png", file_name(&name));
            let rows: Vec<Image> =
                drawn.iter().map(|row| blocks(row, self.epochs.len(), GAP)).collect();
            let description = format!(
                "{name}: a row per map ({maps:?}), a column per epoch ({:?}), patches above projections",
                evolution.epochs
            );
            let texts = [("Description", &*description), ("Warning", WARNING)];
            let png = encode(&blocks(&rows, 1, 2 * GAP), &texts)?;
            folder.write(&sheet, &png)?;
            let (corners, _) = layout(&rows, 1, 2 * GAP);
            let places = drawn.iter().zip(corners).map(|(row, corner)| places(row, corner));
            let maps = maps.into_iter().zip(told).zip(places);
            let maps = maps.map(|((map, strongest), places)| Map {
                map,
                jumps: jumps(&evolution.epochs, &strongest),
                strongest,
                places,
            });
            let layer = Layer { name, sheet, maps: maps.collect() };
            tell(&mut page.text, &layer, &png, &evolution.epochs);
            page.flush()?;
            evolution.layers.push(layer);
        }
        write(&evolution, page, folder, output)
    }
}

/// Adds a layer to the page.
fn tell(page: &mut Page, Layer { name, sheet, maps }: &Layer, png: &[u8], epochs: &[usize]) {
    page.heading(name);
    page.figure(png, &format!("{name}, maps by rows, epochs by columns"), sheet);
    let rows: Vec<Vec<String>> = maps.iter().map(row).collect();
    let head = epochs.iter().map(|epoch| format!("epoch {epoch}"));
    let head: Vec<String> = std::iter::once("map".to_owned()).chain(head).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    page.table("The source image of each patch", &head, &rows);
}

fn write(evolution: &Evolution, page: PageFile, mut folder: Folder, output: Output) -> Result<()> {
    let json = serde_json::to_vec_pretty(&Versioned::new(evolution))?;
    folder.report(DOCUMENT, Kind::ReportJson, &json, output)?;
    folder.finish_page(page, output)?;
    folder.finish()?;
    if output.json {
        return output.document(evolution);
    }
    for Layer { name, sheet, maps } in &evolution.layers {
        let jumps: usize = maps.iter().map(|map| map.jumps.len()).sum();
        output.text(&format!(
            "{name}: {}, {} to another source image: {sheet}\n",
            counted(maps.len(), "map"),
            counted(jumps, "jump")
        ))?;
    }
    Ok(())
}

/// Per layer and map, what is told and drawn of one epoch.
type Found = Vec<Vec<Option<(Record, Image)>>>;

/// The strongest activations of one epoch's network.
fn look(
    device: &CpuDevice,
    model: Model,
    images: &Images,
    (pass, maps): (&Pass<'_>, &[Vec<usize>]),
) -> Result<Found> {
    let Model { graph, weights, .. } = model;
    let network = device.network(&graph, weights, Retain::Tensors)?;
    let mut search = Search::new("", 1, maps.to_vec());
    pass.run(network.as_ref(), images, &mut search)?;
    let one = |(&layer, strongest): (&NodeId, &top5::explain::zfnet::strongest::Strongest)| {
        let mut projector = Projector::new(&network, layer, images, pass.interrupt)?;
        let map = |(place, &map): (usize, &usize)| {
            let peaks: Vec<_> = strongest.peaks(place).iter().map(|&peak| (map, 1, peak)).collect();
            let examples = projector.examples(&peaks)?;
            Ok(examples.into_iter().next().map(|e| (e.record.clone(), pair(&e, CELL))))
        };
        strongest.maps().iter().enumerate().map(map).collect()
    };
    pass.layers.iter().zip(search.layers()).map(one).collect()
}

/// The epochs that a run kept.
fn epochs(run: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let folder = run.join(EPOCHS);
    let mut epochs = Vec::new();
    if folder.is_dir() {
        let listing = || format!("listing {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(listing)? {
            let path = entry.with_context(listing)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            epochs.extend(kept_epoch(name).map(|epoch| (epoch, path)));
        }
    }
    epochs.sort();
    if epochs.is_empty() {
        let message = format!(
            "{} has no kept epochs: train with --keep-epochs, for example `top5 train lenet --keep-epochs 1,2,5,10`",
            run.display()
        );
        return Err(Stop::BadInput(message).into());
    }
    Ok(epochs)
}

fn open(path: &Path) -> Result<Model> {
    Ok(WeightFiles::at(path)?.open(None, &top5::formats::Pick::Weights)?.model.inference())
}

/// Fails unless the model in this file is of the first one's network and classes, and gets the same images.
fn check_alike(path: &Path, model: &Model, first: &Model) -> Result<()> {
    let of = |model: &Model| {
        let Model { graph, classes, preprocess, .. } = model;
        let name = graph.name().to_owned();
        (name, graph.input(), graph.nodes().len(), classes.clone(), preprocess.clone())
    };
    if of(model) == of(first) {
        return Ok(());
    }
    let message = format!(
        "{}: a model of {}, {}, {}, where the first epoch kept is one of {}, {}, {}: expected epochs of one run",
        path.display(),
        model.graph.name(),
        classes_of(model),
        model.preprocess.describe(),
        first.graph.name(),
        classes_of(first),
        first.preprocess.describe()
    );
    Err(Stop::BadInput(message).into())
}

/// `10 classes from airplane on`.
fn classes_of(Model { classes, .. }: &Model) -> String {
    let first = classes.first().map(|first| format!(" from {first} on"));
    counted(classes.len(), "class") + &first.unwrap_or_default()
}

/// Where the pictures of a row are whose own corner is there.
fn places(row: &[Image], [top, left]: [usize; 2]) -> Vec<Rectangle> {
    let (corners, _) = layout(row, row.len(), GAP);
    let place = |(picture, [y, x]): (&Image, [usize; 2])| {
        let Image { height, width, .. } = *picture;
        Rectangle { top: top + y, left: left + x, height, width }
    };
    row.iter().zip(corners).map(place).collect()
}

/// Epochs at which the strongest image is another one than before.
fn jumps(epochs: &[usize], strongest: &[Option<Record>]) -> Vec<usize> {
    let image = |record: &Option<Record>| record.as_ref().map(|record| record.image);
    let pairs = strongest.windows(2).zip(&epochs[1..]);
    pairs.filter(|(pair, _)| image(&pair[0]) != image(&pair[1])).map(|(_, &epoch)| epoch).collect()
}

fn row(map: &Map) -> Vec<String> {
    let name = |record: &Option<Record>| match record {
        Some(record) => format!("{} ({})", record.name, record.class),
        None => "none positive".to_owned(),
    };
    let names = map.strongest.iter().map(name);
    std::iter::once(map.map.to_string()).chain(names).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_of_another_run_are_told_by_their_classes() {
        let network = top5::zoo::network("lenet").unwrap();
        let first = Model::untrained(network, 0).unwrap();
        let later = Model::untrained(network, 1).unwrap();
        let path = Path::new("epoch-0002.safetensors");
        assert!(check_alike(path, &later, &first).is_ok());
        let classes = ["cat", "dog"].map(str::to_owned).to_vec();
        let error = check_alike(path, &Model { classes, ..later }, &first).unwrap_err().to_string();
        for told in ["epoch-0002.safetensors", "2 classes from cat on", "10 classes from 0 on"] {
            assert!(error.contains(told), "{error}");
        }
    }
}
