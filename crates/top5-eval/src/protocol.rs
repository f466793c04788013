//! A protocol: the views of an image that a network's answer is averaged over, as a value that files can hold.
//!
//! What a paper does not say is said to be a choice, in words that go with every result.

use std::fmt;

use serde::{Deserialize, Serialize};
use top5_data::SettingError;
use top5_data::preprocess::MAX_SIDE;
use top5_graph::counted;

use crate::crops::Crops;
use crate::dense::{Dense, SoftmaxAt};
use crate::view::View;

/// The views that an answer is averaged over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// What it is called.
    pub name: String,
    /// Where it is described.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// What was chosen where the source says nothing, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// What is averaged over the views.
    #[serde(default)]
    pub average: Average,
    /// The kinds of views; each counts as much as another, whatever its number of views.
    pub parts: Vec<Part>,
}

/// Views of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Crops of the network's input size.
    Crops(Crops),
    /// The whole image at once.
    Dense(Dense),
}

/// What is averaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Average {
    /// Probabilities.
    #[default]
    Probabilities,
    /// Logits; the softmax is taken of their mean.
    Logits,
}

impl Average {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Probabilities => "probabilities",
            Self::Logits => "logits",
        }
    }
}

impl Part {
    /// Number of views of one image.
    pub fn count(&self) -> usize {
        match self {
            Self::Crops(crops) => crops.count(),
            Self::Dense(dense) => dense.count(),
        }
    }

    /// Number of views at one scale, which follow each other.
    pub(crate) fn of_a_scale(&self) -> usize {
        match self {
            Self::Crops(crops) => crops.count() / crops.shorter().len().max(1),
            Self::Dense(dense) => dense.of_a_scale(),
        }
    }

    /// The views of an image of `image` [height, width] for a network with an input of `input` [height, width].
    pub fn views(&self, image: [usize; 2], input: [usize; 2]) -> Vec<View> {
        match self {
            Self::Crops(crops) => crops.views(image, input),
            Self::Dense(dense) => dense.views(image, input),
        }
    }
}

impl Protocol {
    /// The one crop that the model's own preprocessing makes.
    pub fn own() -> Self {
        Self::of("1-crop", vec![Part::Crops(Crops::Own)])
    }

    /// A protocol of these parts that averages probabilities.
    pub fn of(name: &str, parts: Vec<Part>) -> Self {
        Self {
            name: name.to_owned(),
            source: String::new(),
            choices: Vec::new(),
            average: Average::Probabilities,
            parts,
        }
    }

    /// Number of views of one image.
    pub fn count(&self) -> usize {
        self.parts.iter().map(Part::count).sum()
    }

    /// Whether it is one crop of the model's own preprocessing.
    pub fn is_own(&self) -> bool {
        self.parts == [Part::Crops(Crops::Own)]
    }

    /// Whether the model's own crop is among its views: the others are scaled and cut by the protocol.
    pub fn takes_own_crop(&self) -> bool {
        self.parts.contains(&Part::Crops(Crops::Own))
    }

    /// Side of the crop and what the shorter side is scaled to before it, where that is all it looks at, of a network with an input of
    /// this side.
    pub fn centre(&self, input: usize) -> Option<[usize; 2]> {
        match self.parts[..] {
            [Part::Crops(Crops::Centre { shorter, side })] => {
                Some([side.unwrap_or(input), shorter])
            }
            _ => None,
        }
    }

    /// Whether it looks as another one, whatever they are called.
    pub fn looks_as(&self, other: &Self) -> bool {
        (self.average, &self.parts) == (other.average, &other.parts)
    }

    /// Whether its values make sense.
    pub fn check(&self) -> Result<(), SettingError> {
        if self.name.trim().is_empty() {
            return Err(SettingError { key: "name", expected: "what it is called" });
        }
        if self.parts.is_empty() {
            return Err(SettingError { key: "parts", expected: "at least one" });
        }
        self.parts.iter().try_for_each(|part| match part {
            Part::Crops(crops) => check_crops(crops),
            Part::Dense(dense) => check_dense(dense, self.average),
        })?;
        match self.parts.iter().fold(0, |sum: usize, part| sum.saturating_add(part.count())) {
            0..=MOST_VIEWS => Ok(()),
            _ => Err(SettingError { key: "parts", expected: "at most 20,000 views of an image" }),
        }
    }
}

/// Whether crops for a network with an input of `input` [height, width] lie within the scaled images: beyond their borders there
/// is nothing to see.
pub(crate) fn check_fit(protocol: &Protocol, input: [usize; 2]) -> Result<(), SettingError> {
    let fits = |part: &Part| match part {
        Part::Crops(crops) => crops.fit(input),
        Part::Dense(_) => true,
    };
    match protocol.parts.iter().all(fits) {
        true => Ok(()),
        false => {
            Err(SettingError { key: "shorter", expected: "no less than the side of the crops" })
        }
    }
}

/// Most views of an image. Where they lie is listed.
const MOST_VIEWS: usize = 20_000;

/// Most windows in a row of a grid.
const MOST_WINDOWS: usize = 64;

fn check_sides(key: &'static str, sides: &[usize]) -> Result<(), SettingError> {
    match sides.iter().all(|side| (1..=MAX_SIDE).contains(side)) {
        true => Ok(()),
        false => Err(SettingError { key, expected: "1 to 4096" }),
    }
}

fn check_crops(crops: &Crops) -> Result<(), SettingError> {
    match crops {
        Crops::Grid { side, .. } if !(1..=MOST_WINDOWS).contains(side) => {
            return Err(SettingError { key: "side", expected: "1 to 64 windows in a row" });
        }
        Crops::Centre { side: Some(side), .. } => check_sides("side", &[*side])?,
        Crops::Own | Crops::Centre { .. } | Crops::Ten { .. } => {}
        Crops::Squares { .. } | Crops::Grid { .. } => {}
    }
    if crops.count() == 0 {
        return Err(SettingError { key: "shorter", expected: "at least one scale" });
    }
    check_sides("shorter", crops.shorter())
}

fn check_dense(dense: &Dense, average: Average) -> Result<(), SettingError> {
    if dense.scales.is_empty() {
        return Err(SettingError { key: "scales", expected: "at least one scale" });
    }
    if dense.softmax == SoftmaxAt::Place && average == Average::Logits {
        let expected = "\"row\" where logits are averaged";
        return Err(SettingError { key: "softmax", expected });
    }
    dense.scales.iter().try_for_each(|scale| check_sides("scales", scale.sides()))
}

/// What there is to know about a protocol by name, for the list of them.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let views = self.count();
        write!(f, "{}: {} of an image", self.name, counted(views, "view"))?;
        if views > 1 {
            write!(f, ", mean of the {}", self.average.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_protocols_are_rejected() {
        let key = |parts: Vec<Part>| Protocol::of("x", parts).check().unwrap_err().key;
        assert_eq!(key(vec![]), "parts");
        assert_eq!(
            Protocol::of(" ", vec![Part::Crops(Crops::Own)]).check().unwrap_err().key,
            "name"
        );
        assert_eq!(key(vec![Part::Dense(Dense::mean(&[], true))]), "scales");
        assert_eq!(key(vec![Part::Dense(Dense::mean(&[256, 0], true))]), "scales");
        assert_eq!(key(vec![Part::Crops(Crops::Ten { shorter: 5000 })]), "shorter");
        assert_eq!(key(vec![Part::Crops(Crops::Grid { shorter: vec![9], side: 65 })]), "side");
        assert_eq!(key(vec![Part::Crops(Crops::Grid { shorter: vec![], side: 5 })]), "shorter");
        assert_eq!(key(vec![Part::Crops(Crops::Grid { shorter: vec![9; 3], side: 64 })]), "parts");
        let dense = Dense { softmax: SoftmaxAt::Place, ..Dense::mean(&[256], true) };
        let mut protocol = Protocol::of("x", vec![Part::Dense(dense)]);
        assert_eq!(protocol.check(), Ok(()));
        protocol.average = Average::Logits;
        assert_eq!(protocol.check().unwrap_err().key, "softmax");
        assert_eq!(Protocol::own().check(), Ok(()));
    }
}
