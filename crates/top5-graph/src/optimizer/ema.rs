//! The exponential moving average of the weights, on which networks are often better than on the weights themselves
//! (Polyak & Juditsky 1992; Szegedy et al., CVPR 2016, section 8).
//!
//! `e ← d·e + (1 − d)·w` after every update, with `d` the [`Ema::decay_at`] of the step. It begins as a copy of the weights
//! after the first update, in PyTorch's `AveragedModel` and timm's `ModelEmaV3` alike.

use super::{OutOfBounds, positive, require, share};

/// How an average follows the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ema {
    /// Share of the average that stays in a step, when warmed up.
    pub decay: f64,
    /// Steps during which the average is a copy of the weights; the first step's is in any case.
    pub after: u64,
    /// How the decay rises.
    pub warmup: Option<EmaWarmup>,
    /// What becomes of the running statistics.
    pub buffers: EmaBuffers,
}

/// The decay is at most `1 − (1 + t/gamma)^(−power)`, with `t` the steps since averaging began, as timm has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmaWarmup {
    /// Steps after which the rise slows down.
    pub gamma: f64,
    /// How fast it rises.
    pub power: f64,
}

impl Default for EmaWarmup {
    fn default() -> Self {
        Self { gamma: 1.0, power: 2.0 / 3.0 }
    }
}

/// What an average does with the running statistics of batch normalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmaBuffers {
    /// They are averaged as the weights are: timm's way, and TensorFlow's.
    #[default]
    Average,
    /// They are copied: the way of PyTorch's `AveragedModel`.
    Copy,
}

impl Ema {
    /// An average with this decay from the first step on.
    pub fn new(decay: f64) -> Self {
        Self { decay, after: 0, warmup: None, buffers: EmaBuffers::default() }
    }

    /// Share of the average that stays in step `step`, counted from 1; 0 makes it a copy.
    pub fn decay_at(&self, step: u64) -> f64 {
        let steps = step.saturating_sub(self.after).saturating_sub(1);
        match (steps, self.warmup) {
            (0, _) => 0.0,
            (_, None) => self.decay,
            (steps, Some(EmaWarmup { gamma, power })) => {
                (1.0 - (1.0 + steps as f64 / gamma).powf(-power)).min(self.decay)
            }
        }
    }

    pub(super) fn check(&self) -> Result<(), OutOfBounds> {
        require(share(self.decay), "ema", "from 0 to less than 1")?;
        let sensible = |EmaWarmup { gamma, power }| positive(gamma) && positive(power);
        require(self.warmup.is_none_or(sensible), "ema", "warmed up by numbers above 0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// timm's `ModelEmaV3(decay=0.9, use_warmup=True, update_after_step=2).get_decay(step)`.
    #[test]
    fn decay_rises_as_timm_s() {
        let warm = Ema { after: 2, warmup: Some(EmaWarmup::default()), ..Ema::new(0.9) };
        let expected = [0.0, 0.0, 0.0, 0.370_039_475, 0.519_250_143, 0.603_149_737];
        for (step, expected) in (1..).zip(expected) {
            assert!((warm.decay_at(step) - expected).abs() < 1e-8, "{step}");
        }
        assert_eq!(warm.decay_at(1000), 0.9);
        assert_eq!([1, 2, 3].map(|step| Ema::new(0.9).decay_at(step)), [0.0, 0.9, 0.9]);
    }
}
