//! The log of a run: one JSON object per line, for each step and each epoch. No line holds a time, so that a resumed run
//! writes the same bytes as one that was never stopped.

use serde::{Deserialize, Serialize};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Record {
    /// A step was done.
    Step(StepRecord),
    /// An epoch was done and evaluated.
    Epoch(Row),
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Steps done, this one included.
    pub step: usize,
    /// The epoch that it belongs to, from 1.
    pub epoch: usize,
    /// Its mean loss.
    pub loss: f64,
    /// Its learning rate.
    pub lr: f32,
}

/// What an epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its number, from 1.
    pub epoch: usize,
    /// Steps done at its end.
    pub step: usize,
    /// Mean loss of its images while learning from them.
    pub train_loss: f64,
    /// Share of its images that were classified right while learning from them, in percent.
    pub train_top1: f64,
    /// Mean loss on the validation images; absent, like the two that follow, where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_loss: Option<f64>,
    /// Top-1 on the validation images, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_top1: Option<f64>,
    /// Top-5 on the validation images, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_top5: Option<f64>,
    /// Whether the validated weights are the average of the weights.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ema: bool,
    /// Learning rate of its last step.
    pub lr: f32,
}

/// The record's line, with the line feed at its end.
pub fn line(record: &Record) -> String {
    let mut line = serde_json::to_string(record).expect("numbers always have a JSON form");
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_to_the_bit() {
        let step = StepRecord { step: 3, epoch: 1, loss: 1.0 / 3.0, lr: 0.1 };
        let text = line(&Record::Step(step));
        assert_eq!(
            text,
            "{\"event\":\"step\",\"step\":3,\"epoch\":1,\"loss\":0.3333333333333333,\"lr\":0.1}\n"
        );
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), Record::Step(step));
    }
}
