//! What answers about images are made of: classes, maps as numbers with their colours, pictures.

use serde::Serialize;
use top5::data::{Image, Preprocess};
use top5::explain::picture::{self, Ramp, Scale};
use top5::explain::zfnet::field::Rectangle;
use top5::explain::zfnet::gallery::patch;
use top5::explain::{ExplainError, Map};

/// Colours of a scale, at equal distances.
const COLOURS: usize = 9;

/// A class of an image.
#[derive(Serialize)]
pub(crate) struct Class<'a> {
    pub(crate) label: usize,
    pub(crate) class: &'a str,
    pub(crate) probability: f32,
}

/// A map.
#[derive(Serialize)]
pub(crate) struct Numbers<'a> {
    height: usize,
    width: usize,
    signed: bool,
    least: f32,
    most: f32,
    values: &'a [f32],
}

impl<'a> Numbers<'a> {
    pub(crate) fn of(map: &'a Map) -> Self {
        let (height, width, [least, most]) = (map.height(), map.width(), map.range());
        Self { height, width, signed: map.signed(), least, most, values: map.values() }
    }
}

/// Which number has which colour: colours at equal distances from `low` to `high`, mixed in sRGB.
#[derive(Serialize)]
pub(crate) struct Colours {
    low: f32,
    high: f32,
    colours: [[u8; 3]; COLOURS],
}

impl Colours {
    pub(crate) fn of(scale: &Scale) -> Self {
        Self { low: scale.low, high: scale.high, colours: stops(scale.ramp) }
    }
}

fn stops(ramp: Ramp) -> [[u8; 3]; COLOURS] {
    std::array::from_fn(|at| ramp.at(at as f32 / (COLOURS - 1) as f32))
}

/// The prepared image as a picture: what the network sees.
pub(crate) fn photograph(input: &[f32], preprocess: &Preprocess) -> Image {
    let [_, height, width] = preprocess.input_size;
    patch(preprocess, input, Rectangle { top: 0, left: 0, height, width })
}

/// A picture as an address that a page can show.
pub(crate) fn png(image: &Image) -> Result<String, ExplainError> {
    Ok(picture::data_uri(&picture::encode(image, &[])?))
}
