//! [`Preprocess`] from what others say: timm's `config.json`, whose form is converted here and nowhere else, and the zoo.

use top5_data::preprocess::{MIN_CROP_PCT, decimal};
use top5_data::{CropMode, Filter, Preprocess};
use top5_formats::timm;
use top5_train::Recipe;
use top5_zoo::{Colours, Network, Preprocessing, Resample};

/// As timm writes it. Whether digits are drawn is lost.
pub(crate) fn to_timm(preprocess: &Preprocess) -> timm::Preprocessing {
    let widen = |values: &[f32]| values.iter().map(|&value| decimal(value)).collect();
    timm::Preprocessing {
        input_size: preprocess.input_size,
        crop_pct: preprocess.crop_pct,
        crop_mode: preprocess.crop_mode.name().to_owned(),
        interpolation: preprocess.interpolation.name().to_owned(),
        mean: widen(&preprocess.mean),
        std: widen(&preprocess.std),
    }
}

/// From timm's description, or what is wrong with it.
pub(crate) fn from_timm(timm: timm::Preprocessing) -> Result<Preprocess, String> {
    let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
    let unknown = |key: &str, word: &str| format!("{key}: {word:?} is not known");
    let preprocess = Preprocess {
        input_size: timm.input_size,
        crop_pct: timm.crop_pct,
        crop_mode: CropMode::from_name(&timm.crop_mode)
            .ok_or_else(|| unknown("crop_mode", &timm.crop_mode))?,
        interpolation: Filter::from_name(&timm.interpolation)
            .ok_or_else(|| unknown("interpolation", &timm.interpolation))?,
        mean: narrow(timm.mean),
        std: narrow(timm.std),
        drawn_digits: false,
    };
    preprocess.check().map_err(|error| error.to_string())?;
    Ok(preprocess)
}

/// How the zoo says that a network's images are prepared, for an input of this size: of another than the network's own, what is seen
/// of an image is the same share of it.
pub fn preprocessing(network: &Network, input: [usize; 3]) -> Preprocess {
    prepared(network, &network.preprocessing, input)
}

/// How images become the input of a recipe's network, as large as the recipe wants it.
pub fn recipe_preprocessing(recipe: &Recipe, network: &Network) -> Preprocess {
    let own = recipe.preprocess.as_ref().map_or(network.input, |of| of.input_size);
    let input_size = recipe.image_size.map_or(own, |side| [own[0], side, side]);
    match recipe.preprocess.clone() {
        Some(preprocess) => Preprocess { input_size, ..preprocess },
        None => preprocessing(network, input_size),
    }
}

/// How images are prepared for a network whose weights are in a file of PyTorch's, or in one that was made from it.
pub(crate) fn converted_preprocessing(network: &Network, input: [usize; 3]) -> Preprocess {
    prepared(network, network.converted.as_ref().unwrap_or(&network.preprocessing), input)
}

/// How images are prepared for a network whose weights are Caffe's, whatever others expect of it.
pub(crate) fn caffe_preprocessing(network: &Network, input: [usize; 3]) -> Preprocess {
    prepared(network, &Preprocessing::caffe(network.preprocessing.resize), input)
}

fn prepared(network: &Network, preprocessing: &Preprocessing, input: [usize; 3]) -> Preprocess {
    let channels = input[0];
    let statistics = |values: [f32; 3]| {
        // Channels are always stored red first here.
        let reversed = preprocessing.colours == Colours::Bgr && channels == 3;
        let values: Vec<f32> =
            if reversed { values.into_iter().rev().collect() } else { values.to_vec() };
        values[..channels.min(3)].to_vec()
    };
    let side = network.input[1].min(network.input[2]);
    Preprocess {
        input_size: input,
        crop_pct: (side as f64 / preprocessing.resize.max(side) as f64).max(MIN_CROP_PCT),
        crop_mode: CropMode::Center,
        interpolation: match preprocessing.resample {
            Resample::Bilinear => Filter::Bilinear,
            Resample::Bicubic => Filter::Bicubic,
        },
        mean: statistics(preprocessing.mean),
        std: statistics(preprocessing.std),
        drawn_digits: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preprocessing_survives_being_written() {
        for preprocess in
            [Preprocess::imagenet(224, 224), Preprocess::digits(), Preprocess::drawn_digits()]
        {
            let text = serde_json::to_string(&preprocess).unwrap();
            let again: Preprocess = serde_json::from_str(&text).unwrap();
            assert_eq!(again, preprocess);
        }
    }

    #[test]
    fn an_input_of_another_size_sees_the_same_share_of_an_image() {
        for network in top5_zoo::networks() {
            let own = preprocessing(network, network.input);
            for side in [32, 64, 320] {
                let other = preprocessing(network, [network.input[0], side, side]);
                assert_eq!(other.crop_pct, own.crop_pct, "{}", network.name);
            }
        }
        let zfnet = top5_zoo::network("zfnet").unwrap();
        let small = preprocessing(zfnet, [3, 64, 64]).describe();
        assert!(small.contains("resize shorter side to 73 "), "{small}");
    }

    #[test]
    fn timm_keeps_the_preprocessing() {
        let preprocess = Preprocess {
            crop_mode: CropMode::Border,
            interpolation: Filter::Bicubic,
            ..Preprocess::imagenet(299, 224)
        };
        assert_eq!(to_timm(&preprocess).mean, [0.485, 0.456, 0.406]);
        assert_eq!(from_timm(to_timm(&preprocess)), Ok(preprocess));
    }

    #[test]
    fn what_timm_may_not_say_is_named() {
        let good = to_timm(&Preprocess::imagenet(224, 224));
        for (word, wrong) in [
            ("magic", timm::Preprocessing { interpolation: "magic".to_owned(), ..good.clone() }),
            ("stretch", timm::Preprocessing { crop_mode: "stretch".to_owned(), ..good.clone() }),
            ("std", timm::Preprocessing { std: vec![0.2, -0.2, 0.2], ..good.clone() }),
            ("crop_pct", timm::Preprocessing { crop_pct: 0.01, ..good.clone() }),
            ("mean", timm::Preprocessing { mean: vec![1e300; 3], ..good.clone() }),
            ("input_size", timm::Preprocessing { input_size: [3, 1 << 40, 1], ..good }),
        ] {
            let reason = from_timm(wrong).unwrap_err();
            assert!(reason.contains(word), "{reason}");
        }
    }
}
