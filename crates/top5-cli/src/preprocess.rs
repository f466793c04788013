//! What the user says about how images become a network's input, where it is not what the model says.

use anyhow::Result;
use clap::Args;
use serde::Deserialize;
use top5::data::{CropMode, Filter, Preprocess, SettingError};
use top5::graph::counted;

use crate::args::finite;
use crate::exit::Stop;

/// Replaces parts of the model's preprocessing.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Preprocessing, where it is not the model's")]
pub(crate) struct PreprocessArgs {
    /// Mean of each channel, of pixels from 0 to 1; one number stands for all channels
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', value_parser = finite::<f32>)]
    mean: Vec<f32>,
    /// Standard deviation of each channel
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', value_parser = finite::<f32>)]
    std: Vec<f32>,
    /// Share of the scaled side that the centre crop keeps
    #[arg(long, value_name = "SHARE", value_parser = finite::<f64>)]
    crop_pct: Option<f64>,
    /// center scales the shorter side, border the longer one, squash both, whatever the proportions
    #[arg(long, value_name = "center|squash|border", value_parser = crop_mode)]
    crop_mode: Option<CropMode>,
    /// Filter: nearest, box, bilinear, hamming, bicubic or lanczos
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    interpolation: Option<Filter>,
}

fn crop_mode(text: &str) -> Result<CropMode, String> {
    let expected = "expected center, squash or border";
    CropMode::from_name(text).ok_or_else(|| expected.to_owned())
}

fn filter(text: &str) -> Result<Filter, String> {
    let expected = "expected nearest, box, bilinear, hamming, bicubic or lanczos";
    Filter::from_name(text).ok_or_else(|| expected.to_owned())
}

impl PreprocessArgs {
    /// Whether nothing is replaced.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { mean, std, crop_pct, crop_mode, interpolation } = self;
        let given = crop_pct.is_some() || crop_mode.is_some() || interpolation.is_some();
        mean.is_empty() && std.is_empty() && !given
    }

    /// Whether it says how the model's own crop is made.
    pub(crate) fn describes_crop(&self) -> bool {
        self.crop_pct.is_some() || self.crop_mode.is_some()
    }

    /// The model's preprocessing with these parts replaced.
    pub(crate) fn apply(&self, model: Preprocess) -> Result<Preprocess> {
        let replaced = Preprocess {
            crop_pct: self.crop_pct.unwrap_or(model.crop_pct),
            crop_mode: self.crop_mode.unwrap_or(model.crop_mode),
            interpolation: self.interpolation.unwrap_or(model.interpolation),
            mean: per_channel(&self.mean, &model.mean),
            std: per_channel(&self.std, &model.std),
            ..model
        };
        replaced.check().map_err(|SettingError { key, expected }| {
            let flag = key.replace('_', "-");
            let more = match (key, self.crop_pct) {
                ("crop_pct", Some(given)) => format!(", not {given}"),
                _ => format!("; the input has {}", counted(replaced.input_size[0], "channel")),
            };
            Stop::Usage(format!("--{flag}: expected {expected}{more}"))
        })?;
        Ok(replaced)
    }
}

/// One number per channel: the given ones, or the one given for all, or the model's.
fn per_channel(given: &[f32], model: &[f32]) -> Vec<f32> {
    match given {
        [] => model.to_vec(),
        [value] => vec![*value; model.len()],
        values => values.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_replaces_the_models() {
        let model = Preprocess::imagenet(224, 224);
        let nothing = PreprocessArgs::default();
        assert_eq!(nothing.apply(model.clone()).unwrap(), model);
        let some = PreprocessArgs {
            mean: vec![0.5],
            std: vec![0.1, 0.2, 0.3],
            crop_pct: Some(1.0),
            crop_mode: Some(CropMode::Squash),
            interpolation: Some(Filter::Bicubic),
        };
        let replaced = some.apply(model).unwrap();
        assert_eq!((replaced.mean, replaced.std), (vec![0.5; 3], vec![0.1, 0.2, 0.3]));
        assert_eq!((replaced.crop_pct, replaced.interpolation), (1.0, Filter::Bicubic));
        assert_eq!(replaced.crop_mode, CropMode::Squash);
    }

    #[test]
    fn senseless_numbers_are_rejected() {
        let given = |mean: &[f32], std: &[f32], crop_pct| {
            let (mean, std) = (mean.to_vec(), std.to_vec());
            let args = PreprocessArgs { mean, std, crop_pct, ..PreprocessArgs::default() };
            args.apply(Preprocess::imagenet(224, 224))
        };
        assert!(given(&[], &[], None).is_ok());
        assert!(given(&[0.1, 0.2], &[], None).is_err());
        assert!(given(&[f32::NAN], &[], None).is_err());
        assert!(given(&[], &[0.0], None).is_err());
        assert!(given(&[], &[], Some(0.0)).is_err());
        let said = given(&[], &[], Some(2.5)).unwrap_err().to_string();
        assert_eq!(said, "--crop-pct: expected 0.05 to 2 (beyond 1 in a frame), not 2.5");
    }
}
