//! The pointing game (Zhang et al., ECCV 2016, section 4.2): whether the maximum of a class's map lies on its object.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;
use top5::data::{Image, Preprocess, read_image};
use top5::explain::score::{centred_gaussian, hits, is_hit, random_map};
use top5::explain::zfnet::field::Rectangle;
use top5::explain::{Method, Target};
use top5::graph::counted;

use crate::exit::Stop;
use crate::explained::{Choice, Subject, class_named, map};
use crate::output::Output;
use crate::progress::Progress;
use crate::rectangles::{self, Marked};
use crate::table;

/// Objects, by image and class: several of one class in an image are one object.
pub(super) struct Boxes {
    objects: BTreeMap<(PathBuf, String), Vec<Marked>>,
    tolerance: f64,
}

/// What the table and the document tell.
#[derive(Serialize)]
pub(super) struct Pointing {
    /// In pixels of the prepared image.
    tolerance: f64,
    /// Pairs of an image and a class in it.
    objects: usize,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    control: bool,
    /// The mean over the classes of the share of hits.
    accuracy: Option<f64>,
    hits: usize,
}

impl Boxes {
    pub(super) fn read(path: &Path, tolerance: f64) -> Result<Self> {
        if !(tolerance >= 0.0 && tolerance.is_finite()) {
            let message = format!("--tolerance {tolerance}: expected 0 or more pixels");
            return Err(Stop::Usage(message).into());
        }
        let mut objects: BTreeMap<_, Vec<Marked>> = BTreeMap::new();
        for marked in rectangles::read(path, "class")? {
            let key = (marked.image.clone(), marked.name.clone());
            objects.entry(key).or_default().push(marked);
        }
        if objects.is_empty() {
            let message = format!("{}: it names no objects", path.display());
            return Err(Stop::BadInput(message).into());
        }
        Ok(Self { objects, tolerance })
    }

    /// Explains the class of each object, and finds whether the map's maximum hits it.
    pub(super) fn play(
        &self,
        choice: &Choice,
        subject: &mut Subject,
        methods: &[Method],
        seed: u64,
        output: Output,
    ) -> Result<Pointing> {
        if subject.preprocess.drawn_digits {
            let message = "the pointing game: this model moves what is drawn about, so that rectangles mark nothing";
            return Err(Stop::BadInput(message.to_owned()).into());
        }
        let [_, height, width] = subject.explainer.graph().input();
        let progress = Progress::new(output, "pointing", self.objects.len());
        let mut found = vec![Vec::new(); methods.len() + 2];
        for (number, ((file, name), marked)) in self.objects.iter().enumerate() {
            progress.set(number, || file.display().to_string());
            let class = class_named(&subject.classes, name, &format!("{}:", file.display()))?;
            let image = read_image(file, &choice.limits())?;
            marked.iter().try_for_each(|one| rectangles::check("object", one, &image))?;
            let mask = mask(&subject.preprocess, &image, marked);
            if !mask.contains(&true) {
                let message =
                    format!("{}: {name} lies outside of what the network sees", file.display());
                return Err(Stop::BadInput(message).into());
            }
            let mut input = vec![0.0; subject.preprocess.size()];
            subject.preprocess.apply(&image, &mut input);
            let hit = |map: &[f32]| is_hit(map, &mask, width, self.tolerance);
            for (found, method) in found.iter_mut().zip(methods) {
                let target = Target::class(class);
                found.push((class, hit(&map(&mut subject.explainer, method, &input, target)?)?));
            }
            let random = random_map(height * width, seed.wrapping_add(number as u64));
            let controls = [random, centred_gaussian([height, width])];
            for (found, map) in found[methods.len()..].iter_mut().zip(&controls) {
                found.push((class, hit(map)?));
            }
        }
        let names = methods.iter().map(|method| (method.name(), false));
        let names = names.chain([("random", true), ("centred Gaussian", true)]);
        let row = |((name, control), found): ((&str, bool), Vec<(usize, bool)>)| Row {
            name: name.to_owned(),
            control,
            hits: found.iter().filter(|(_, hit)| *hit).count(),
            accuracy: hits(subject.classes.len(), found).accuracy,
        };
        let rows = names.zip(found).map(row).collect();
        Ok(Pointing { tolerance: self.tolerance, objects: self.objects.len(), rows })
    }
}

/// Where the objects are in the prepared image: the rectangles, white on black, go the way of the image.
fn mask(preprocess: &Preprocess, image: &Image, marked: &[Marked]) -> Vec<bool> {
    let mut drawn = Image::filled(3, image.height, image.width, 0);
    for &Marked { rectangle: Rectangle { top, left, height, width }, .. } in marked {
        drawn.paste(&Image::filled(3, height, width, 255), top, left);
    }
    let mut prepared = vec![0.0; preprocess.size()];
    preprocess.apply(&drawn, &mut prepared);
    let [_, height, width] = preprocess.input_size;
    let level = |value: &f32| value * preprocess.std[0] + preprocess.mean[0];
    prepared[..height * width].iter().map(|value| level(value) > 0.5).collect()
}

impl Pointing {
    pub(super) fn text(&self) -> String {
        let columns = [("method", false), ("pointing game (high)", true), ("hits", true)];
        let row = |row: &Row| {
            let name = row.name.clone() + if row.control { " (control)" } else { "" };
            let accuracy =
                row.accuracy.map_or_else(|| "-".to_owned(), |share| format!("{share:.3}"));
            [name, accuracy, row.hits.to_string()]
        };
        let rows: Vec<[String; 3]> = self.rows.iter().map(row).collect();
        format!(
            "\n{}\npointing game: {}, mean of the classes' accuracies; a maximum within {} of the object hits\n",
            table::aligned(columns, &rows),
            counted(self.objects, "object"),
            counted(self.tolerance, "pixel")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_go_the_way_of_the_image() {
        let image = Image::filled(3, 100, 200, 9);
        let rectangle = Rectangle { top: 0, left: 100, height: 100, width: 50 };
        let marked = [Marked { image: PathBuf::new(), name: String::new(), rectangle }];
        let preprocess = Preprocess { crop_pct: 1.0, ..Preprocess::imagenet(50, 50) };
        let mask = mask(&preprocess, &image, &marked);
        // Halved to 50x100, the middle 50 columns begin at 25: the object is at columns 25 to 50 of the crop.
        for (pixel, &inside) in mask.iter().enumerate() {
            assert_eq!(inside, pixel % 50 >= 25, "{pixel}");
        }
    }
}
