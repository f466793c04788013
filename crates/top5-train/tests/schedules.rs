//! Schedules are PyTorch's over 50 steps: `schedules.json`, which `scripts/schedule_vectors.py` writes.

use serde::Deserialize;
use top5_train::{EpochRow, Rate, Schedule};

#[derive(Deserialize)]
struct File {
    lr: f64,
    /// Steps of an epoch.
    epoch: usize,
    /// Of the validation of each epoch.
    top1: Vec<f64>,
    loss: Vec<f64>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    schedule: Schedule,
    warmup_epochs: usize,
    rates: Vec<f64>,
}

#[test]
fn rates_are_those_of_pytorch() {
    let file: File = serde_json::from_str(include_str!("schedules.json")).unwrap();
    let File { lr, epoch, top1, loss, cases } = file;
    let rows: Vec<EpochRow> = (1..)
        .zip(top1.iter().zip(&loss))
        .map(|(number, (&eval_top1, &eval_loss))| EpochRow {
            epoch: number,
            step: number * epoch,
            train_loss: 1.0,
            train_top1: 0.0,
            train_top5: None,
            eval_loss: Some(eval_loss),
            eval_top1: Some(eval_top1),
            eval_top5: Some(100.0),
            ema: false,
            lr: 0.1,
        })
        .collect();
    assert_eq!(cases.len(), 10);
    for Case { name, schedule, warmup_epochs, rates } in cases {
        let (warmup, steps) = (warmup_epochs * epoch, rates.len());
        let rate = Rate { lr, schedule, warmup, epoch, steps };
        for (step, want) in rates.into_iter().enumerate() {
            let got = f64::from(rate.at(step, &rows[..step / epoch]));
            assert!((got - want).abs() <= 1e-7 * lr, "{name}, step {step}: {got}, not {want}");
        }
    }
}
