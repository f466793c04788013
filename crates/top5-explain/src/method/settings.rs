//! What may be chosen about methods, each by name; what is left open keeps the usual value.

use super::Method;
use super::perturb::Grid;
use crate::error::ExplainError;

/// Settings of all methods; each takes those that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// Points of integrated gradients.
    pub steps: Option<usize>,
    /// Copies of SmoothGrad.
    pub samples: Option<usize>,
    /// SmoothGrad's noise over the range of the prepared image's values.
    pub level: Option<f32>,
    /// Masks of RISE.
    pub masks: Option<usize>,
    /// Side of the square or tile, in pixels.
    pub size: Option<usize>,
    /// Pixels between the square's places; half its side where only that is given.
    pub stride: Option<usize>,
    /// Seed of noise and masks.
    pub seed: Option<u64>,
}

impl Method {
    /// The method with these settings.
    #[must_use]
    pub fn with(self, chosen: &Settings) -> Self {
        match self {
            Self::IntegratedGradients { steps } => {
                Self::IntegratedGradients { steps: chosen.steps.unwrap_or(steps) }
            }
            Self::Smoothgrad { samples, level, seed } => Self::Smoothgrad {
                samples: chosen.samples.unwrap_or(samples),
                level: chosen.level.unwrap_or(level),
                seed: chosen.seed.unwrap_or(seed),
            },
            Self::Occlusion { size, stride } => {
                let half = chosen.size.map(|size| (size / 2).max(1));
                Self::Occlusion {
                    size: chosen.size.unwrap_or(size),
                    stride: chosen.stride.or(half).unwrap_or(stride),
                }
            }
            Self::Rise { masks, cells, share, seed } => Self::Rise {
                masks: chosen.masks.unwrap_or(masks),
                seed: chosen.seed.unwrap_or(seed),
                cells,
                share,
            },
            Self::Ablation { size } => Self::Ablation { size: chosen.size.unwrap_or(size) },
            Self::Gradient
            | Self::Deconvnet
            | Self::Guided
            | Self::GradientTimesInput
            | Self::GradCam
            | Self::HiresCam
            | Self::GuidedGradCam => self,
        }
    }

    /// The names of the settings that it has, and `layer` where it looks at one.
    pub fn settings(&self) -> &'static [&'static str] {
        match self {
            Self::IntegratedGradients { .. } => &["steps"],
            Self::Smoothgrad { .. } => &["samples", "level", "seed"],
            Self::GradCam | Self::HiresCam | Self::GuidedGradCam => &["layer"],
            Self::Occlusion { .. } => &["size", "stride"],
            Self::Rise { .. } => &["masks", "seed"],
            Self::Ablation { .. } => &["size"],
            Self::Gradient | Self::Deconvnet | Self::Guided | Self::GradientTimesInput => &[],
        }
    }

    /// What to say of a setting that none of these methods has: who has it.
    pub fn idle(key: &str, methods: &[Self]) -> Option<String> {
        let has = |method: &Self| method.settings().contains(&key);
        if methods.iter().any(has) {
            return None;
        }
        let usual = |name: &&str| Self::usual(name, 1).as_ref().is_some_and(has);
        let owners: Vec<&str> = Self::NAMES.into_iter().filter(usual).collect();
        Some(format!("changes nothing here: a setting of {}", owners.join(", ")))
    }

    /// Fails unless its settings make sense for an input of `[height, width]`.
    pub fn check(&self, image: [usize; 2]) -> Result<(), ExplainError> {
        let expect = |key, holds: bool, expected: &str| match holds {
            true => Ok(()),
            false => Err(ExplainError::Setting { key, expected: expected.to_owned() }),
        };
        let positive = |key, value: usize| expect(key, value > 0, "at least 1");
        match *self {
            Self::IntegratedGradients { steps } => positive("steps", steps),
            Self::Smoothgrad { samples, level, .. } => {
                positive("samples", samples)?;
                expect("level", level > 0.0 && level.is_finite(), "a number above 0")
            }
            Self::Occlusion { size, stride } => Grid::new(image, size, stride).map(|_| ()),
            Self::Rise { masks, cells, share, .. } => {
                positive("masks", masks)?;
                let most = image[0].min(image[1]);
                expect("cells", (1..=most).contains(&cells), &format!("1 to {most}"))?;
                expect("share", share > 0.0 && share < 1.0, "a share between 0 and 1")
            }
            Self::Ablation { size } => positive("size", size),
            Self::Gradient
            | Self::Deconvnet
            | Self::Guided
            | Self::GradientTimesInput
            | Self::GradCam
            | Self::HiresCam
            | Self::GuidedGradCam => Ok(()),
        }
    }

    /// How many images it runs through the network, forward or backward, at an input of `height * width`: what it costs.
    pub fn passes(&self, [height, width]: [usize; 2]) -> usize {
        let places = |side: usize, size: usize, stride: usize| {
            1 + side.saturating_sub(size).div_ceil(stride.max(1))
        };
        match *self {
            Self::IntegratedGradients { steps } => steps,
            Self::Smoothgrad { samples, .. } => samples,
            Self::Occlusion { size, stride } => {
                places(height, size, stride).saturating_mul(places(width, size, stride))
            }
            Self::Rise { masks, .. } => masks,
            Self::Ablation { size } => {
                height.div_ceil(size.max(1)).saturating_mul(width.div_ceil(size.max(1)))
            }
            Self::Gradient
            | Self::Deconvnet
            | Self::Guided
            | Self::GradientTimesInput
            | Self::GradCam
            | Self::HiresCam => 1,
            Self::GuidedGradCam => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_reach_the_methods_that_have_them() {
        let chosen = Settings { size: Some(6), seed: Some(3), ..Settings::default() };
        let with = |name: &str| Method::usual(name, 28).unwrap().with(&chosen);
        assert_eq!(with("occlusion"), Method::Occlusion { size: 6, stride: 3 });
        assert_eq!(with("ablation"), Method::Ablation { size: 6 });
        assert_eq!(with("gradient"), Method::Gradient);
        assert_eq!(with("smoothgrad"), Method::Smoothgrad { samples: 25, level: 0.15, seed: 3 });
        for name in Method::NAMES {
            let usual = Method::usual(name, 28).unwrap();
            assert_eq!(usual.clone().with(&Settings::default()), usual);
        }
    }

    #[test]
    fn settings_change_methods_that_have_them_and_are_idle_beside_others() {
        let all = Settings {
            steps: Some(7),
            samples: Some(8),
            level: Some(0.3),
            masks: Some(9),
            size: Some(10),
            stride: Some(3),
            seed: Some(11),
        };
        let nothing = Settings::default();
        for (key, one) in [
            ("steps", Settings { steps: all.steps, ..nothing }),
            ("samples", Settings { samples: all.samples, ..nothing }),
            ("level", Settings { level: all.level, ..nothing }),
            ("masks", Settings { masks: all.masks, ..nothing }),
            ("size", Settings { size: all.size, ..nothing }),
            ("stride", Settings { stride: all.stride, ..nothing }),
            ("seed", Settings { seed: all.seed, ..nothing }),
        ] {
            for name in Method::NAMES {
                let usual = Method::usual(name, 28).unwrap();
                let changes = usual.clone().with(&one) != usual;
                assert_eq!(Method::idle(key, &[usual]).is_none(), changes, "{key} of {name}");
            }
        }
        let [cam, rise] = ["grad-cam", "rise"].map(|name| Method::usual(name, 28).unwrap());
        assert_eq!(Method::idle("layer", &[rise.clone(), cam]), None);
        let said = Method::idle("layer", &[rise]).unwrap();
        assert_eq!(said, "changes nothing here: a setting of grad-cam, hires-cam, guided-grad-cam");
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let rise = |masks, cells, share| Method::Rise { masks, cells, share, seed: 0 };
        let smooth = |samples, level| Method::Smoothgrad { samples, level, seed: 0 };
        for (method, wrong) in [
            (Method::IntegratedGradients { steps: 0 }, "steps"),
            (smooth(0, 0.1), "samples"),
            (smooth(1, 0.0), "level"),
            (smooth(1, f32::NAN), "level"),
            (Method::Occlusion { size: 6, stride: 1 }, "size"),
            (Method::Occlusion { size: 4, stride: 5 }, "stride"),
            (rise(0, 1, 0.5), "masks"),
            (rise(1, 6, 0.5), "cells"),
            (rise(1, 5, 1.0), "share"),
            (Method::Ablation { size: 0 }, "size"),
        ] {
            let got = method.check([5, 9]);
            assert!(
                matches!(got, Err(ExplainError::Setting { key, .. }) if key == wrong),
                "{method:?}: {got:?}"
            );
        }
        for side in 1..12 {
            for name in Method::NAMES {
                let usual = Method::usual(name, side).unwrap();
                assert_eq!(usual.check([side, side + 3]), Ok(()), "{usual:?} of {side} pixels");
            }
        }
    }

    #[test]
    fn passes_are_counted_as_they_run() {
        for (method, passes) in [
            (Method::Occlusion { size: 4, stride: 2 }, 13 * 13),
            (Method::Ablation { size: 3 }, 100),
            (Method::Rise { masks: 7, cells: 7, share: 0.5, seed: 0 }, 7),
            (Method::Ablation { size: 0 }, 28 * 28),
        ] {
            assert_eq!(method.passes([28, 28]), passes, "{method:?}");
        }
    }
}
