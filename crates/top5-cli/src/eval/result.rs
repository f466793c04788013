//! What an evaluation came to, and what follows from it.

use std::collections::BTreeMap;

use super::against::Against;
use super::beside::Beside;
use crate::exit::Stop;
use crate::output::Output;
use serde::{Deserialize, Serialize};
use top5::eval::{
    Calibration, Header, Judged, Origin, Protocol, null_is_infinite, percent, wilson,
};

/// Confusions, worst images and pairs that are listed.
pub(crate) const LISTED: usize = 50;

/// An evaluation, ready to be told.
pub(crate) struct Outcome {
    pub(crate) header: Header,
    /// In the order of the header's images.
    pub(crate) judged: Vec<Judged>,
    /// How far the probabilities are from others.
    pub(crate) beside: Option<Beside>,
    pub(crate) against: Option<Against>,
    pub(crate) failures: Failures,
}

/// What could not be written or compared once there were answers: the result is told all the same.
#[derive(Debug, Default)]
pub(crate) struct Failures(Vec<anyhow::Error>);

impl Failures {
    /// Takes note where something failed.
    pub(crate) fn note<T>(&mut self, done: anyhow::Result<T>) -> Option<T> {
        done.map_err(|error| self.0.push(error)).ok()
    }

    /// Ends with the first of them. Of the others a warning tells.
    pub(crate) fn end(self, output: Output) -> anyhow::Result<()> {
        let mut errors = self.0.into_iter();
        let first = errors.next();
        errors.for_each(|error| output.warn(&format!("{error:#}")));
        first.map_or(Ok(()), Err)
    }
}

/// The document of `--json` and of `report.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Evaluation {
    pub(crate) network: String,
    pub(crate) data: String,
    pub(crate) split: String,
    /// Of an ensemble, where all members agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) preprocess: Option<String>,
    /// Number of looks at an image that were averaged.
    pub(crate) views: usize,
    /// All that the numbers follow from.
    pub(crate) origin: Origin,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) members: Vec<String>,
    /// Whether classes of the network that the data lack were left out of its answers.
    pub(crate) subset: bool,
    pub(crate) images: usize,
    /// Images that were left out because they could not be used.
    pub(crate) skipped: usize,
    pub(crate) top1: f64,
    pub(crate) top5: f64,
    /// Wilson's 95 % intervals.
    pub(crate) top1_interval: [f64; 2],
    pub(crate) top5_interval: [f64; 2],
    /// Images whose class came first, and was among the first five.
    pub(crate) top1_right: usize,
    pub(crate) top5_right: usize,
    /// Infinite, in JSON null, where a right class was held to be impossible.
    #[serde(deserialize_with = "null_is_infinite")]
    pub(crate) loss: f64,
    pub(crate) calibration: Calibration,
    /// How far the probabilities are from saved ones, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) beside: Option<Beside>,
    /// How it compares with an earlier result, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) against: Option<Against>,
    pub(crate) per_class: Vec<Class>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Class {
    pub(crate) class: String,
    pub(crate) images: usize,
    pub(crate) top1: f64,
    pub(crate) top5: f64,
}

/// What only files hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Details {
    /// Images of one class that were taken for another, largest number first.
    pub(crate) confusions: Vec<Confusion>,
    /// Wrong answers that were most certain: wrong labels are among them.
    pub(crate) suspects: Vec<Suspect>,
    /// Pairs of images that are one, where they were looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) twins: Option<Twins>,
    /// How many errors are of each kind, where somebody has sorted them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) kinds: Vec<Sorted>,
    /// A digit per image, in the order of predictions.csv: 1 where its class came first.
    pub(crate) top1_hits: String,
    /// SHA-256 of what tells the images' pixels from others, in the same order; nothing in older reports.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) pixels: String,
}

/// `report.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) schema_version: u32,
    #[serde(flatten)]
    pub(crate) evaluation: Evaluation,
    #[serde(flatten)]
    pub(crate) details: Details,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Confusion {
    pub(crate) class: String,
    pub(crate) taken_for: String,
    pub(crate) images: usize,
    /// Some of them.
    pub(crate) examples: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Suspect {
    pub(crate) image: String,
    pub(crate) class: String,
    pub(crate) taken_for: String,
    pub(crate) probability: f64,
    /// That of the class it is labelled as.
    pub(crate) of_class: f64,
}

/// Pairs of images that are one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Twins {
    pub(crate) found: usize,
    /// Some of them: first those of two classes.
    pub(crate) pairs: Vec<Twin>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Twin {
    pub(crate) image: String,
    pub(crate) class: String,
    pub(crate) twin: String,
    pub(crate) twin_class: String,
    /// The part that the twin is in.
    pub(crate) of: String,
}

/// Errors of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sorted {
    pub(crate) kind: String,
    pub(crate) errors: usize,
}

impl Outcome {
    /// The numbers. Of every class only where that is asked for.
    pub(crate) fn evaluation(&self, per_class: bool) -> Evaluation {
        let Self { header, judged, .. } = self;
        let images = judged.len();
        let [top1, top5] = [1, 5].map(|k| judged.iter().filter(|one| one.is_among(k)).count());
        let calibration = Calibration::new(judged);
        let origin = &header.origin;
        let ensemble = origin.ensemble.as_ref();
        Evaluation {
            network: origin.network.clone(),
            data: origin.data.clone(),
            split: origin.split.clone(),
            preprocess: origin.preparation(),
            views: match (ensemble, &origin.protocol) {
                (Some(ensemble), _) => ensemble.views,
                (None, protocol) => protocol.as_ref().map_or(0, Protocol::count),
            },
            members: ensemble.map_or(Vec::new(), |ensemble| ensemble.members.clone()),
            origin: origin.clone(),
            subset: header.subset,
            images,
            skipped: header.unread.len(),
            top1: percent(top1, images),
            top5: percent(top5, images),
            top1_interval: wilson(top1, images),
            top5_interval: wilson(top5, images),
            top1_right: top1,
            top5_right: top5,
            loss: calibration.nll,
            calibration,
            beside: self.beside.clone(),
            against: self.against.clone(),
            per_class: if per_class { self.per_class() } else { Vec::new() },
        }
    }

    fn per_class(&self) -> Vec<Class> {
        let mut counts = vec![[0; 3]; self.header.classes.len()];
        for one in &self.judged {
            let [images, top1, top5] = &mut counts[one.label as usize];
            *images += 1;
            *top1 += usize::from(one.is_among(1));
            *top5 += usize::from(one.is_among(5));
        }
        let class = |(name, [images, top1, top5]): (&String, [usize; 3])| Class {
            class: name.clone(),
            images,
            top1: percent(top1, images),
            top5: percent(top5, images),
        };
        self.header.classes.iter().zip(counts).map(class).collect()
    }

    /// What only files hold.
    pub(crate) fn details(&self) -> Details {
        let hit = |one: &Judged| if one.is_among(1) { '1' } else { '0' };
        Details {
            confusions: self.confusions(),
            suspects: self.suspects(),
            twins: None,
            kinds: Vec::new(),
            top1_hits: self.judged.iter().map(hit).collect(),
            pixels: self.pixels(),
        }
    }

    fn pixels(&self) -> String {
        match &self.header.pixels[..] {
            [] => String::new(),
            pixels => top5::sha256(pixels.join("\n").as_bytes()),
        }
    }

    pub(crate) fn name(&self, class: u32) -> String {
        self.header.classes[class as usize].clone()
    }

    /// This result beside the earlier report of this name. Fails where that is about other images.
    pub(crate) fn against(
        &self,
        report: &str,
        (evaluation, details): (&Evaluation, &Details),
    ) -> Result<Against, Stop> {
        let [a, b] = [&evaluation.origin, &self.header.origin];
        let pixels = self.pixels();
        let differs = if a.fingerprint != b.fingerprint {
            "is about other images: results can only be compared on the same ones"
        } else if a.terms.right_answers != b.terms.right_answers {
            "was judged by other right answers: give --real to both, or to neither"
        } else if details.top1_hits.len() != self.judged.len() {
            "is about more or fewer of these images: results can only be compared on the same ones"
        } else if ![&details.pixels, &pixels].contains(&&String::new()) && details.pixels != pixels
        {
            "is about images of the same names, with other pixels: results can only be compared on the same ones"
        } else {
            ""
        };
        if !differs.is_empty() {
            return Err(Stop::BadInput(format!("{report} {differs}")));
        }
        let before: Vec<bool> = details.top1_hits.bytes().map(|hit| hit == b'1').collect();
        let now: Vec<bool> = self.judged.iter().map(|one| one.is_among(1)).collect();
        let share = self.evaluation(false).top1;
        Ok(Against::new(report, (evaluation.top1, &before), (share, &now)))
    }

    fn confusions(&self) -> Vec<Confusion> {
        let mut pairs: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
        for (at, one) in self.judged.iter().enumerate().filter(|(_, one)| !one.is_among(1)) {
            if let Some(&(taken, _)) = one.top.first() {
                pairs.entry((one.label, taken)).or_default().push(at);
            }
        }
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by_key(|(pair, images)| (std::cmp::Reverse(images.len()), *pair));
        let confusion = |((label, taken), images): ((u32, u32), Vec<usize>)| Confusion {
            class: self.name(label),
            taken_for: self.name(taken),
            images: images.len(),
            examples: images.iter().take(5).map(|&at| self.header.images[at].clone()).collect(),
        };
        pairs.into_iter().take(LISTED).map(confusion).collect()
    }

    fn suspects(&self) -> Vec<Suspect> {
        let mut wrong: Vec<(usize, &Judged)> =
            self.judged.iter().enumerate().filter(|(_, one)| !one.is_among(1)).collect();
        wrong.sort_by(|(i, a), (j, b)| b.loss.total_cmp(&a.loss).then(i.cmp(j)));
        let suspect = |(at, one): (usize, &Judged)| {
            let (taken, probability) = *one.top.first()?;
            Some(Suspect {
                image: self.header.images[at].clone(),
                class: self.name(one.label),
                taken_for: self.name(taken),
                probability,
                of_class: (-one.loss).exp(),
            })
        };
        wrong.into_iter().filter_map(suspect).take(LISTED).collect()
    }
}
