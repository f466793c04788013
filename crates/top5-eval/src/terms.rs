//! The terms on which answers are judged: what was fitted to which images, and which answers are right where these are not the labels.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use top5_graph::counted;

/// All that there is of these terms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// The images that the weights of an ensemble's members were fitted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<FittedTo>,
    /// What the logits were divided by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Temperature>,
    /// The right answers, where they are not the labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right_answers: Option<RightAnswers>,
}

/// The images that something was fitted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FittedTo {
    /// How many.
    pub images: usize,
    /// Name or folder of their data.
    pub data: String,
    /// The part of these.
    pub split: String,
}

/// A temperature that was fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// What the logits were divided by.
    pub value: f64,
    /// To which images it was fitted.
    pub fitted_to: FittedTo,
}

/// How much two temperatures may differ that are one: older files told so many digits.
const SAME_TEMPERATURE: f64 = 1e-4;

/// Right answers that are not the labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightAnswers {
    /// Whose they are, as `ReaL`.
    pub labels: String,
    /// The first digits of their file's SHA-256.
    pub sha256: String,
    /// How many images have one.
    pub judged: usize,
    /// Of so many.
    pub images: usize,
}

impl Terms {
    /// Whether these are the labels and what the networks said, without more.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Each of them, a sentence each.
    pub fn sentences(&self) -> Vec<String> {
        let weights = (self.weights.as_ref()).map(|to| format!("{WEIGHTS}{to}"));
        let temperature = self.temperature.as_ref().map(Temperature::to_string);
        let right_answers = self.right_answers.as_ref().map(RightAnswers::to_string);
        weights.into_iter().chain(temperature).chain(right_answers).collect()
    }

    /// Whether probabilities were made by the same temperature, or by none.
    pub fn is_as_warm_as(&self, other: &Self) -> bool {
        match (&self.temperature, &other.temperature) {
            (Some(a), Some(b)) => (a.value - b.value).abs() <= SAME_TEMPERATURE,
            (a, b) => a.is_none() && b.is_none(),
        }
    }

    /// Adds what a sentence of an older file says; `None` where it says nothing that is known.
    fn read(&mut self, sentence: &str) -> Option<()> {
        if let Some(to) = sentence.strip_prefix(WEIGHTS) {
            self.weights = Some(FittedTo::read(to)?);
        } else if let Some(rest) = sentence.strip_prefix(TEMPERATURE) {
            let (value, to) = rest.split_once(FITTED_TO)?;
            let fitted_to = FittedTo::read(to)?;
            self.temperature = Some(Temperature { value: value.parse().ok()?, fitted_to });
        } else {
            let (labels, rest) =
                sentence.strip_prefix(RIGHT_ANSWERS)?.split_once("'s (SHA-256 ")?;
            let (sha256, rest) = rest.split_once("…), which ")?;
            let (judged, images) = rest.strip_suffix(" have")?.split_once(" of ")?;
            self.right_answers = Some(RightAnswers {
                labels: labels.to_owned(),
                sha256: sha256.to_owned(),
                judged: judged.parse().ok()?,
                images: images.split(' ').next()?.parse().ok()?,
            });
        }
        Some(())
    }

    /// Reads them, also where they are sentences, as in older files.
    pub(crate) fn now_or_before<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NowOrBefore)
    }
}

const WEIGHTS: &str = "weights of the members, fitted on ";
const TEMPERATURE: &str = "temperature ";
const FITTED_TO: &str = ", fitted on ";
const RIGHT_ANSWERS: &str = "right answers: ";

impl FittedTo {
    fn read(text: &str) -> Option<Self> {
        let (images, rest) = text.split_once(" of ")?;
        let (data, split) = rest.strip_suffix(')')?.rsplit_once(" (")?;
        let images = images.split(' ').next()?.parse().ok()?;
        Some(Self { images, data: data.to_owned(), split: split.to_owned() })
    }
}

impl fmt::Display for FittedTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} ({})", counted(self.images, "image"), self.data, self.split)
    }
}

impl fmt::Display for Temperature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TEMPERATURE}{:.4}{FITTED_TO}{}", self.value, self.fitted_to)
    }
}

impl fmt::Display for RightAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { labels, sha256, judged, images } = self;
        let images = counted(*images, "image");
        write!(f, "{RIGHT_ANSWERS}{labels}'s (SHA-256 {sha256}…), which {judged} of {images} have")
    }
}

struct NowOrBefore;

impl<'de> Visitor<'de> for NowOrBefore {
    type Value = Terms;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was fitted and which answers are right")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Terms, A::Error> {
        Terms::deserialize(MapAccessDeserializer::new(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sentences: A) -> Result<Terms, A::Error> {
        let mut terms = Terms::default();
        while let Some(sentence) = sentences.next_element::<String>()? {
            let unknown = || A::Error::custom(format!("what was fitted is not known: {sentence}"));
            terms.read(&sentence).ok_or_else(unknown)?;
        }
        Ok(terms)
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, SeqDeserializer};

    use super::*;

    fn before(sentences: Vec<String>) -> Result<Terms, Error> {
        let sentences = sentences.into_iter().map(IntoDeserializer::into_deserializer);
        Terms::now_or_before(SeqDeserializer::new(sentences))
    }

    #[test]
    fn sentences_of_older_files_are_read() {
        let fitted_to = |images, data: &str| {
            let (data, split) = (data.to_owned(), "validation".to_owned());
            FittedTo { images, data, split }
        };
        let right_answers = RightAnswers {
            labels: "ReaL".to_owned(),
            sha256: "0123456789abcdef".to_owned(),
            judged: 1,
            images: 1,
        };
        let all = Terms {
            weights: Some(fitted_to(1, "data")),
            temperature: Some(Temperature {
                value: 1.25,
                fitted_to: fitted_to(20, "of (all), fitted on x"),
            }),
            right_answers: Some(right_answers),
        };
        let sentences = all.sentences();
        assert_eq!(sentences.len(), 3);
        assert_eq!(
            sentences[1],
            "temperature 1.2500, fitted on 20 images of of (all), fitted on x (validation)"
        );
        assert_eq!(before(sentences), Ok(all));
        assert!(before(Vec::new()).unwrap().is_empty());
        for unknown in ["", "temperature 1.25", "temperature x, fitted on 2 images of a (test)"] {
            let error = before(vec![unknown.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(&format!("not known: {unknown}")), "{error}");
        }
    }
}
