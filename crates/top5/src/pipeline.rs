//! [`Preprocess`] as it is written into files: our own in a model's metadata, timm's in `config.json`.

use serde::{Deserialize, Serialize};
use top5_data::{CropMode, Filter, Ink, Preprocess};
use top5_formats::timm;
use top5_zoo::{Colours, Network, Preprocessing, Resample};

/// Greatest side of an input, and least share that a crop keeps: what a file says decides how much memory a resize takes.
const MAX_SIDE: usize = 4096;
const MIN_CROP: f64 = 0.05;

/// [`Preprocess`] with its enumerations as words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pipeline {
    /// Channels, height and width.
    pub(crate) input_size: [usize; 3],
    pub(crate) crop_pct: f64,
    /// `center` or `squash`.
    pub(crate) crop_mode: String,
    /// A filter's name.
    pub(crate) interpolation: String,
    pub(crate) mean: Vec<f32>,
    pub(crate) std: Vec<f32>,
    /// Whether images to be classified are digits that somebody drew.
    #[serde(default)]
    pub(crate) drawn_digits: bool,
}

impl From<&Preprocess> for Pipeline {
    fn from(preprocess: &Preprocess) -> Self {
        Self {
            input_size: preprocess.shape(),
            crop_pct: preprocess.crop_pct,
            crop_mode: match preprocess.crop_mode {
                CropMode::Center => "center".to_owned(),
                CropMode::Squash => "squash".to_owned(),
            },
            interpolation: preprocess.filter.name().to_owned(),
            mean: preprocess.mean.clone(),
            std: preprocess.std.clone(),
            drawn_digits: preprocess.ink == Ink::Drawn,
        }
    }
}

impl Pipeline {
    /// The pipeline, or what is wrong with it.
    pub(crate) fn resolve(self) -> Result<Preprocess, String> {
        let [channels, height, width] = self.input_size;
        let within = |side: usize| (1..=MAX_SIDE).contains(&side);
        if !matches!(channels, 1 | 3) || !within(height) || !within(width) {
            return Err(format!("input_size {:?}: expected 1 or 3 channels", self.input_size));
        }
        if !(MIN_CROP..=1.0).contains(&self.crop_pct) {
            return Err(format!("crop_pct {}: expected {MIN_CROP} to 1", self.crop_pct));
        }
        let usable =
            |values: &[f32]| values.len() == channels && values.iter().all(|v| v.is_finite());
        if !usable(&self.mean) || !usable(&self.std) || self.std.contains(&0.0) {
            return Err(format!("mean and std: expected {channels} numbers each, std not 0"));
        }
        Ok(Preprocess {
            channels,
            height,
            width,
            crop_pct: self.crop_pct,
            crop_mode: match self.crop_mode.as_str() {
                "center" => CropMode::Center,
                "squash" => CropMode::Squash,
                other => return Err(format!("crop_mode {other:?}: expected center or squash")),
            },
            filter: Filter::from_name(&self.interpolation).ok_or_else(|| {
                format!("interpolation {:?}: expected bilinear, bicubic, …", self.interpolation)
            })?,
            mean: self.mean,
            std: self.std,
            ink: if self.drawn_digits { Ink::Drawn } else { Ink::AsIs },
        })
    }

    /// As timm writes it. Whether digits are drawn is lost.
    pub(crate) fn to_timm(&self) -> timm::Preprocessing {
        let widen = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
        timm::Preprocessing {
            input_size: self.input_size,
            crop_pct: self.crop_pct,
            crop_mode: self.crop_mode.clone(),
            interpolation: self.interpolation.clone(),
            mean: widen(&self.mean),
            std: widen(&self.std),
        }
    }

    /// From timm's description.
    pub(crate) fn from_timm(timm: timm::Preprocessing) -> Self {
        let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
        Self {
            input_size: timm.input_size,
            crop_pct: timm.crop_pct,
            crop_mode: timm.crop_mode,
            interpolation: timm.interpolation,
            mean: narrow(timm.mean),
            std: narrow(timm.std),
            drawn_digits: false,
        }
    }
}

/// How the zoo says that a network's images are prepared, for an input of this size.
pub fn preprocessing(network: &Network, input: [usize; 3]) -> Preprocess {
    prepared(&network.preprocessing, input)
}

/// How images are prepared for a network whose weights are Caffe's, whatever others expect of it.
pub(crate) fn caffe_preprocessing(network: &Network, input: [usize; 3]) -> Preprocess {
    prepared(&Preprocessing::caffe(network.preprocessing.resize), input)
}

fn prepared(preprocessing: &Preprocessing, input: [usize; 3]) -> Preprocess {
    let [channels, height, width] = input;
    let statistics = |values: [f32; 3]| {
        // Channels are always stored red first here.
        let reversed = preprocessing.colours == Colours::Bgr && channels == 3;
        let values: Vec<f32> =
            if reversed { values.into_iter().rev().collect() } else { values.to_vec() };
        values[..channels.min(3)].to_vec()
    };
    let side = height.min(width);
    Preprocess {
        channels,
        height,
        width,
        crop_pct: (side as f64 / preprocessing.resize.max(side) as f64).max(MIN_CROP),
        crop_mode: CropMode::Center,
        filter: match preprocessing.resample {
            Resample::Bilinear => Filter::Bilinear,
            Resample::Bicubic => Filter::Bicubic,
        },
        mean: statistics(preprocessing.mean),
        std: statistics(preprocessing.std),
        ink: Ink::AsIs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelines_survive_being_written() {
        for preprocess in
            [Preprocess::imagenet(224, 224), Preprocess::digits(), Preprocess::drawn_digits()]
        {
            let text = serde_json::to_string(&Pipeline::from(&preprocess)).unwrap();
            let again: Pipeline = serde_json::from_str(&text).unwrap();
            assert_eq!(again.resolve(), Ok(preprocess));
        }
    }

    #[test]
    fn senseless_pipelines_are_rejected() {
        let good = Pipeline::from(&Preprocess::imagenet(224, 224));
        for wrong in [
            Pipeline { input_size: [2, 224, 224], ..good.clone() },
            Pipeline { input_size: [3, 1 << 40, 224], ..good.clone() },
            Pipeline { crop_pct: 0.0, ..good.clone() },
            Pipeline { crop_pct: f64::NAN, ..good.clone() },
            Pipeline { mean: vec![0.0; 2], ..good.clone() },
            Pipeline { std: vec![0.0; 3], ..good.clone() },
            Pipeline { interpolation: "magic".to_owned(), ..good.clone() },
            Pipeline { crop_mode: "border".to_owned(), ..good },
        ] {
            assert!(wrong.clone().resolve().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn timm_keeps_the_pipeline() {
        let pipeline = Pipeline::from(&Preprocess::imagenet(299, 224));
        assert_eq!(Pipeline::from_timm(pipeline.to_timm()), pipeline);
    }
}
