//! Training steps: gradients, updates, state, accumulation, what is published.

use super::report::{Report, all_identical, identical};
use super::{distributions, errors, forward, images, labels, trains, weights};
use crate::cases::Case;
use crate::fill;
use crate::reference::ReferenceDevice;
use top5_graph::{
    Device, EngineError, Loss, Optimizer, Sgd, StepOptions, Targets, Training, TrainingOptions,
    Update, Weights,
};

/// Three steps, then validation, accumulation and the optimiser's state.
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
    check_state(report, engine.as_mut(), &weights);
}

pub(super) fn options(case: &Case, step: usize) -> StepOptions {
    let label_smoothing = case.label_smoothing;
    StepOptions { label_smoothing, ..StepOptions::new(1000 + step as u64) }
}

/// The update of each step, so that each of descent's terms is used and left out once; the other optimisers are
/// [`updates`](super::updates).
fn update(step: usize) -> Update {
    let (momentum, weight_decay, nesterov) = match step {
        0 => (0.9, 0.01, false),
        1 => (0.8, 0.02, true),
        _ => (0.0, 0.0, false),
    };
    let optimizer = Optimizer::Sgd(Sgd { momentum, nesterov, ..Sgd::default() });
    Update { weight_decay, step: step as u64 + 1, ..Update::new(optimizer, 0.05) }
}

/// The reference takes over the state of the engine under test.
fn follow(report: &mut Report, engine: &dyn Training, reference: &mut dyn Training) {
    report.ok("load", reference.load(&engine.weights()));
    report.ok("load_state", reference.load_state(&engine.state()));
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
        training.update(&update(step));
    }
    let state = format!("{what}, state");
    report.close_all(&state, &engine.state(), &reference.state(), tolerance.gradient);
    let updated = format!("{what}, updated");
    report.close_all(&updated, &engine.weights(), &reference.weights(), tolerance.forward);
    let same = got.value.to_bits() == same.value.to_bits()
        && identical(&got.logits, &same.logits)
        && all_identical(&gradients, &twin.gradient_tensors())
        && all_identical(&engine.state(), &twin.state())
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

/// Two batches count as one of their mean, and the second is added once; its dropout masks are those of the places after the
/// first.
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
            let (accumulate, first) = (i > 0, i * case.batch);
            let options = StepOptions { scale, accumulate, first, ..options(case, 7) };
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

/// The optimiser's state is taken as it is given, refused where it does not fit, and gone after a load.
fn check_state(report: &mut Report, engine: &mut dyn Training, weights: &Weights) {
    engine.update(&update(0));
    let mut state = engine.state();
    for name in state.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>() {
        if let Some(tensor) = state.tensor_mut(&name) {
            let values = fill::signed(&name, tensor.data().len());
            tensor.data_mut().copy_from_slice(&values);
        }
    }
    report.ok("load_state", engine.load_state(&state));
    report.require(all_identical(&engine.state(), &state), "state() is not that loaded");
    for wrong in errors::damaged(&state) {
        report.refused("a wrong state", engine.load_state(&wrong), |error| {
            matches!(error, EngineError::Weights(_))
        });
        report.require(all_identical(&engine.state(), &state), "a wrong state changes something");
    }
    report.ok("load", engine.load(weights));
    report.require(engine.state().is_empty(), "the state outlives a load");
}
