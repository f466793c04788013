//! How far probabilities are from those of saved answers about the same images: what another protocol, precision or machine changes.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use top5::eval::Predictions;
use top5::graph::counted;

use crate::exit::Stop;
use crate::printable;

/// The differences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Beside {
    /// Where the other answers are from: network and protocol.
    pub(crate) other: String,
    /// The greatest difference of a probability, with its image and class.
    pub(crate) greatest: f64,
    pub(crate) image: String,
    pub(crate) class: String,
    /// The mean over the images of the sum of all differences, halved: the share of probability that moved to other classes.
    pub(crate) moved: f64,
    /// Images on which the same class comes first.
    pub(crate) same_first: usize,
    pub(crate) images: usize,
}

impl Beside {
    /// Compares answers about the same images in the same classes.
    pub(crate) fn new(ours: &Predictions, other: &Predictions, shown: &str) -> Result<Self> {
        let [a, b] = [ours, other].map(|answers| &answers.header);
        if !ours.is_about_images_of(other) || a.classes != b.classes || ours.is_empty() {
            let message = format!(
                "{shown} is about other images or classes: only answers about the same ones can be compared"
            );
            return Err(Stop::BadInput(message).into());
        }
        let (mut greatest, mut moved, mut same_first) = ((0.0, 0, 0), 0.0, 0);
        for image in 0..ours.len() {
            let [p, q] = [ours, other].map(|answers| answers.probabilities(image));
            let first = |p: &[f64]| top5::eval::metric::best(p);
            same_first += usize::from(first(&p) == first(&q));
            for (class, (p, q)) in p.iter().zip(&q).enumerate() {
                let difference = (p - q).abs();
                moved += difference / 2.0;
                if difference > greatest.0 {
                    greatest = (difference, image, class);
                }
            }
        }
        let (greatest, image, class) = greatest;
        Ok(Self {
            other: format!("{}, {}", b.origin.network, b.origin.looks()),
            greatest,
            image: a.images[image].clone(),
            class: a.classes[class].clone(),
            moved: moved / ours.len() as f64,
            same_first,
            images: ours.len(),
        })
    }

    /// In words.
    pub(crate) fn sentence(&self) -> String {
        let Self { other, greatest, moved, same_first, images, .. } = self;
        let (image, class) = (printable::path(&self.image), printable::name(&self.class));
        format!(
            "beside {other}: a probability differs by at most {greatest:.2e} ({image}, {class}), {moved:.2e} of the \
             probability is elsewhere on average, and the same class comes first on {same_first} of {}",
            counted(*images, "image")
        )
    }
}
