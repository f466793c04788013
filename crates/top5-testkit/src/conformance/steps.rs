//! Training steps: gradients, updates, momenta, accumulation, what is published.

use super::report::{Report, all_identical, identical};
use super::{distributions, errors, forward, images, labels, trains, weights};
use crate::cases::Case;
use crate::fill;
use crate::reference::ReferenceDevice;
use top5_graph::{
    Device, EngineError, Loss, Sgd, StepOptions, Targets, Training, TrainingOptions, Weights,
};

/// Three steps, then validation, accumulation and momenta.
pub(super) fn check(report: &mut Report, case: &Case, device: &dyn Device) {
    let weights = weights(case);
    let options = TrainingOptions::new(case.batch);
    let make = || device.training(&case.graph, &weights, &options);
    if !trains(&case.graph) {
        let refused = |error: &EngineError| matches!(error, EngineError::Unsupported { .. });
        return report.refused("training on a map of logits", make(), refused);
    }
    let reference = ReferenceDevice.training(&case.graph, &weights, &options);
    let (Some(mut engine), Some(mut twin), Some(mut reference)) = (
        report.ok("training", make()),
        report.ok("training", make()),
        report.ok("training", reference),
    ) else {
        return;
    };
    report.require(engine.batch() == case.batch, "the training has another batch");
    report.require(all_identical(&engine.weights(), &weights), "weights() are not those given");
    for step in 0..3 {
        let trainings: [&mut dyn Training; 3] = [&mut *engine, &mut *twin, &mut *reference];
        check_step(report, case, step, trainings);
        if step != 1 {
            // Validation sees the trained weights and the running statistics, in one network.
            check_published(report, case, engine.as_mut(), reference.as_mut(), step);
        }
    }
    check_accumulation(report, case, engine.as_mut(), reference.as_mut());
    check_momenta(report, engine.as_mut(), &weights);
}

pub(super) fn options(case: &Case, step: usize) -> StepOptions {
    let label_smoothing = case.label_smoothing;
    StepOptions { label_smoothing, ..StepOptions::new(1000 + step as u64) }
}

/// The optimiser of each step, so that each of its terms is used and left out once.
fn sgd(step: usize) -> Sgd {
    let plain = Sgd { lr: 0.05, momentum: 0.0, weight_decay: 0.0, nesterov: false };
    match step {
        0 => Sgd { momentum: 0.9, weight_decay: 0.01, ..plain },
        1 => Sgd { momentum: 0.8, weight_decay: 0.02, nesterov: true, ..plain },
        _ => plain,
    }
}

/// The reference takes over the state of the engine under test.
fn follow(report: &mut Report, engine: &dyn Training, reference: &mut dyn Training) {
    report.ok("load", reference.load(&engine.weights()));
    report.ok("load_momenta", reference.load_momenta(&engine.momenta()));
}

/// One training step of the engine, of one that must do the same to the bit, and of the reference.
fn check_step(
    report: &mut Report,
    case: &Case,
    step: usize,
    [engine, twin, reference]: [&mut dyn Training; 3],
) {
    follow(report, engine, reference);
    let classes = case.graph.classes();
    // The last step is one of a smaller batch.
    let n = if step == 2 { case.batch.saturating_sub(1).max(1) } else { case.batch };
    let images = images(case, &format!("step{step}"), n);
    let (labels, shares) = (labels(n, step, classes), distributions(n, classes));
    let targets =
        if step == 1 { Targets::Distributions(&shares) } else { Targets::Classes(&labels) };
    let what = format!("step {step}");
    let options = options(case, step);
    let mut run = |training: &mut dyn Training| -> Option<Loss> {
        report.ok(&what, training.gradients(images.data(), targets, &options, None))
    };
    let (got, same, want) = (run(engine), run(twin), run(reference));
    let (Some(got), Some(same), Some(want)) = (got, same, want) else { return };
    let tolerance = report.tolerance;
    report.close_number(&format!("{what}, loss"), got.value, want.value, tolerance.forward);
    report.close(&format!("{what}, logits"), &got.logits, &want.logits, tolerance.forward, 0.0);
    report.require(got.finite && same.finite, format!("{what} is not finite"));
    let gradients = engine.gradient_tensors();
    let wanted = reference.gradient_tensors();
    report.close_all(&format!("{what}, gradient of"), &gradients, &wanted, tolerance.gradient);
    let before = format!("{what}, before the update,");
    report.close_all(&before, &engine.weights(), &reference.weights(), tolerance.forward);
    for training in [&mut *engine, &mut *twin, &mut *reference] {
        training.update(&sgd(step));
    }
    let momenta = format!("{what}, momentum of");
    report.close_all(&momenta, &engine.momenta(), &reference.momenta(), tolerance.gradient);
    let updated = format!("{what}, updated");
    report.close_all(&updated, &engine.weights(), &reference.weights(), tolerance.forward);
    let same = got.value.to_bits() == same.value.to_bits()
        && identical(&got.logits, &same.logits)
        && all_identical(&gradients, &twin.gradient_tensors())
        && all_identical(&engine.momenta(), &twin.momenta())
        && all_identical(&engine.weights(), &twin.weights());
    report.require(same, format!("{what}: two engines differ"));
}

/// What is published computes with today's weights.
fn check_published(
    report: &mut Report,
    case: &Case,
    engine: &mut dyn Training,
    reference: &mut dyn Training,
    step: usize,
) {
    follow(report, engine, reference);
    let networks = (report.ok("publish", engine.publish()), reference.publish());
    if let (Some(network), Ok(reference)) = networks {
        let when = format!("published after step {step}, ");
        forward::check_batches(report, case, network.as_ref(), reference.as_ref(), &when);
    }
}

/// Two batches count as one of their mean, and the second is added once.
fn check_accumulation(
    report: &mut Report,
    case: &Case,
    engine: &mut dyn Training,
    reference: &mut dyn Training,
) {
    follow(report, engine, reference);
    let labels = labels(case.batch, 5, case.graph.classes());
    let run = |training: &mut dyn Training| -> Result<Loss, EngineError> {
        let mut loss = None;
        for (i, (n, scale)) in [(case.batch, 0.75), (1, 0.25)].into_iter().enumerate() {
            let images = images(case, &format!("part {i}"), n);
            let options = StepOptions { scale, accumulate: i > 0, ..options(case, 7 + i) };
            let targets = Targets::Classes(&labels[..n]);
            loss = Some(training.gradients(images.data(), targets, &options, None)?);
        }
        loss.ok_or(EngineError::Stopped)
    };
    let (got, want) = (run(engine), run(reference));
    let (Some(got), Some(want)) = (report.ok("accumulation", got), report.ok("reference", want))
    else {
        return;
    };
    let tolerance = report.tolerance;
    report.close_number("accumulation, loss", got.value, want.value, tolerance.forward);
    report.close_all(
        "accumulated gradient of",
        &engine.gradient_tensors(),
        &reference.gradient_tensors(),
        tolerance.gradient,
    );
}

/// Momenta are taken as they are given, refused where they do not fit, and zero after a load.
fn check_momenta(report: &mut Report, engine: &mut dyn Training, weights: &Weights) {
    let mut momenta = engine.momenta();
    for name in momenta.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>() {
        if let Some(tensor) = momenta.tensor_mut(&name) {
            let values = fill::signed(&format!("momentum of {name}"), tensor.data().len());
            tensor.data_mut().copy_from_slice(&values);
        }
    }
    report.ok("load_momenta", engine.load_momenta(&momenta));
    report.require(all_identical(&engine.momenta(), &momenta), "momenta() are not those loaded");
    for wrong in errors::damaged(&momenta) {
        report.refused("wrong momenta", engine.load_momenta(&wrong), |error| {
            matches!(error, EngineError::Weights(_))
        });
        report
            .require(all_identical(&engine.momenta(), &momenta), "wrong momenta change something");
    }
    report.ok("load", engine.load(weights));
    let zero = engine.momenta().iter().all(|(_, tensor)| tensor.data().iter().all(|&v| v == 0.0));
    report.require(zero, "momenta are not zero after a load");
}
