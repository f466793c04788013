//! Several right answers per image: ReaL's labels of the ImageNet validation images (Beyer et al., arXiv:2006.07159).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use top5::data::files::read_text;
use top5::eval::{Header, Judged, Predictions, RightAnswers, imagenet};
use top5::graph::{counted, in_plain_words};

use crate::exit::Stop;
use crate::output::Output;
use crate::printable;

/// The classes that are right for each validation image, in the order of their numbers.
pub(crate) struct Real {
    shown: String,
    /// The first digits of the file's SHA-256.
    hash: String,
    right: Vec<Vec<u32>>,
}

/// Digits of a hash that tell one file of labels from another.
const HASHED: usize = 16;

/// What the files of the validation images are called, before their number from 1 on.
const VALIDATION: &str = "ILSVRC2012_val_";

impl Real {
    /// Reads `real.json`: a list of lists of classes.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let text = read_text(path).with_context(|| format!("reading {shown}"))?;
        let right: Vec<Vec<u32>> = serde_json::from_str(&text).map_err(|error| {
            let error = in_plain_words(&error.to_string());
            Stop::BadInput(format!("{shown}: expected a list of lists of classes: {error}"))
        })?;
        let hash = top5::sha256(text.as_bytes())[..HASHED].to_owned();
        Ok(Self { shown, hash, right })
    }

    /// Judges answers. Left out are images that have no right answer: on which nobody agreed, or whose classes are none of the
    /// data's; the rest stay in the header, which says how many they are.
    pub(crate) fn judge(&self, answers: &mut Predictions, output: Output) -> Result<Vec<Judged>> {
        let ours = ours(&answers.header.classes);
        let (mut judged, mut agreeing) = (Vec::new(), 0);
        for (image, &label) in answers.labels.iter().enumerate() {
            let name = &answers.header.images[image];
            let right = self.right(name, image, answers.len())?;
            let right = match &ours {
                Some(_) if right.iter().any(|&class| class as usize >= imagenet::COUNT) => {
                    return Err(
                        self.wrong(name, "its label is none of ImageNet's thousand classes")
                    );
                }
                // Classes that the data lack cannot be the answer.
                Some(ours) => right.iter().filter_map(|class| ours.get(class).copied()).collect(),
                None if right.iter().any(|&class| class as usize >= answers.classes()) => {
                    return Err(self.wrong(name, "its label is none of the classes"));
                }
                None => right.to_vec(),
            };
            if !right.is_empty() {
                judged.push(Judged::among(image, &answers.probabilities(image), label, &right));
                agreeing += usize::from(right.contains(&label));
            }
        }
        let (left, all) = (judged.len(), answers.len());
        if left == 0 {
            let message = format!("{}: none of the {all} images has a right answer", self.shown);
            return Err(Stop::BadInput(message).into());
        }
        // The folders' classes are right for nine in ten of ImageNet's.
        if agreeing * 2 < left {
            output.warn(&format!(
                "{}: the images' own classes are among their right answers for {agreeing} of {left} only: are these \
                 the labels of these images?",
                self.shown,
                left = counted(left, "image")
            ));
        }
        let Header { images, pixels, .. } = &mut answers.header;
        for of_images in [images, pixels].into_iter().filter(|of_images| !of_images.is_empty()) {
            *of_images = judged.iter().map(|one| of_images[one.index].clone()).collect();
        }
        answers.header.origin.terms.right_answers = Some(RightAnswers {
            labels: "ReaL".to_owned(),
            sha256: self.hash.clone(),
            judged: left,
            images: all,
        });
        Ok(judged)
    }

    /// The classes that are right for an image: by the number in its file's name, or by its place where there are as many
    /// images as labels.
    fn right(&self, image: &str, place: usize, images: usize) -> Result<&[u32]> {
        let number = image.split(['/', '\\']).next_back().and_then(|file| {
            let digits = file.strip_prefix(VALIDATION)?.split(['.', '_']).next()?;
            digits.parse::<usize>().ok()?.checked_sub(1)
        });
        let place = number.or((images == self.right.len()).then_some(place));
        let right = place.and_then(|place| self.right.get(place));
        right.map(Vec::as_slice).ok_or_else(|| {
            self.wrong(image, "no label for it: expected files called ILSVRC2012_val_00000001.JPEG, or as many labels as images")
        })
    }

    fn wrong(&self, image: &str, reason: &str) -> anyhow::Error {
        let image = printable::path(image);
        Stop::BadInput(format!("{}: {image}: {reason}", self.shown)).into()
    }
}

/// The class of the data for each of ImageNet's numbers, where all classes are ImageNet's by WNID or name. Else the labels' numbers
/// are the data's.
fn ours(classes: &[String]) -> Option<BTreeMap<u32, u32>> {
    let numbers = imagenet::numbers(classes)?;
    Some(numbers.iter().zip(0..).map(|(&number, class)| (number as u32, class)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_by_number_or_place() {
        let (shown, hash) = ("real.json".to_owned(), String::new());
        let real = Real { shown, hash, right: vec![vec![1], vec![], vec![0, 2]] };
        let file = "n01440764/ILSVRC2012_val_00000003.JPEG";
        assert_eq!(real.right(file, 0, 1).unwrap(), [0, 2]);
        assert_eq!(real.right("ILSVRC2012_val_00000001_n01440764.JPEG", 5, 9).unwrap(), [1]);
        assert_eq!(real.right("x.png", 0, 3).unwrap(), [1]);
        assert!(real.right("x.png", 1, 3).unwrap().is_empty());
        for (image, images) in
            [("x.png", 2), ("ILSVRC2012_val_00000004.JPEG", 3), ("ILSVRC2012_val_00000000.JPEG", 2)]
        {
            let error = real.right(image, 0, images).unwrap_err().to_string();
            assert!(error.contains("no label") && error.contains(image), "{error}");
        }
    }

    #[test]
    fn labels_are_imagenets_numbers_where_the_classes_are_imagenets() {
        let texts = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        // In the order of their names, as folders are.
        let of = ours(&texts(&["English springer", "n01440764", "parachute"])).unwrap();
        assert_eq!(of, BTreeMap::from([(217, 0), (0, 1), (701, 2)]));
        assert_eq!(ours(&texts(&["3", "7"])), None);
    }
}
