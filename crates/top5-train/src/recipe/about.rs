//! What a recipe follows: the training that somebody published, its result, and what was left open. A run does not depend on it.

use serde::{Deserialize, Serialize};

/// The training that a recipe follows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Year of the publication.
    pub year: u16,
    /// Where the training is described.
    pub source: String,
    /// What the authors trained on, in words.
    pub data: String,
    /// What they reached with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Outcome>,
    /// What the source does not say, or this recipe does otherwise, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<String>,
}

/// A published result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// How often the first guess is wrong, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top1_error: Option<f64>,
    /// How often none of the first five guesses is right, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5_error: Option<f64>,
    /// The images that were classified, and how.
    pub on: String,
    /// Where it is printed.
    pub source: String,
}
