//! What a run says before its first step: the images, the network, the steps, the memory, the changes to images, and what looks
//! wrong with the data.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::Serialize;
use top5::data::{Dataset, Image, Splits};
use top5::graph::{Graph, counted, several};
use top5::train::{Recipe, Schedule};
use top5::usual_augment;

use crate::output::Output;

/// Classes whose names are said.
const NAMED: usize = 10;
/// Images that are looked at for their colours.
const LOOKED_AT: usize = 16;
/// Most pixels of all images that are compared with one another.
const COMPARED: usize = 1 << 26;

/// What is about to be done; a part of the document of `--json`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Plan {
    classes: usize,
    class_names: Vec<String>,
    images: Images,
    network: String,
    parameters: usize,
    input: [usize; 3],
    steps_per_epoch: usize,
    steps: usize,
    images_per_step: usize,
    memory_bytes: u64,
    /// In words; as it is written in a recipe it is in `config.resolved.toml`.
    augmentation: Vec<String>,
    optimizer: String,
    warnings: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Images {
    train: usize,
    validation: usize,
    test: usize,
}

impl Plan {
    /// Of a run of so many steps that takes so many bytes.
    pub(super) fn new(
        recipe: &Recipe,
        splits: &Splits,
        graph: &Graph,
        [steps, steps_per_epoch]: [usize; 2],
        memory_bytes: u64,
    ) -> Self {
        let classes = splits.train.classes();
        let images_per_step = recipe.step_images().min(splits.train.len());
        let idle = idle(recipe, steps, images_per_step);
        Self {
            classes: classes.len(),
            class_names: classes.iter().take(NAMED).cloned().collect(),
            images: Images {
                train: splits.train.len(),
                validation: splits.validation.len(),
                test: splits.test.as_ref().map_or(0, |test| test.len()),
            },
            network: graph.name().to_owned(),
            parameters: graph.param_count(),
            input: graph.input(),
            steps_per_epoch,
            steps,
            images_per_step,
            memory_bytes,
            augmentation: recipe.changes(),
            optimizer: descent(recipe),
            warnings: [idle, warnings(splits, graph.input()[0])].concat(),
        }
    }

    /// Says it.
    pub(super) fn say(&self, recipe: &Recipe, output: Output) {
        let names = self.class_names.join(", ");
        let more = if self.classes > NAMED { ", …" } else { "" };
        output.note(&format!("{}: {names}{more}", counted(self.classes, "class")));
        let [channels, height, width] = self.input;
        output.note(&format!(
            "{} of {} of {} of {channels}×{height}×{width}: {}, about {} MiB of memory",
            counted(recipe.epochs, "epoch"),
            counted(self.steps_per_epoch, "step"),
            counted(self.images_per_step, "image"),
            counted(self.steps, "step"),
            self.memory_bytes.div_ceil(1 << 20)
        ));
        if recipe.accumulate > 1 {
            output.note(&format!(
                "a step is {} batches of {}, whose gradients are added; batch normalisation, if there is any, is of one batch",
                recipe.accumulate,
                self.images_per_step.div_ceil(recipe.accumulate)
            ));
        }
        output.note(&self.optimizer);
        output.note(&match self.augmentation.as_slice() {
            [] => "training images are not changed".to_owned(),
            changes => format!("training images: {}", changes.join("; ")),
        });
        self.warnings.iter().for_each(|warning| output.warn(warning));
    }
}

/// The optimiser and its rate, in words.
fn descent(recipe: &Recipe) -> String {
    let schedule = match &recipe.schedule {
        Schedule::Constant => "constant".to_owned(),
        Schedule::Step { milestones, gamma } => {
            let after: Vec<String> = milestones.iter().map(f64::to_string).collect();
            format!("times {gamma} after {} {}", several(after.len(), "epoch"), after.join(", "))
        }
        Schedule::Exponential { gamma, epochs } => {
            format!("times {gamma} every {}", counted(*epochs, "epoch"))
        }
        Schedule::Cosine { last } => format!("along a cosine to {last}"),
        Schedule::Polynomial { power, last } => format!("along the power {power} to {last}"),
        Schedule::Plateau(plateau) => format!(
            "times {} where more than {} in a row bring nothing better",
            plateau.factor,
            counted(plateau.patience, "epoch")
        ),
    };
    let warmup = match recipe.warmup_epochs {
        0.0 => String::new(),
        epochs => format!("rising over {}, then ", counted(epochs, "epoch")),
    };
    format!("{}, learning rate {}, {warmup}{schedule}", recipe.optimizer.name(), recipe.lr)
}

/// What the recipe asks for that changes nothing in a run of so many steps of so many images, mostly since it ends before.
fn idle(recipe: &Recipe, steps: usize, images: usize) -> Vec<String> {
    let mut idle = Vec::new();
    let epochs = recipe.epochs;
    if recipe.ema.is_some() && recipe.ema_after >= steps {
        idle.push(format!(
            "the average of the weights begins after {} and the run ends after {}: it will be the weights themselves",
            counted(recipe.ema_after, "step"),
            counted(steps, "step")
        ));
    }
    if images == 1 && !recipe.mix().is_none() {
        idle.push(
            "images are mixed with others of their step, which has but one: none is mixed"
                .to_owned(),
        );
    }
    if recipe.warmup_epochs > epochs as f64 {
        idle.push(format!(
            "the learning rate rises over {} and the run ends after {}: it never gets to {}",
            counted(recipe.warmup_epochs, "epoch"),
            counted(epochs, "epoch"),
            recipe.lr
        ));
    }
    let first = match &recipe.schedule {
        Schedule::Step { milestones, .. } => milestones.first(),
        Schedule::Exponential { epochs, .. } => Some(epochs),
        Schedule::Constant
        | Schedule::Cosine { .. }
        | Schedule::Polynomial { .. }
        | Schedule::Plateau(_) => None,
    };
    if let Some(first) = first.filter(|first| **first >= epochs as f64) {
        idle.push(format!(
            "the learning rate changes after {} for the first time and the run ends after {}: it stays as it is",
            counted(*first, "epoch"),
            counted(epochs, "epoch")
        ));
    }
    idle
}

/// What looks wrong with the data of a network whose input has so many channels.
fn warnings(splits: &Splits, channels: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    let classes = splits.train.classes();
    let parts = [("choose the epoch", Some(&splits.validation)), ("test", splits.test.as_ref())];
    for (purpose, part) in parts {
        let Some(part) = part.filter(|part| !part.is_empty()) else { continue };
        let mut seen = vec![false; classes.len()];
        (0..part.len()).for_each(|index| seen[part.label(index) as usize] = true);
        let without = classes.iter().zip(&seen).filter(|(_, seen)| !**seen);
        let without: Vec<&str> = without.map(|(class, _)| class.as_str()).collect();
        if !without.is_empty() {
            let names = without.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
            let more = if without.len() > NAMED { ", …" } else { "" };
            let count = counted(without.len(), "class");
            warnings.push(format!("no image to {purpose} is of {count}: {names}{more}"));
        }
    }
    if channels == 1 && is_coloured(splits.train.as_ref()) {
        warnings.push(
            "the images have colours and the network takes gray ones: they are turned to gray"
                .to_owned(),
        );
    }
    for (purpose, twins) in twins(splits) {
        let are = if twins == 1 { "is" } else { "are" };
        warnings.push(format!(
            "{twins} of the images to {purpose} {are} also among those to learn from: what is measured on them is too good"
        ));
    }
    warnings
}

/// Numbers of the images that are looked at: spread over all.
fn spread(dataset: &dyn Dataset) -> impl Iterator<Item = usize> {
    let (all, looked_at) = (dataset.len(), dataset.len().min(LOOKED_AT));
    (0..looked_at).map(move |i| i * all / looked_at)
}

/// Whether some of the images have colours. What cannot be read has none here.
fn is_coloured(dataset: &dyn Dataset) -> bool {
    let mut samples = spread(dataset).filter_map(|index| dataset.sample(index).ok());
    samples.any(|sample| {
        let image = &sample.image;
        image.channels == 3 && image.pixels.chunks_exact(3).any(|c| c[0] != c[1] || c[1] != c[2])
    })
}

/// Writes into the recipe what is usually done to such images, which is nothing where it says otherwise and they are gray.
pub(crate) fn augment_as_usual(recipe: &mut Recipe, dataset: &dyn Dataset, input: [usize; 3]) {
    if is_coloured(dataset) {
        let image = typical(dataset);
        recipe.augment = image.map(|image| usual_augment(&image, input)).unwrap_or_default();
    }
}

/// One of the images with three channels, of middling size; None where there is none. One is in memory at a time.
fn typical(dataset: &dyn Dataset) -> Option<Image> {
    let size = |index| {
        let image = dataset.sample(index).ok()?.image;
        (image.channels == 3).then_some((image.pixels.len(), index))
    };
    let mut sizes: Vec<(usize, usize)> = spread(dataset).filter_map(size).collect();
    sizes.sort_unstable();
    let &(_, middle) = sizes.get(sizes.len() / 2)?;
    dataset.sample(middle).ok().map(|sample| sample.image)
}

/// How many images of a part are among those to learn from, too, pixel by pixel; where there are more than can be read in a
/// moment, nothing is known.
fn twins(splits: &Splits) -> Vec<(&'static str, usize)> {
    let parts = [Some(&splits.train), Some(&splits.validation), splits.test.as_ref()];
    let count: usize = parts.iter().flatten().map(|part| part.len()).sum();
    let size = |index| Some(splits.train.sample(index).ok()?.image.pixels.len());
    let largest = spread(splits.train.as_ref()).filter_map(size).max().unwrap_or(0);
    if count.saturating_mul(largest) > 3 * COMPARED {
        return Vec::new();
    }
    let prints = |part: &Arc<dyn Dataset>| -> Vec<u64> {
        let samples = (0..part.len()).filter_map(|index| part.sample(index).ok());
        let print = |sample: top5::data::Sample| {
            let mut hasher = DefaultHasher::new();
            let image = sample.image;
            (image.channels, image.height, image.width).hash(&mut hasher);
            hasher.write(&image.pixels);
            hasher.finish()
        };
        samples.map(print).collect()
    };
    let learnt: HashSet<u64> = prints(&splits.train).into_iter().collect();
    let parts = [("choose the epoch", Some(&splits.validation)), ("test", splits.test.as_ref())];
    let parts = parts.into_iter().filter_map(|(purpose, part)| Some((purpose, part?)));
    let shared = parts.map(|(purpose, part)| {
        (purpose, prints(part).into_iter().filter(|print| learnt.contains(print)).count())
    });
    shared.filter(|(_, twins)| *twins > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_ends_before_is_told() {
        let (_, usual) = top5::recipes().find(|(name, _)| *name == "lenet-digits").unwrap();
        let short = Recipe { epochs: 2, warmup_epochs: 0.5, ..usual };
        assert_eq!(idle(&short, 10, 2), Vec::<String>::new());
        let schedule = |milestones: &[f64]| Recipe {
            schedule: Schedule::Step { milestones: milestones.to_vec(), gamma: 0.1 },
            ..short.clone()
        };
        for (recipe, said) in [
            (Recipe { ema: Some(0.9), ema_after: 10, ..short.clone() }, "after 10 steps"),
            (Recipe { warmup_epochs: 2.5, ..short.clone() }, "rises over 2.5 epochs"),
            (schedule(&[2.0, 3.0]), "changes after 2 epochs"),
            (
                Recipe {
                    schedule: Schedule::Exponential { gamma: 0.9, epochs: 8.0 },
                    ..short.clone()
                },
                "changes after 8 epochs",
            ),
            (Recipe { mixup: 0.2, ..short.clone() }, "which has but one"),
        ] {
            let idle = idle(&recipe, 10, 1);
            assert!(matches!(&idle[..], [text] if text.contains(said)), "{said}: {idle:?}");
        }
        let some = Recipe { ema: Some(0.9), ema_after: 9, ..schedule(&[1.0, 30.0]) };
        assert_eq!(idle(&some, 10, 1), Vec::<String>::new());
        let mixed = Recipe { cutmix: 1.0, ..short };
        assert_eq!(idle(&mixed, 10, 2), Vec::<String>::new());
    }
}
