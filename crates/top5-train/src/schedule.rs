//! Learning rates as functions of the step, and of how validation went so far.
//!
//! With `e` the number of epochs done, fractions included, `t` the steps since the warm-up and `T` those of the run after it:
//!
//! - constant: `lr`
//! - step: `lr · gamma^(milestones ≤ e)`, as PyTorch's `MultiStepLR`
//! - exponential: `lr · gamma^⌊e/epochs⌋`, as PyTorch's `StepLR`, and with one epoch `ExponentialLR`
//! - cosine: `final + (lr − final)·(1 + cos(π·t/T))/2` (Loshchilov & Hutter, ICLR 2017, without restarts), as PyTorch's
//!   `CosineAnnealingLR` stepped after every batch
//! - polynomial: `final + (lr − final)·(1 − t/T)^power`, as PyTorch's `PolynomialLR` stepped after every batch
//! - plateau: multiplied where validation stops improving, as PyTorch's `ReduceLROnPlateau`
//!
//! During the warm-up of `W` steps, step `i` has `lr·(i + 1)/W` instead (Goyal et al., arXiv:1706.02677, section 2.2).

use serde::{Deserialize, Serialize};

use crate::log::EpochRow;

/// The shape of the learning rate after the warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The same rate all along.
    Constant,
    /// The rate is multiplied at given moments.
    Step {
        /// Epochs after which it is multiplied, ascending; counted from the beginning of the run.
        milestones: Vec<f64>,
        /// What it is multiplied by.
        gamma: f64,
    },
    /// The rate is multiplied again and again.
    Exponential {
        /// What it is multiplied by.
        gamma: f64,
        /// Epochs from one time to the next.
        #[serde(default = "one")]
        epochs: f64,
    },
    /// The rate falls along half a cosine until the end of the run.
    Cosine {
        /// The rate that it falls to.
        #[serde(rename = "final", default)]
        last: f64,
    },
    /// The rate falls along a power of the share of the run that is left.
    Polynomial {
        /// The power; 1 falls in a line.
        #[serde(default = "one")]
        power: f64,
        /// The rate that it falls to.
        #[serde(rename = "final", default)]
        last: f64,
    },
    /// The rate is multiplied where validation has stopped improving.
    Plateau(Plateau),
}

fn one() -> f64 {
    1.0
}

/// When validation has stopped improving, and what then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plateau {
    /// What must improve.
    pub on: Figure,
    /// What the rate is multiplied by.
    pub factor: f64,
    /// Epochs without improvement that are borne.
    pub patience: usize,
    /// By what share of the best so far an epoch must be better.
    pub threshold: f64,
    /// Epochs after a multiplication that do not count.
    pub cooldown: usize,
    /// The rate that it does not fall below.
    pub min: f64,
}

/// A figure of validation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Top-1; the greater the better.
    #[default]
    Top1,
    /// The loss; the smaller the better.
    Loss,
}

impl Default for Plateau {
    fn default() -> Self {
        let (on, factor, patience) = (Figure::default(), 0.1, 10);
        Self { on, factor, patience, threshold: 1e-4, cooldown: 0, min: 0.0 }
    }
}

impl Plateau {
    /// The rate after these epochs.
    fn rate(&self, lr: f64, rows: &[EpochRow]) -> f64 {
        let (mut rate, mut best) = (lr, None);
        let (mut bad, mut cooldown) = (0, 0);
        for row in rows {
            // Greater is better.
            let (figure, margin) = match self.on {
                Figure::Top1 => (row.eval_top1, self.threshold),
                Figure::Loss => (row.eval_loss.map(|loss| -loss), -self.threshold),
            };
            let Some(figure) = figure else { continue };
            if best.is_none_or(|best: f64| figure > best * (1.0 + margin)) {
                (best, bad) = (Some(figure), 0);
            } else {
                bad += 1;
            }
            if cooldown > 0 {
                (cooldown, bad) = (cooldown - 1, 0);
            }
            if bad > self.patience {
                rate = (rate * self.factor).max(self.min);
                (cooldown, bad) = (self.cooldown, 0);
            }
        }
        rate
    }
}

impl Schedule {
    /// The first key whose value makes no sense beside this rate, and what it must be.
    pub(crate) fn wrong(&self, lr: f64) -> Option<(&'static str, &'static str)> {
        let factor = |value: f64| value > 0.0 && value <= 1.0;
        let last = ((0.0..=lr).contains(&self.last()), "final", "from 0 to lr");
        let checks = match self {
            Self::Constant => Vec::new(),
            Self::Step { milestones, gamma } => {
                let ascending = milestones.windows(2).all(|pair| pair[0] < pair[1]);
                let finite = milestones.iter().all(|&m| m.is_finite() && m > 0.0);
                vec![
                    (ascending && finite, "milestones", "positive and ascending"),
                    (*gamma > 0.0 && gamma.is_finite(), "gamma", "a finite number above 0"),
                ]
            }
            Self::Exponential { gamma, epochs } => vec![
                (*gamma > 0.0 && gamma.is_finite(), "gamma", "a finite number above 0"),
                (*epochs > 0.0 && epochs.is_finite(), "epochs", "a finite number above 0"),
            ],
            Self::Cosine { .. } => vec![last],
            Self::Polynomial { power, .. } => {
                vec![last, (*power > 0.0 && power.is_finite(), "power", "a finite number above 0")]
            }
            Self::Plateau(plateau) => vec![
                (factor(plateau.factor), "factor", "above 0, and at most 1"),
                ((0.0..1.0).contains(&plateau.threshold), "threshold", "from 0 to less than 1"),
                (plateau.patience <= MAX_EPOCHS, "patience", "from 0 to 1000000"),
                (plateau.cooldown <= MAX_EPOCHS, "cooldown", "from 0 to 1000000"),
                ((0.0..=lr).contains(&plateau.min), "min", "from 0 to lr"),
            ],
        };
        checks.into_iter().find(|(good, ..)| !good).map(|(_, key, expected)| (key, expected))
    }

    /// The rate that it falls to, where it says one.
    fn last(&self) -> f64 {
        match self {
            Self::Cosine { last } | Self::Polynomial { last, .. } => *last,
            Self::Constant | Self::Step { .. } | Self::Exponential { .. } | Self::Plateau(_) => 0.0,
        }
    }
}

/// Most epochs: beyond that it is a slip.
pub(crate) const MAX_EPOCHS: usize = 1_000_000;

/// The learning rate of a whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// The highest rate.
    pub lr: f64,
    /// How it goes on after the warm-up.
    pub schedule: Schedule,
    /// Steps of the warm-up.
    pub warmup: usize,
    /// Steps per epoch.
    pub epoch: usize,
    /// Steps of the run.
    pub steps: usize,
}

impl Rate {
    /// The learning rate of step `step`, counted from 0, where the epochs before it came to `rows`. It may be infinite: a
    /// schedule can multiply for ever.
    pub fn at(&self, step: usize, rows: &[EpochRow]) -> f32 {
        if step < self.warmup {
            return (self.lr * (step + 1) as f64 / self.warmup as f64) as f32;
        }
        let epochs = step as f64 / self.epoch as f64;
        let whole = (self.steps.saturating_sub(self.warmup)).max(1) as f64;
        let done = ((step - self.warmup) as f64 / whole).min(1.0);
        let rate = match &self.schedule {
            Schedule::Constant => self.lr,
            Schedule::Step { milestones, gamma } => {
                let passed = milestones.iter().filter(|&&milestone| milestone <= epochs).count();
                self.lr * gamma.powi(passed as i32)
            }
            Schedule::Exponential { gamma, epochs: every } => {
                self.lr * gamma.powf((epochs / every).floor())
            }
            Schedule::Cosine { last } => {
                last + (self.lr - last) * (1.0 + (std::f64::consts::PI * done).cos()) / 2.0
            }
            Schedule::Polynomial { power, last } => {
                last + (self.lr - last) * (1.0 - done).powf(*power)
            }
            Schedule::Plateau(plateau) => plateau.rate(self.lr, rows),
        };
        rate as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_may_lie_within_an_epoch() {
        let schedule = Schedule::Step { milestones: vec![0.5], gamma: 0.5 };
        let rate = Rate { lr: 0.1, schedule, warmup: 0, epoch: 4, steps: 6 };
        let rates: Vec<f32> = (0..6).map(|step| rate.at(step, &[])).collect();
        assert_eq!(rates, [0.1, 0.1, 0.05, 0.05, 0.05, 0.05]);
    }

    #[test]
    fn senseless_numbers_are_named() {
        let step = |gamma| Schedule::Step { milestones: vec![1.0], gamma };
        for (schedule, key) in [
            (Schedule::Step { milestones: vec![2.0, 1.0], gamma: 0.1 }, "milestones"),
            (Schedule::Step { milestones: vec![f64::NAN], gamma: 0.1 }, "milestones"),
            (step(0.0), "gamma"),
            (step(f64::INFINITY), "gamma"),
            (Schedule::Exponential { gamma: 0.9, epochs: 0.0 }, "epochs"),
            (Schedule::Cosine { last: 0.2 }, "final"),
            (Schedule::Polynomial { power: -1.0, last: 0.0 }, "power"),
            (Schedule::Polynomial { power: 1.0, last: f64::NAN }, "final"),
            (Schedule::Plateau(Plateau { factor: 0.0, ..Plateau::default() }), "factor"),
            (Schedule::Plateau(Plateau { threshold: 1.0, ..Plateau::default() }), "threshold"),
            (Schedule::Plateau(Plateau { min: 0.2, ..Plateau::default() }), "min"),
            (Schedule::Plateau(Plateau { patience: usize::MAX, ..Plateau::default() }), "patience"),
        ] {
            assert_eq!(schedule.wrong(0.1).map(|(key, _)| key), Some(key), "{schedule:?}");
        }
        assert_eq!(step(0.1).wrong(0.1), None);
        assert_eq!(Schedule::Plateau(Plateau::default()).wrong(0.1), None);
    }
}
