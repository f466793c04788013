//! The methods by name: a network, a prepared image and a class go in, a map comes out.

mod cam;
mod explain;
mod explainer;
pub mod figure7;
mod gradients;
pub mod perturb;
mod settings;

pub use explainer::{Explainer, Pace};
pub use settings::Settings;

use serde::Serialize;
use top5_graph::{Family, GateRule, Graph, LrnRule, Rule, Tensor};

use crate::error::ExplainError;
use crate::map::Map;

/// How an explanation is made, with all that it depends on beside network, image and class.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "name")]
pub enum Method {
    /// The derivative of the score (Simonyan et al., ICLR workshop 2014).
    Gradient,
    /// DeconvNet's projection of the score (Zeiler & Fergus, ECCV 2014).
    Deconvnet,
    /// Guided backpropagation (Springenberg et al., ICLR workshop 2015).
    Guided,
    /// The derivative times the prepared image (Shrikumar et al., ICML 2017).
    GradientTimesInput,
    /// The derivative's mean on the way from a black-is-zero baseline, times the way (Sundararajan et al., ICML 2017).
    IntegratedGradients {
        /// Points on the way, the middles of equal parts.
        steps: usize,
    },
    /// The derivative's mean over noisy copies (Smilkov et al., 2017, arXiv 1706.03825).
    Smoothgrad {
        /// Number of copies.
        samples: usize,
        /// Standard deviation of the noise over the range of the prepared image's values.
        level: f32,
        /// Seed of the noise.
        seed: u64,
    },
    /// Maps of a layer, each weighted by its mean derivative (Selvaraju et al., ICCV 2017).
    GradCam,
    /// Maps of a layer, each cell weighted by its own derivative (Draelos & Carin, arXiv 2011.08891).
    HiresCam,
    /// Guided backpropagation times Grad-CAM.
    GuidedGradCam,
    /// How much the score falls when a square is gray (Zeiler & Fergus, figure 7).
    Occlusion {
        /// Side of the square in pixels.
        size: usize,
        /// Pixels between its places; at most its side.
        stride: usize,
    },
    /// The mean of random masks, weighted by the class's probability behind each (Petsiuk et al., BMVC 2018).
    Rise {
        /// Number of masks.
        masks: usize,
        /// Cells of a mask along each side.
        cells: usize,
        /// Share of cells that let the image through.
        share: f32,
        /// Seed of the masks.
        seed: u64,
    },
    /// How much the score falls when one tile of a grid is gray.
    Ablation {
        /// Side of a tile in pixels.
        size: usize,
    },
}

/// What is explained: the logit of a class, or by how much it exceeds another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// The class.
    pub class: usize,
    /// Why it and not this one.
    pub against: Option<usize>,
}

/// What a method says of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// One value per pixel of the network's input.
    pub map: Map,
    /// The signal or attribution before channels were put together, `[1, c, h, w]`, of methods that have one.
    pub signal: Option<Tensor>,
    /// The map at the layer's own resolution, of methods that look at a layer. `map` is it, each cell at the centre of its
    /// receptive field.
    pub cells: Option<Map>,
    /// What must be told of it, in sentences.
    pub notes: Vec<String>,
}

impl Target {
    /// The logit of a class.
    pub fn class(class: usize) -> Self {
        Self { class, against: None }
    }

    /// The score that is explained, from one image's logits or probabilities.
    pub fn score<T: Copy + Into<f64>>(&self, logits: &[T]) -> f64 {
        let of = |class: usize| logits[class].into();
        of(self.class) - self.against.map_or(0.0, of)
    }

    /// Fails unless its classes are the network's.
    pub fn check(&self, classes: usize) -> Result<(), ExplainError> {
        match [Some(self.class), self.against].into_iter().flatten().find(|&c| c >= classes) {
            Some(class) => Err(ExplainError::Class { class, classes }),
            None if self.against == Some(self.class) => Err(ExplainError::Setting {
                key: "against",
                expected: "another class than the one that is explained".to_owned(),
            }),
            None => Ok(()),
        }
    }
}

/// What must be read with every picture of a method that says little of the decision.
const WARNING: &str = "DeconvNet and guided backpropagation recover parts of the image and say little of the network's \
                       decision: much the same picture comes from other classes and from random weights (Mahendran & \
                       Vedaldi, ECCV 2016; Nie et al., arXiv 1805.07039; Adebayo et al., NeurIPS 2018).";

impl Method {
    /// Their names, in the order in which they are told.
    pub const NAMES: [&str; 12] = [
        "gradient",
        "deconvnet",
        "guided",
        "gradient-times-input",
        "integrated-gradients",
        "smoothgrad",
        "grad-cam",
        "hires-cam",
        "guided-grad-cam",
        "occlusion",
        "rise",
        "ablation",
    ];

    /// The method of a name with its usual settings, for images whose shorter side has `side` pixels.
    pub fn usual(name: &str, side: usize) -> Option<Self> {
        let patch = (side / 7).max(1);
        Some(match name {
            "gradient" => Self::Gradient,
            "deconvnet" => Self::Deconvnet,
            "guided" => Self::Guided,
            "gradient-times-input" => Self::GradientTimesInput,
            "integrated-gradients" => Self::IntegratedGradients { steps: 50 },
            "smoothgrad" => Self::Smoothgrad { samples: 25, level: 0.15, seed: 0 },
            "grad-cam" => Self::GradCam,
            "hires-cam" => Self::HiresCam,
            "guided-grad-cam" => Self::GuidedGradCam,
            "occlusion" => Self::Occlusion { size: patch, stride: (patch / 2).max(1) },
            "rise" => Self::Rise { masks: 1000, cells: side.clamp(1, 7), share: 0.5, seed: 0 },
            "ablation" => Self::Ablation { size: (side / 14).max(1) },
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gradient => "gradient",
            Self::Deconvnet => "deconvnet",
            Self::Guided => "guided",
            Self::GradientTimesInput => "gradient-times-input",
            Self::IntegratedGradients { .. } => "integrated-gradients",
            Self::Smoothgrad { .. } => "smoothgrad",
            Self::GradCam => "grad-cam",
            Self::HiresCam => "hires-cam",
            Self::GuidedGradCam => "guided-grad-cam",
            Self::Occlusion { .. } => "occlusion",
            Self::Rise { .. } => "rise",
            Self::Ablation { .. } => "ablation",
        }
    }

    /// What its map shows, in a sentence; `contrast`: of one class against another.
    pub fn meaning(&self, contrast: bool) -> &'static str {
        match self {
            Self::Gradient => {
                "how fast the score changes with each pixel: not how much of the score is due to it"
            }
            Self::Deconvnet => "what DeconvNet projects from the start back to the image",
            Self::Guided => "what guided backpropagation sends from the start back to the image",
            Self::GradientTimesInput => {
                "the change of the score per pixel times its value: a first-order share"
            }
            Self::IntegratedGradients { .. } => {
                "shares of the pixels in the score; with enough points they add up to the score less that of the gray \
                 baseline"
            }
            Self::Smoothgrad { .. } => {
                "how fast the score changes with each pixel, over noisy copies of the image"
            }
            Self::GradCam => {
                "where maps of the layer that raise the score are active; it can light places that the network did \
                 not use (arXiv 2011.08891): hires-cam does not"
            }
            Self::HiresCam => "where the layer's cells raise the score, each by its own derivative",
            Self::GuidedGradCam => "guided backpropagation where Grad-CAM is positive",
            Self::Occlusion { .. } => {
                "by how much the score falls where a gray square hides the image"
            }
            Self::Rise { .. } if contrast => {
                "by how much the class is more probable than the other, summed over random masks that leave the pixel visible \
                 and divided by their expected number, as in the paper: with few masks it can exceed 1"
            }
            Self::Rise { .. } => {
                "the probability of the class, summed over random masks that leave the pixel visible and divided by their \
                 expected number, as in the paper: with few masks it can exceed 1"
            }
            Self::Ablation { .. } => "by how much the score falls when the tile is gray",
        }
    }

    /// The rule by which its signal goes backward, if it has one.
    pub fn rule(&self) -> Option<Rule> {
        match self {
            Self::Deconvnet => Some(Rule::deconvnet()),
            Self::Guided | Self::GuidedGradCam => Some(Rule::guided()),
            Self::Gradient
            | Self::GradientTimesInput
            | Self::IntegratedGradients { .. }
            | Self::Smoothgrad { .. }
            | Self::GradCam
            | Self::HiresCam => Some(Rule::gradient()),
            Self::Occlusion { .. } | Self::Rise { .. } | Self::Ablation { .. } => None,
        }
    }

    /// Whether it looks at a layer's map.
    pub fn needs_layer(&self) -> bool {
        self.settings().contains(&"layer")
    }

    /// What people must be told with every output, if anything.
    pub fn warning(&self) -> Option<&'static str> {
        let told = matches!(self, Self::Deconvnet | Self::Guided | Self::GuidedGradCam);
        told.then_some(WARNING)
    }

    /// Where the method goes beyond its paper on this network, in sentences.
    pub fn extensions(&self, graph: &Graph) -> Vec<String> {
        let Some(rule) = self.rule().filter(|&rule| rule != Rule::gradient()) else {
            return Vec::new();
        };
        let joins = graph.nodes().iter().filter(|node| node.spec.family == Family::Join);
        let is_gate = |node: &&top5_graph::Node| {
            node.inputs.iter().any(|&input| graph.node(input).shape().size() != node.shape().size())
        };
        let (gates, sums): (Vec<_>, Vec<_>) = joins.partition(is_gate);
        let normalises = graph
            .nodes()
            .iter()
            .any(|node| node.spec.family == Family::Normalisation && node.spec.affine.is_none());
        let mut notes = Vec::new();
        if !sums.is_empty() {
            notes.push(
                "extension: the method's paper knows chains of layers only; here a sum passes the signal on to each of \
                 its inputs, and a concatenation splits it"
                    .to_owned(),
            );
        }
        if !gates.is_empty() && rule.gates == GateRule::Held {
            notes.push("extension: gates of squeeze and excitation are held constant".to_owned());
        }
        if normalises && rule.lrn == LrnRule::Identity {
            notes.push(
                "local response normalisation is passed over (identity): the paper does not say how it is inverted"
                    .to_owned(),
            );
        }
        notes
    }
}
