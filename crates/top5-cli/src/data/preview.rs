//! `top5 data preview`: a contact sheet of the first images of a run, as evaluation and as training sees them.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use top5::data::{Image, Limits, Loader, OpenOptions, Preprocess, open};
use top5::explain::picture::{encode, sheet};
use top5::train::{Recipe, Trainer};
use top5::zoo;

use super::PreviewArgs;
use crate::memory;
use crate::output::{Kind, Output};
use crate::table::{self, Column};
use crate::train::{asked_for, augment_as_usual, is_usual, refused};

/// Images in a row of the sheet, two pictures of each.
const IN_A_ROW: usize = 4;
/// Least and greatest side of a picture's square.
const CELL: [usize; 2] = [64, 224];
/// Pixels between squares.
const GAP: usize = 4;

/// The command, resolved.
pub(crate) struct Task {
    recipe: Recipe,
    /// Whether what is done to training images follows from the images.
    augment_unsaid: bool,
    limits: Limits,
    out: PathBuf,
    images: usize,
    epoch: usize,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Document {
    sheet: String,
    network: String,
    preprocess: String,
    /// What is done to images, in order, and how they are mixed.
    augment: Vec<String>,
    epoch: usize,
    images: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    /// Both from 1; the training picture is the right one of the image's two.
    row: usize,
    column: usize,
    image: String,
    class: String,
    /// The class of what is mixed in, and its share.
    mixed: Option<(String, f32)>,
}

impl Task {
    pub(super) fn resolve(args: PreviewArgs) -> Result<Self> {
        let data = args.source.data;
        let settings = args.augment.settings();
        let mut recipe = asked_for(&args.recipe, Some(&data))?;
        recipe = recipe.with(&settings).map_err(|error| refused(error, &settings))?;
        let is_said = settings.iter().any(|(key, _)| *key == "augment");
        let augment_unsaid = is_usual(&args.recipe, Some(&data)) && !is_said;
        recipe.seed = args.seed.unwrap_or(recipe.seed);
        recipe.data = data;
        let limits = args.source.images.limits();
        let (out, images, epoch) = (args.out, args.images, args.epoch);
        Ok(Self { recipe, augment_unsaid, limits, out, images, epoch })
    }

    pub(super) fn run(mut self, output: Output) -> Result<()> {
        output.check_file(&self.out, Kind::Png)?;
        let recipe = &mut self.recipe;
        let options = OpenOptions {
            validation: recipe.validation,
            seed: recipe.seed,
            limits: self.limits,
            memory: memory::available(),
            ..OpenOptions::default()
        };
        let splits = open(&recipe.data, &options)?;
        let network = zoo::network(&recipe.network)?;
        let preprocess = top5::recipe_preprocessing(recipe, network);
        if self.augment_unsaid {
            augment_as_usual(recipe, splits.train.as_ref(), preprocess.input_size);
        }
        let recipe = &self.recipe;
        let batch = recipe.step_images().min(splits.train.len());
        memory::check_batch(Loader::memory(batch, preprocess.size()), "reading batches")?;
        let trainer = Trainer::new(recipe.clone(), &splits, preprocess.clone()).skip_unreadable();
        let (pictures, entries) = self.draw(&trainer, &preprocess, output)?;
        let [_, height, width] = preprocess.input_size;
        let cell = height.max(width).clamp(CELL[0], CELL[1]);
        let augment = recipe.changes();
        let document = Document {
            sheet: self.out.display().to_string(),
            network: recipe.network.clone(),
            preprocess: preprocess.describe(),
            augment,
            epoch: self.epoch,
            images: entries,
        };
        let said = if document.augment.is_empty() {
            "nothing".to_owned()
        } else {
            document.augment.join("; ")
        };
        output.note(&format!("evaluation sees: {}", document.preprocess));
        output.note(&format!("training changes: {said}"));
        let text = format!("Left: as evaluation sees it; right: as training does ({said})");
        let png = encode(&sheet(&pictures, 2 * IN_A_ROW, cell, GAP), &[("Description", &text)])?;
        output.file(&self.out, Kind::Png, &png)?;
        match output.json {
            true => output.document(&document),
            false => output.text(&document.text()),
        }
    }

    /// The pictures, two of each image, and what they are.
    fn draw(
        &self,
        trainer: &Trainer,
        preprocess: &Preprocess,
        output: Output,
    ) -> Result<(Vec<Option<Image>>, Vec<Entry>)> {
        let (mut pictures, mut entries) = (Vec::new(), Vec::new());
        let loader = trainer.training_images();
        let part = loader.dataset();
        let class = |label: u32| part.classes()[label as usize].clone();
        let mut plain = vec![0.0; preprocess.size()];
        'drawn: for batch in loader.epoch(self.epoch as u64 - 1, 0) {
            let batch = batch?;
            batch.unread.iter().for_each(|(_, error)| output.warn(&format!("left out: {error}")));
            let seen = batch.images.chunks_exact(preprocess.size());
            for (place, (&index, values)) in batch.indices.iter().zip(seen).enumerate() {
                if entries.len() == self.images {
                    break 'drawn;
                }
                preprocess.apply(&part.sample(index as usize)?.image, &mut plain);
                pictures.extend([&plain[..], values].map(|v| Some(preprocess.picture(v))));
                let mixed = batch.mixed.as_ref();
                entries.push(Entry {
                    row: entries.len() / IN_A_ROW + 1,
                    column: entries.len() % IN_A_ROW + 1,
                    image: part.sample_name(index as usize),
                    class: class(batch.labels[place]),
                    mixed: mixed.map(|m| (class(m.labels[place]), 1.0 - m.share)),
                });
            }
        }
        Ok((pictures, entries))
    }
}

impl Document {
    fn text(&self) -> String {
        const COLUMNS: [Column; 5] = [
            ("row", true),
            ("column", true),
            ("class", false),
            ("mixed in", false),
            ("image", false),
        ];
        let row = |entry: &Entry| {
            let mixed = entry.mixed.as_ref();
            [
                entry.row.to_string(),
                entry.column.to_string(),
                entry.class.clone(),
                mixed.map_or("-".to_owned(), |(class, share)| format!("{share:.2} {class}")),
                entry.image.clone(),
            ]
        };
        table::aligned(COLUMNS, &self.images.iter().map(row).collect::<Vec<_>>())
    }
}
