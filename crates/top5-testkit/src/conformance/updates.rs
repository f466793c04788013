//! Every optimiser, groups, clipping and averages, step by step against the reference.

use super::report::{Report, all_identical};
use super::{Make, Tolerance, labels};
use crate::oracle;
use crate::reference::ReferenceDevice;
use top5_graph::ops::Conv2d;
use top5_graph::{
    Adam, Clip, Device, Ema, EmaBuffers, EmaWarmup, Group, Lars, Optimizer, RmsProp, RmsPropForm,
    Select, Sgd, StepOptions, Targets, TrainingOptions, Update, net,
};

const SGD: Sgd = Sgd { momentum: 0.9, dampening: 0.0, nesterov: false };

/// Each rule in each of its forms, and each addition.
pub(crate) fn variants() -> Vec<(String, Update)> {
    let rms = |form, momentum, centered| {
        Optimizer::RmsProp(RmsProp { momentum, centered, eps: 0.01, ..RmsProp::new(form) })
    };
    let mut optimizers = vec![
        Optimizer::Sgd(Sgd::default()),
        Optimizer::Sgd(Sgd { dampening: 0.5, ..SGD }),
        Optimizer::Sgd(Sgd { nesterov: true, ..SGD }),
        Optimizer::Lars(Lars { sgd: SGD, coefficient: 0.5, ..Lars::default() }),
        Optimizer::Adam(Adam { eps: 1e-3, ..Adam::default() }),
        Optimizer::AdamW(Adam { eps: 1e-3, ..Adam::default() }),
    ];
    for form in [RmsPropForm::PyTorch, RmsPropForm::TensorFlow] {
        optimizers.extend([rms(form, 0.0, false), rms(form, 0.9, false)]);
        optimizers.extend([rms(form, 0.0, true), rms(form, 0.9, true)]);
    }
    let mut variants: Vec<(String, Update)> = optimizers
        .into_iter()
        .map(|optimizer| {
            let update = Update { weight_decay: 0.01, ..Update::new(optimizer, 0.05) };
            (format!("{optimizer:?}"), update)
        })
        .collect();
    let lars = Optimizer::Lars(Lars { sgd: SGD, coefficient: 0.5, ..Lars::default() });
    let pattern = |pattern: &str| Group::of(Select::Pattern(pattern.to_owned()));
    let groups = vec![
        Group::of(Select::Norms).decay(0.0),
        Group::of(Select::Biases).decay(0.0),
        pattern("fc1").lr(0.1),
        pattern("conv1").frozen(),
    ];
    let plain = Update { weight_decay: 0.1, ..Update::new(Optimizer::Sgd(SGD), 0.05) };
    let ema = Ema { warmup: Some(EmaWarmup::default()), ..Ema::new(0.9) };
    for (name, update) in [
        ("groups", Update { groups: groups.clone(), ..plain.clone() }),
        ("groups, LARS", Update { groups: groups.clone(), optimizer: lars, ..plain.clone() }),
        ("clipped norm", Update { clip: Some(Clip::Norm(0.1)), groups, ..plain.clone() }),
        ("large norm", Update { clip: Some(Clip::Norm(1e6)), ..plain.clone() }),
        ("clipped values", Update { clip: Some(Clip::Value(0.01)), ..plain.clone() }),
        (
            "clipped values, LARS",
            Update { clip: Some(Clip::Value(0.01)), optimizer: lars, ..plain.clone() },
        ),
        ("average", Update { ema: Some(ema), ..plain.clone() }),
        (
            "average with copied statistics",
            Update { ema: Some(Ema { buffers: EmaBuffers::Copy, after: 1, ..ema }), ..plain },
        ),
    ] {
        variants.push((name.to_owned(), update));
    }
    variants
}

/// What differs from the reference, or between two engines.
pub(super) fn check(make: &Make<'_>, tolerance: Tolerance) -> Vec<String> {
    // More channels than a block has lanes, and groups, so that the packed form has unused places.
    let graph = net("updates", [3, 5, 5], |x| {
        let x = x.conv_bn(18, 3).relu();
        x.apply(Conv2d::new(6, 3).groups(2)).flatten().linear(5)
    });
    let graph = graph.unwrap_or_else(|error| panic!("{error}"));
    let weights = oracle::weights_for(&graph);
    // Buckets of a few parameters.
    let options = TrainingOptions { bucket: 1 << 10, ..TrainingOptions::new(4) };
    let device = make();
    let mut failures = Vec::new();
    for (name, update) in variants() {
        let mut report = Report::new(&name, tolerance);
        let made = [(); 2].map(|()| device.training(&graph, &weights, &options));
        let [engine, twin] = made.map(|made| report.ok("training", made));
        let reference = ReferenceDevice.training(&graph, &weights, &options);
        let reference = report.ok("training", reference);
        let (Some(mut engine), Some(mut twin), Some(mut reference)) = (engine, twin, reference)
        else {
            return report.failures;
        };
        for step in 0..3 {
            report.ok("load", reference.load(&engine.weights()));
            report.ok("load_state", reference.load_state(&engine.state()));
            let images = oracle::image(&format!("step{step}"), &[4, 3, 5, 5]);
            let labels = labels(4, step, 5);
            let update = Update { step: step as u64 + 1, ..update.clone() };
            for training in [&mut engine, &mut twin, &mut reference] {
                let targets = Targets::Classes(&labels);
                let options = StepOptions::new(0);
                report.ok("gradients", training.gradients(images.data(), targets, &options, None));
                training.update(&update);
            }
            let what = format!("step {step}");
            let (got, want) = (engine.state(), reference.state());
            report.close_all(&format!("{what}, state"), &got, &want, tolerance.gradient);
            let (got, want) = (engine.weights(), reference.weights());
            report.close_all(&format!("{what}, updated"), &got, &want, tolerance.forward);
            let same = all_identical(&engine.state(), &twin.state())
                && all_identical(&engine.weights(), &twin.weights());
            report.require(same, format!("{what}: two engines differ"));
        }
        failures.extend(report.failures);
    }
    failures
}
