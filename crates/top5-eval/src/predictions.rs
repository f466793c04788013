//! Answers to keep: what a network said of every image, to be judged and averaged later without running it again.
//!
//! Kept are the logarithms of probabilities: their mean gives the same probabilities as that of logits, from which they differ
//! by a constant per image.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use top5_data::Preprocess;
use top5_graph::{Tensor, Weights, counted};

use crate::protocol::{Average, Protocol};
use crate::terms::{FittedTo, Terms};

/// Where answers come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The network, or what an ensemble is called.
    pub network: String,
    /// SHA-256 of its weights; of an ensemble, of its members' one after the other.
    pub weights: String,
    /// Of an ensemble, what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ensemble: Option<Averaged>,
    /// Name or folder of the data.
    pub data: String,
    /// The part of them.
    pub split: String,
    /// How the part was divided from another one, where it is one of a run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub division: Option<Division>,
    /// What identifies the images: equal for equal data.
    pub fingerprint: String,
    /// How images were prepared; of an ensemble, where all members agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
    /// Which looks at them were averaged; of an ensemble, where all members agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// What was fitted, and which answers are right; older files say so in sentences.
    #[serde(
        default,
        skip_serializing_if = "Terms::is_empty",
        alias = "fitted",
        deserialize_with = "Terms::now_or_before"
    )]
    pub terms: Terms,
}

impl Origin {
    /// Which looks were averaged, in a few words.
    pub fn looks(&self) -> String {
        match (&self.ensemble, &self.protocol) {
            (Some(averaged), _) => averaged.to_string(),
            (None, Some(protocol)) => protocol.name.clone(),
            (None, None) => String::new(),
        }
    }

    /// How images were prepared, in words; of an ensemble, where all members agree.
    pub fn preparation(&self) -> Option<String> {
        let preprocess = self.preprocess.as_ref()?;
        Some(match self.takes_own_crop() {
            true => preprocess.describe(),
            false => preprocess.describe_but_for_crop(),
        })
    }

    fn takes_own_crop(&self) -> bool {
        match &self.ensemble {
            Some(of) => of.origins.iter().any(|member| member.origin.takes_own_crop()),
            None => self.protocol.as_ref().is_some_and(Protocol::takes_own_crop),
        }
    }
}

/// How images to choose the epoch are divided from those that are learnt from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Division {
    /// The share of each class.
    pub validation: f64,
    /// Which ones.
    pub seed: u64,
    /// The folder of which all images choose the epoch, in place of such a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_data: Option<String>,
}

/// What an ensemble is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Averaged {
    /// The [row](crate::rows::ResultRow) of the article's table that it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// What was averaged of the members.
    #[serde(default)]
    pub average: Average,
    /// What was averaged, a line each.
    pub members: Vec<String>,
    /// The same in full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<Weighted>,
    /// What should have been averaged too and was not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// What was chosen where the sources say nothing, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// Looks at an image, over all members.
    pub views: usize,
}

impl fmt::Display for Averaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks = counted(self.members.len(), "network");
        write!(f, "{networks}, each by its protocol, mean of the {}", self.average.name())
    }
}

/// A member of an ensemble.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weighted {
    /// How much it counts beside the others.
    pub weight: f64,
    /// Where its answers come from.
    pub origin: Origin,
}

/// The text that goes with the numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Where they come from.
    pub origin: Origin,
    /// The name of each class.
    pub classes: Vec<String>,
    /// The file or number of each image.
    pub images: Vec<String>,
    /// What tells the pixels of each image from others ([`Image::fingerprint`](top5_data::Image::fingerprint)); none where that is not
    /// known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pixels: Vec<String>,
    /// The images that could not be read: what is wrong with each.
    pub unread: Vec<String>,
    /// Learned parameters, of one network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<usize>,
    /// Whether classes of the network that the data lack were left out of its answers.
    #[serde(default)]
    pub subset: bool,
    /// Which images of the part they are, where they are not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// Some images of a part that follow each other, by their numbers from 0; those that could not be read are among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The first.
    pub start: usize,
    /// The one after the last.
    pub end: usize,
    /// How many the part has.
    pub of: usize,
}

impl Shard {
    /// The `number`th, from 1, of `shards` about equal ones of `of` images.
    pub fn new(number: usize, shards: usize, of: usize) -> Self {
        let border = |at: usize| (at as u128 * of as u128 / shards.max(1) as u128) as usize;
        Self { start: border(number - 1), end: border(number), of }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, end, of } = self;
        write!(f, "images {start} to {} of {of}", end.saturating_sub(1))
    }
}

/// One picture in so many may be in two sets by chance.
const BY_CHANCE: usize = 100;

/// What a network said of some images.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// Where they come from.
    pub header: Header,
    /// The class of each image.
    pub labels: Vec<u32>,
    /// Logarithms of probabilities: a row per image, a column per class.
    pub log_probabilities: Vec<f32>,
}

/// Why a file holds no predictions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PredictionsError {
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for PredictionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for PredictionsError {}

/// Logarithms of probabilities as they are kept. Of the probable classes they are finer than the logits were.
pub fn kept_row(probabilities: &[f64]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln() as f32).collect()
}

/// Whether these are such logarithms, of probabilities that sum to about one.
fn is_kept_row(row: &[f32]) -> bool {
    let sum: f64 = row.iter().map(|&log| f64::from(log).exp()).sum();
    (sum - 1.0).abs() < 1e-3
}

fn missing(start: usize, end: usize, of: usize) -> String {
    format!("{} are in none of them: give all shards of one evaluation", Shard { start, end, of })
}

const LABELS: &str = "labels";
const LOG_PROBABILITIES: &str = "log_probabilities";

impl Predictions {
    /// None yet.
    pub fn new(origin: Origin, classes: Vec<String>) -> Self {
        let header = Header {
            origin,
            classes,
            images: Vec::new(),
            pixels: Vec::new(),
            unread: Vec::new(),
            params: None,
            subset: false,
            shard: None,
        };
        Self { header, labels: Vec::new(), log_probabilities: Vec::new() }
    }

    /// The shards of one evaluation, in any order, as if it had been made at once. Fails where they are of several evaluations,
    /// or an image is in none of them or in two. Answers about all images are one shard.
    pub fn join(shards: Vec<Self>) -> Result<Self, PredictionsError> {
        let whole = |one: &Self| {
            let of = one.len() + one.header.unread.len();
            one.header.shard.unwrap_or(Shard { start: 0, end: of, of })
        };
        let mut shards: Vec<(Shard, Self)> =
            shards.into_iter().map(|one| (whole(&one), one)).collect();
        shards.sort_by_key(|(shard, _)| (shard.start, shard.end));
        let mut rest = shards.into_iter();
        let fail = |reason: String| Err(PredictionsError { reason });
        let Some((first, mut joined)) = rest.next() else {
            return fail("there are none".to_owned());
        };
        let mut end = first.end;
        if first.start > 0 {
            return fail(missing(0, first.start, first.of));
        }
        for (shard, one) in rest {
            let (a, b) = (&joined.header, &one.header);
            if (&a.origin, &a.classes, a.subset) != (&b.origin, &b.classes, b.subset)
                || first.of != shard.of
            {
                return fail(format!(
                    "{shard} and those before them were not answered by the same weights, in the same way, about the same \
                     data"
                ));
            }
            if shard.start > end {
                return fail(missing(end, shard.start, first.of));
            }
            if shard.start < end {
                let to = end.min(shard.end) - 1;
                return fail(format!("images {} to {to} are in two of them", shard.start));
            }
            end = shard.end;
            joined.header.images.extend(one.header.images);
            joined.header.pixels.extend(one.header.pixels);
            joined.header.unread.extend(one.header.unread);
            joined.labels.extend(one.labels);
            joined.log_probabilities.extend(one.log_probabilities);
        }
        if end < first.of {
            return fail(missing(end, first.of, first.of));
        }
        if joined.is_empty() {
            return fail("they are about no image".to_owned());
        }
        joined.header.shard = None;
        if joined.header.pixels.len() != joined.len() {
            joined.header.pixels.clear();
        }
        Ok(joined)
    }

    /// Adds an image.
    pub fn push(&mut self, image: String, label: u32, probabilities: &[f64]) {
        self.header.images.push(image);
        self.labels.push(label);
        self.log_probabilities.extend(kept_row(probabilities));
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.header.classes.len()
    }

    /// What is told of them where something is fitted to them.
    pub fn fitted_to(&self) -> FittedTo {
        let Origin { data, split, .. } = &self.header.origin;
        FittedTo { images: self.len(), data: data.clone(), split: split.clone() }
    }

    /// The logarithms of an image's probabilities. Panics when there is no such image.
    pub fn row(&self, image: usize) -> &[f32] {
        &self.log_probabilities[image * self.classes()..][..self.classes()]
    }

    /// Whether these are answers about the same images in the same order, as far as it is known.
    pub fn is_about_images_of(&self, other: &Self) -> bool {
        let [a, b] = [&self.header, &other.header];
        let known = !(a.pixels.is_empty() || b.pixels.is_empty());
        let same = (&a.origin.fingerprint, &a.images) == (&b.origin.fingerprint, &b.images);
        same && self.labels == other.labels && (!known || a.pixels == b.pixels)
    }

    /// Whether images are in both, whatever they are called, and more than by chance. Of answers whose images' pixels are not known
    /// it cannot be told.
    pub fn shares_images_with(&self, other: &Self) -> bool {
        let [ours, theirs] =
            [self, other].map(|one| one.header.pixels.iter().collect::<BTreeSet<_>>());
        let shared = ours.intersection(&theirs).count();
        shared > 0 && shared * BY_CHANCE >= ours.len().min(theirs.len())
    }

    /// The probabilities of an image, which sum to one.
    pub fn probabilities(&self, image: usize) -> Vec<f64> {
        crate::metric::softmax(self.row(image))
    }

    /// The numbers as tensors: `labels` `[images]` and `log_probabilities` `[images, classes]`.
    pub fn tensors(&self) -> Weights {
        let mut tensors = Weights::new();
        // Exact: there are fewer classes than a float can count.
        let labels: Vec<f32> = self.labels.iter().map(|&label| label as f32).collect();
        let rows = [self.len(), self.classes()];
        for (name, shape, values) in [
            (LABELS, vec![self.len()], labels),
            (LOG_PROBABILITIES, rows.to_vec(), self.log_probabilities.clone()),
        ] {
            tensors.insert(name, Tensor::new(shape, values).expect("a row for each image"));
        }
        tensors
    }

    /// From what [`Predictions::tensors`] gave.
    pub fn from_tensors(header: Header, mut tensors: Weights) -> Result<Self, PredictionsError> {
        let mut take = |name: &str, shape: &[usize]| -> Result<Vec<f32>, PredictionsError> {
            let tensor = tensors.remove(name).filter(|tensor| tensor.shape() == shape);
            tensor.map(Tensor::into_data).ok_or_else(|| PredictionsError {
                reason: format!("expected a tensor {name} of shape {shape:?}"),
            })
        };
        let (images, classes) = (header.images.len(), header.classes.len());
        let labels = take(LABELS, &[images])?;
        let log_probabilities = take(LOG_PROBABILITIES, &[images, classes])?;
        if ![0, images].contains(&header.pixels.len()) {
            let reason = format!("`pixels` of {} and not of {images} images", header.pixels.len());
            return Err(PredictionsError { reason });
        }
        let label = |&label: &f32| {
            let class = label >= 0.0 && label.fract() == 0.0 && (label as usize) < classes;
            class.then_some(label as u32).ok_or_else(|| PredictionsError {
                reason: format!("{label} is none of the {classes} classes"),
            })
        };
        let labels = labels.iter().map(label).collect::<Result<Vec<u32>, _>>()?;
        let fail = |reason: String| Err(PredictionsError { reason });
        let rows = log_probabilities.chunks_exact(classes.max(1));
        if let Some((image, _)) = header.images.iter().zip(rows).find(|(_, row)| !is_kept_row(row))
        {
            return fail(format!("those of {image} are no logarithms of probabilities"));
        }
        let looked_at = images + header.unread.len();
        if let Some(Shard { start, end, of }) = header.shard
            && (start.checked_add(looked_at) != Some(end) || end > of)
        {
            return fail(format!(
                "{looked_at} images, which are not those from {start} to {end} of {of}"
            ));
        }
        let Origin { ensemble, preprocess, protocol, .. } = &header.origin;
        if ensemble.is_none() && (preprocess.is_none() || protocol.is_none()) {
            return fail("no preprocess or no protocol in it".to_owned());
        }
        if let Some(Err(error)) = protocol.as_ref().map(Protocol::check) {
            return fail(format!("its protocol: {error}"));
        }
        Ok(Self { header, labels, log_probabilities })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions(rows: &[(&[f64], u32)]) -> Predictions {
        let origin = Origin {
            network: "tiny".to_owned(),
            weights: String::new(),
            ensemble: None,
            data: "noise".to_owned(),
            split: "test".to_owned(),
            division: None,
            fingerprint: "0".to_owned(),
            preprocess: Some(Preprocess::digits()),
            protocol: Some(Protocol::own()),
            terms: Terms::default(),
        };
        let classes = (0..rows[0].0.len()).map(|class| class.to_string()).collect();
        let mut predictions = Predictions::new(origin, classes);
        for (image, (row, label)) in rows.iter().enumerate() {
            predictions.push(image.to_string(), *label, row);
        }
        predictions
    }

    #[test]
    fn predictions_survive_their_tensors() {
        let kept = predictions(&[(&[0.25, 0.75], 1), (&[1.0, 0.0], 0)]);
        let again = Predictions::from_tensors(kept.header.clone(), kept.tensors()).unwrap();
        assert_eq!(again, kept);
        assert!((again.probabilities(0)[1] - 0.75).abs() < 1e-7);
        assert_eq!(again.probabilities(1), [1.0, 0.0]);
    }

    #[test]
    fn shards_are_joined_to_the_whole_without_gaps_or_overlaps() {
        let rows: [(&[f64], u32); 3] = [(&[0.25, 0.75], 1), (&[1.0, 0.0], 0), (&[0.5, 0.5], 1)];
        let mut whole = predictions(&rows);
        whole.header.unread = vec!["3.png: no image".to_owned()];
        let part = |from: usize, to: usize| {
            let mut part = predictions(&rows[from..to.min(3)]);
            part.header.images = whole.header.images[from..to.min(3)].to_vec();
            part.header.shard = Some(Shard { start: from, end: to, of: 4 });
            if to == 4 {
                part.header.unread.clone_from(&whole.header.unread);
            }
            part
        };
        let join = Predictions::join;
        assert_eq!(join(vec![part(1, 4), part(0, 1)]), Ok(whole.clone()));
        assert_eq!(join(vec![whole.clone()]), Ok(whole.clone()));
        let reason = |parts: Vec<Predictions>| join(parts).unwrap_err().reason;
        assert!(reason(vec![]).contains("none"));
        let mut nothing = whole.clone();
        nothing.header.images.clear();
        nothing.labels.clear();
        nothing.log_probabilities.clear();
        assert!(reason(vec![nothing]).contains("about no image"));
        assert!(reason(vec![part(1, 4)]).contains("images 0 to 0 of 4 are in none"));
        assert!(reason(vec![part(0, 2)]).contains("images 2 to 3 of 4 are in none"));
        assert!(reason(vec![part(2, 4), part(0, 1)]).contains("images 1 to 1 of 4"));
        assert!(reason(vec![part(0, 2), part(1, 4)]).contains("images 1 to 1 are in two"));
        assert!(reason(vec![whole.clone(), whole.clone()]).contains("images 0 to 3 are in two"));
        let mut other = part(1, 4);
        other.header.origin.weights = "other".to_owned();
        assert!(reason(vec![part(0, 1), other]).contains("same weights"));
    }

    #[test]
    fn images_in_two_files_are_told_by_their_pixels() {
        let answers = |pixels: &[usize]| {
            let mut answers = predictions(&vec![(&[0.25, 0.75][..], 1); pixels.len()]);
            answers.header.pixels = pixels.iter().map(usize::to_string).collect();
            answers
        };
        let many: Vec<usize> = (0..300).collect();
        let a = answers(&many);
        for (pixels, shared) in [
            (vec![299], true),
            (vec![300], false),
            ((297..597).collect(), true),
            ((298..598).collect(), false),
        ] {
            let b = answers(&pixels);
            assert_eq!([a.shares_images_with(&b), b.shares_images_with(&a)], [shared; 2]);
        }
        // One picture counts once.
        let [a, b] = [many, (300..600).collect()]
            .map(|pixels: Vec<usize>| answers(&[&pixels[..], &[1000; 50]].concat()));
        assert!(!a.shares_images_with(&b));

        let [a, mut b] = [answers(&[1, 2]), answers(&[1, 3])];
        assert!(a.is_about_images_of(&a) && !a.is_about_images_of(&b));
        b.header.pixels.clear();
        assert!(a.is_about_images_of(&b) && !a.shares_images_with(&b));
        b.labels[0] = 0;
        assert!(!a.is_about_images_of(&b));
    }

    #[test]
    fn shards_divide_the_images() {
        for (shards, of) in [(1, 7), (3, 7), (7, 7), (9, 7), (4, 0)] {
            let all: Vec<Shard> = (1..=shards).map(|i| Shard::new(i, shards, of)).collect();
            assert_eq!((all[0].start, all[shards - 1].end), (0, of));
            assert!(all.windows(2).all(|pair| pair[0].end == pair[1].start), "{all:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_rejected() {
        let kept = predictions(&[(&[0.25, 0.75], 1)]);
        let reason = |change: &dyn Fn(&mut Predictions)| {
            let mut wrong = kept.clone();
            change(&mut wrong);
            let tensors = wrong.tensors();
            Predictions::from_tensors(kept.header.clone(), tensors).unwrap_err().reason
        };
        assert!(reason(&|wrong| wrong.labels[0] = 2).contains("none of the 2 classes"));
        let more = |wrong: &mut Predictions| wrong.push("x".to_owned(), 0, &[0.5, 0.5]);
        assert!(reason(&more).contains("labels"));
        for log in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0] {
            let change = |wrong: &mut Predictions| wrong.log_probabilities[1] = log;
            assert!(reason(&change).contains("those of 0 are no logarithms"), "{log}");
        }
        let of_header = |change: &dyn Fn(&mut Header)| {
            let mut header = kept.header.clone();
            change(&mut header);
            Predictions::from_tensors(header, kept.tensors()).unwrap_err().reason
        };
        for (start, end, of) in [(1, 1, 3), (1, 3, 3), (2, 3, 2), (0, usize::MAX, usize::MAX)] {
            let change = |header: &mut Header| header.shard = Some(Shard { start, end, of });
            assert!(of_header(&change).contains("1 images, which are not those"), "{start} {end}");
        }
        let more_pixels = |header: &mut Header| header.pixels = vec![String::new(); 2];
        assert!(of_header(&more_pixels).contains("`pixels` of 2 and not of 1 images"));
        let no_parts = |header: &mut Header| {
            header.origin.protocol = Some(Protocol::of("none", Vec::new()));
        };
        let nothing = |header: &mut Header| header.origin.protocol = None;
        assert!(of_header(&nothing).contains("no protocol"));
        assert!(of_header(&no_parts).contains("its protocol: parts"));
    }
}
