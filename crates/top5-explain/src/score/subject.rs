//! What is scored: one prepared image and one class, asked again and again with parts of the image changed.

use top5_eval::metric::{best, softmax};
use top5_graph::{EngineError, Session};

use super::ScoreError;

/// Which answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readout {
    /// The class's logit, before softmax.
    Logit,
    /// The class's probability, the softmax of the logits.
    Probability,
}

/// A prepared image and a class, with the session that answers.
pub struct Subject<'s> {
    session: &'s mut dyn Session,
    image: &'s [f32],
    class: usize,
    logits: Vec<f32>,
    passes: usize,
    progress: Option<&'s mut dyn FnMut(usize)>,
}

impl<'s> Subject<'s> {
    /// The image `[channels, height, width]` and a class; the one predicted at first if `None`. Runs the network once. Fails
    /// where the image has another size, the session returns no row of logits, or there is no such class.
    pub fn new(
        session: &'s mut dyn Session,
        image: &'s [f32],
        class: Option<usize>,
    ) -> Result<Self, ScoreError> {
        let logits = session.forward(image)?.logits;
        let &[1, classes] = logits.shape() else {
            let what = format!("answer of shape {:?}", logits.shape());
            return Err(ScoreError::input(what, "one row of logits for one image"));
        };
        let logits = logits.into_data();
        let class = class.or_else(|| best(&logits)).filter(|&class| class < classes);
        let Some(class) = class else {
            return Err(ScoreError::input("class", format!("a number below {classes}")));
        };
        Ok(Self { session, image, class, logits, passes: 1, progress: None })
    }

    /// Calls `progress` with the number of images that the network has seen, after every batch.
    pub fn reporting(mut self, progress: &'s mut dyn FnMut(usize)) -> Self {
        self.progress = Some(progress);
        self
    }

    /// The class that is explained.
    pub fn class(&self) -> usize {
        self.class
    }

    /// The image, `[channels, height, width]`.
    pub fn image(&self) -> &'s [f32] {
        self.image
    }

    /// Channels, height and width of the image.
    pub fn shape(&self) -> [usize; 3] {
        self.session.graph().input()
    }

    /// Pixels of the image: height times width.
    pub fn pixels(&self) -> usize {
        let [_, height, width] = self.shape();
        height * width
    }

    /// The answer to the unchanged image.
    pub fn answer(&self, readout: Readout) -> f64 {
        read(&self.logits, self.class, readout)
    }

    /// Images that the network has seen.
    pub fn passes(&self) -> usize {
        self.passes
    }

    /// The answers to `count` images: `change` gets the number of each and a copy of the image to change.
    pub fn ask(
        &mut self,
        readout: Readout,
        count: usize,
        mut change: impl FnMut(usize, &mut [f32]),
    ) -> Result<Vec<f64>, EngineError> {
        let (batch, sample, classes) = (self.session.batch(), self.image.len(), self.logits.len());
        let mut answers = Vec::with_capacity(count);
        let mut images = Vec::new();
        for first in (0..count).step_by(batch) {
            let end = count.min(first + batch);
            images.clear();
            (first..end).for_each(|_| images.extend_from_slice(self.image));
            for (number, image) in (first..end).zip(images.chunks_exact_mut(sample)) {
                change(number, image);
            }
            let logits = self.session.forward(&images)?.logits.into_data();
            let rows = logits.chunks_exact(classes);
            answers.extend(rows.map(|logits| read(logits, self.class, readout)));
            self.passes += end - first;
            if let Some(progress) = &mut self.progress {
                progress(self.passes);
            }
        }
        Ok(answers)
    }

    /// Fails unless the map has a finite value for every pixel.
    pub(crate) fn check_map(&self, map: &[f32]) -> Result<(), ScoreError> {
        let [_, height, width] = self.shape();
        if map.len() != height * width {
            let what = format!("map of {} values", map.len());
            return Err(ScoreError::input(what, format!("{height} x {width}, one per pixel")));
        }
        match map.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(ScoreError::input(
                format!("map with the value {} at pixel {at}", map[at]),
                "finite values",
            )),
            None => Ok(()),
        }
    }
}

fn read(logits: &[f32], class: usize, readout: Readout) -> f64 {
    match readout {
        Readout::Logit => f64::from(logits[class]),
        Readout::Probability => softmax(logits)[class],
    }
}

/// A map per channel, `[channels, height, width]`, as one value per pixel: the sum over the channels.
pub fn sum_channels(map: &[f32], channels: usize) -> Vec<f32> {
    let pixels = map.len() / channels.max(1);
    let sum = |pixel: usize| -> f64 {
        map.iter().skip(pixel).step_by(pixels.max(1)).map(|&value| f64::from(value)).sum()
    };
    (0..pixels).map(|pixel| sum(pixel) as f32).collect()
}

/// Sets one pixel in all channels of `[channels, pixels]` to what `of` says of the element.
pub(crate) fn set_pixel(image: &mut [f32], pixels: usize, pixel: usize, of: impl Fn(usize) -> f32) {
    for element in (pixel..image.len()).step_by(pixels) {
        image[element] = of(element);
    }
}
