//! Learning rates as functions of the step.
//!
//! With `e` the number of epochs done, fractions included, and `w` those of the warm-up:
//!
//! - constant: `lr`
//! - step: `lr · gamma^(milestones ≤ e)`, as PyTorch's `MultiStepLR`
//! - cosine: `final + (lr − final)·(1 + cos(π·t/T))/2` with `t` steps since the warm-up of `T` in all (Loshchilov & Hutter,
//!   ICLR 2017, without restarts), as PyTorch's `CosineAnnealingLR` stepped after every batch
//!
//! During the warm-up of `W` steps, step `i` has `lr·(i + 1)/W` instead (Goyal et al., arXiv:1706.02677, section 2.2).

use serde::{Deserialize, Serialize};

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
    /// The rate falls along half a cosine until the end of the run.
    Cosine {
        /// The rate that it falls to.
        #[serde(rename = "final")]
        last: f64,
    },
}

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
    /// The learning rate of step `step`, counted from 0.
    pub fn at(&self, step: usize) -> f32 {
        if step < self.warmup {
            return (self.lr * (step + 1) as f64 / self.warmup as f64) as f32;
        }
        let rate = match &self.schedule {
            Schedule::Constant => self.lr,
            Schedule::Step { milestones, gamma } => {
                let epochs = step as f64 / self.epoch as f64;
                let passed = milestones.iter().filter(|&&milestone| milestone <= epochs).count();
                self.lr * gamma.powi(passed as i32)
            }
            Schedule::Cosine { last } => {
                let whole = (self.steps.saturating_sub(self.warmup)).max(1) as f64;
                let done = ((step - self.warmup) as f64 / whole).min(1.0);
                last + (self.lr - last) * (1.0 + (std::f64::consts::PI * done).cos()) / 2.0
            }
        };
        rate as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, warmup: usize, epoch: usize, steps: usize) -> Vec<f32> {
        let rate = Rate { lr: 0.1, schedule, warmup, epoch, steps };
        (0..steps).map(|step| rate.at(step)).collect()
    }

    #[test]
    fn constant_stays() {
        assert_eq!(rates(Schedule::Constant, 0, 2, 4), [0.1; 4]);
    }

    /// `MultiStepLR(milestones=[2, 3], gamma=0.1)` over epochs 0..5.
    #[test]
    fn step_is_multi_step_lr() {
        let schedule = Schedule::Step { milestones: vec![2.0, 3.0], gamma: 0.1 };
        let expected = [0.1, 0.1, 0.01, 0.001, 0.001];
        for (got, expected) in rates(schedule, 0, 1, 5).into_iter().zip(expected) {
            assert!((got - expected).abs() < 1e-8, "{got} {expected}");
        }
    }

    #[test]
    fn step_may_lie_within_an_epoch() {
        let schedule = Schedule::Step { milestones: vec![0.5], gamma: 0.5 };
        assert_eq!(rates(schedule, 0, 4, 6), [0.1, 0.1, 0.05, 0.05, 0.05, 0.05]);
    }

    /// `CosineAnnealingLR(T_max=4, eta_min=0.02)`: (1 + cos(π·t/4))/2 is 1, (2 + √2)/4, 1/2, (2 − √2)/4.
    #[test]
    fn cosine_is_cosine_annealing_lr() {
        let got = rates(Schedule::Cosine { last: 0.02 }, 0, 2, 4);
        let expected = [0.1, 0.088_284_27, 0.06, 0.031_715_73];
        for (got, expected) in got.into_iter().zip(expected) {
            assert!((got - expected).abs() < 1e-7, "{got} {expected}");
        }
    }

    /// `SequentialLR` of `LinearLR(start_factor=1/4, total_iters=3)` for 4 steps, then the cosine over the other 2.
    #[test]
    fn warm_up_is_linear_and_precedes_the_rest() {
        let got = rates(Schedule::Cosine { last: 0.0 }, 4, 3, 6);
        for (got, expected) in got.into_iter().zip([0.025, 0.05, 0.075, 0.1, 0.1, 0.05]) {
            assert!((got - expected).abs() < 1e-8, "{got} {expected}");
        }
    }
}
