//! Inference and training in bf16: close to f32's, planned where it is faster, and refused where the machine cannot.

use top5_cpu::{CpuDevice, CpuSession, Isa, Mode, Options, PlanSummary, Precision, plan};
use top5_graph::{
    Device, EngineError, Graph, Node, NodeId, Op, Retain, Session, SessionOptions, TrainingOptions,
};
use top5_testkit::close::relative_l2;
use top5_testkit::oracle::{self, image, training_errors, weights_for};

fn graph(name: &str) -> Graph {
    top5_zoo::network(name).unwrap().graph().unwrap()
}

fn bf16(isa: Isa) -> Options {
    Options { isa: Some(isa), precision: Precision::Bf16, ..Options::default() }
}

/// The devices of this machine that compute in bf16.
fn devices() -> Vec<CpuDevice> {
    let isas = Isa::available().into_iter();
    let devices: Vec<CpuDevice> = isas.filter_map(|isa| CpuDevice::new(&bf16(isa)).ok()).collect();
    assert!(!devices.is_empty(), "the portable one is always there");
    devices
}

/// A session that keeps these activations.
fn session(device: &CpuDevice, graph: &Graph, batch: usize, keep: &[NodeId]) -> CpuSession {
    let network = device.cpu_network(graph, weights_for(graph), Retain::Nothing).unwrap();
    let options = SessionOptions { keep: keep.to_vec(), ..SessionOptions::inference(batch) };
    network.cpu_session(graph, &options).unwrap()
}

fn in_bf16(plan: &PlanSummary) -> usize {
    plan.steps.iter().filter(|step| step.kernel.starts_with("bf16_")).count()
}

/// With weights and images that are noise, which is the worst case: rounding to 8 bits adds 0.4 % of noise per layer at
/// most, and nothing averages it out.
fn stays_close(name: &str) {
    let Some(case) = oracle::forward(name) else { return };
    let graph = graph(name);
    let images = image(&case.input.name, &case.input.shape);
    for device in devices() {
        let mut session = session(&device, &graph, case.input.shape[0], &[]);
        assert!(in_bf16(session.summary()) > 0, "{name}");
        let logits = session.forward(images.data()).unwrap().logits;
        let error = relative_l2(logits.data(), &case.logits.concat()).unwrap();
        assert!(error < 0.03, "{name} on {}: {error:.1e}", device.isa());
        assert!(error > 1e-5, "{name} on {}: {error:.1e} is not bf16", device.isa());
    }
}

#[test]
fn lenet_stays_close_in_bf16() {
    stays_close("lenet");
}

#[test]
fn residual_network_stays_close_in_bf16() {
    stays_close("resnet20_cifar");
}

#[test]
fn grouped_network_with_gates_stays_close_in_bf16() {
    stays_close("seresnet18_cifar");
    stays_close("resnext50_cifar");
}

#[test]
fn branches_share_their_input_in_bf16() {
    let plan = plan(&graph("googlenet"), 1, Mode::Inference, &bf16(Isa::Scalar)).unwrap();
    let narrowed = plan.steps.iter().filter(|step| step.kernel == "Narrow");
    let narrowed: Vec<&str> = narrowed.map(|step| step.layer.as_str()).collect();
    let mut once = narrowed.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), narrowed.len(), "{plan}");
    assert!(narrowed.len() < in_bf16(&plan), "{plan}");
}

/// Rounding to 8 bits moves losses and gradients by percents, as PyTorch's autocast does, and never more.
fn trains_close(name: &str) {
    let Some(case) = oracle::training(name) else { return };
    let graph = graph(name).without_dropout();
    let weights = weights_for(&graph);
    let options = TrainingOptions::new(case.batch.shape[0]);
    for device in devices() {
        let plan = device.plan(&graph, case.batch.shape[0], Mode::Training).unwrap();
        assert!(in_bf16(&plan) > 0, "{plan}");
        let mut training = device.training(&graph, &weights, &options).unwrap();
        // The loss of the second is finite if the first one's update is.
        let errors = training_errors(training.as_mut(), &weights, &case, 2);
        let (loss, isa) = (errors.losses[0], device.isa());
        let gradient = errors.gradients[errors.gradients.len() / 2];
        assert!(loss < 0.02 && gradient < 0.1, "{name} on {isa}: {loss:.1e}, {gradient:.1e}");
        assert!(gradient > 1e-5, "{name} on {isa}: {gradient:.1e} is not bf16");
    }
}

#[test]
fn lenet_trains_close_in_bf16() {
    trains_close("lenet");
}

#[test]
fn bottlenecks_with_gates_train_close_in_bf16() {
    trains_close("seresnet50_cifar");
}

#[test]
fn groups_train_close_in_bf16() {
    trains_close("resnext50_cifar");
}

#[test]
fn branches_and_fully_connected_layers_train_close_in_bf16() {
    trains_close("googlenet_cifar");
    trains_close("alexnet_28");
}

/// Two images are a pair; one alone gains nothing.
#[test]
fn weight_gradients_are_in_bf16_where_there_are_pairs() {
    let kernels = |batch, options: &Options| {
        let plan = plan(&graph("seresnet50_cifar"), batch, Mode::Training, options).unwrap();
        let gradients = plan.steps.into_iter().filter(|s| s.kernel.contains("_weight_gradient_"));
        let (bf16, f32): (Vec<_>, Vec<_>) =
            gradients.partition(|step| step.kernel.starts_with("bf16_conv_weight_gradient_"));
        [bf16.len(), f32.len()]
    };
    let options = bf16(Isa::Scalar);
    let [paired, others] = kernels(4, &options);
    // Winograd's algorithm needs fewer products still.
    assert!(paired > others && others > 0, "{paired} and {others}");
    let all = paired + others;
    assert_eq!(kernels(1, &options), [0, all]);
    assert_eq!(kernels(4, &Options { exact: true, ..options.clone() }), [0, all]);
    assert_eq!(kernels(4, &Options { precision: Precision::F32, ..options }), [0, all]);
}

#[test]
fn bf16_is_refused_where_nothing_multiplies_it() {
    let refused = plan(&graph("lenet"), 1, Mode::Inference, &bf16(Isa::Avx2));
    let Err(EngineError::Machine { why }) = refused else { panic!("{refused:?}") };
    assert!(why.contains("AVX-512 BF16") && why.contains("use f32"), "{why}");
}

#[test]
fn results_in_bf16_do_not_depend_on_the_number_of_threads() {
    let graph = graph("resnet20_cifar");
    let images = image("x", &[3, 3, 32, 32]);
    let mut results = [1, 2, 5].map(|threads| {
        let isa = devices().pop().unwrap().isa();
        let options = Options { threads: Some(threads), oversubscribe: true, ..bf16(isa) };
        let device = CpuDevice::new(&options).unwrap();
        session(&device, &graph, 3, &[]).forward(images.data()).unwrap().logits
    });
    let first = results[0].clone();
    results.iter_mut().for_each(|result| assert_eq!(result.data(), first.data()));
}

/// What a caller asks for is what the plan computes with anyway, where it asks for no part of a step.
#[test]
fn kept_activations_do_not_change_the_logits() {
    for name in ["resnet20_cifar", "seresnet18_cifar", "googlenet_cifar"] {
        let graph = graph(name);
        let images = image("x", &[1, 3, 32, 32]);
        let ends =
            |node: &&Node| matches!(node.op, Op::Activation(_) | Op::MaxPool2d(_) | Op::Concat(_));
        let ends: Vec<NodeId> =
            graph.inference().nodes().iter().filter(ends).map(|node| node.id).collect();
        for device in devices() {
            let forward =
                |keep: &[NodeId]| session(&device, &graph, 1, keep).forward(images.data()).unwrap();
            let logits = forward(&[]).logits;
            for keep in ends.chunks(ends.len().div_ceil(3)).chain([&*ends]) {
                let forward = forward(keep);
                let names: Vec<&str> =
                    keep.iter().map(|&id| graph.node(id).name.as_str()).collect();
                assert_eq!(forward.logits.data(), logits.data(), "{name}: {names:?}");
                let is_bf16 = |value: &f32| value.to_bits() & 0xffff == 0;
                let rounded = forward.kept.iter().filter(|kept| kept.data().iter().all(is_bf16));
                assert!(rounded.count() > 0, "{name}: {names:?}");
            }
        }
    }
}
