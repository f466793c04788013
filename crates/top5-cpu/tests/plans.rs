//! Plans as they were when somebody last read them: performance tests without a clock. A fusion that is lost, a copy that
//! comes back, another kernel or a larger arena shows here. They are made for a fixed instruction set, number of threads
//! and batch, so they are the same on every machine.
//!
//! `cargo xtask bless` rewrites the files (alone: `UPDATE_EXPECT=1 cargo nextest run -p top5-cpu --test plans`).

use std::path::Path;
use top5_cpu::{Isa, LayerShape, Mode, Options, Tuning, plan};
use top5_graph::ops::Conv2d;
use top5_graph::{Graph, k, net};

fn options(isa: Isa) -> Options {
    Options { isa: Some(isa), threads: Some(2), ..Options::default() }
}

fn graph(name: &str) -> Graph {
    top5_zoo::network(name).unwrap().graph().unwrap()
}

fn compare(file: &str, now: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let path = folder.join(file).with_extension("txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(folder).unwrap();
        return std::fs::write(&path, now).unwrap();
    }
    let golden = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask bless`", path.display()));
    let differ = golden.lines().zip(now.lines()).find(|(was, is)| was != is);
    assert!(
        golden == now,
        "{}: the plan changed, first {differ:#?}; if that is meant, run `cargo xtask bless`",
        path.display()
    );
}

// Elsewhere AVX-512's tiles are unknown.
#[cfg(target_arch = "x86_64")]
#[test]
fn inference_plans_are_the_golden_ones() {
    for name in ["lenet", "googlenet", "resnet18", "resnet50"] {
        let plan = plan(&graph(name), 1, Mode::Inference, &options(Isa::Avx512)).unwrap();
        compare(&format!("{name}-inference"), &plan.to_string());
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn bf16_plans_are_the_golden_ones() {
    for (isa, name) in [(Isa::Avx512, "resnet50-bf16"), (Isa::Amx, "resnet50-amx")] {
        let options = Options { precision: top5_cpu::Precision::Bf16, ..options(isa) };
        let plan = plan(&graph("resnet50"), 1, Mode::Inference, &options).unwrap();
        compare(name, &plan.to_string());
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn training_plans_are_the_golden_ones() {
    for (name, batch) in [("lenet", 64), ("resnet20_cifar", 128), ("googlenet_cifar", 64)] {
        let plan = plan(&graph(name), batch, Mode::Training, &options(Isa::Avx512)).unwrap();
        compare(&format!("{name}-training"), &plan.to_string());
    }
}

#[test]
fn portable_plans_are_the_golden_ones() {
    let plan = plan(&graph("lenet"), 1, Mode::Inference, &options(Isa::Scalar)).unwrap();
    compare("lenet-portable", &plan.to_string());
}

/// All that a convolution of the zoo's blocks is followed by becomes part of it.
#[test]
fn residual_block_is_one_step_per_convolution() {
    let block = net("block", [16, 8, 8], |x| {
        let y = x.conv_bn(16, k(3).pad(1)).relu();
        (y.conv_bn(16, k(3).pad(1)) + x).relu()
    });
    let plan = plan(&block.unwrap(), 1, Mode::Inference, &options(Isa::Scalar)).unwrap();
    let fused: Vec<&str> = plan.steps.iter().map(|step| step.fused.as_str()).collect();
    assert_eq!(fused, ["", "+bias +relu", "+bias +sum +relu"], "{plan}");
}

/// A 4×4 tile wastes most of a 2×2 map, as at the end of VGG on CIFAR.
#[test]
fn small_maps_have_small_winograd_tiles() {
    let kernels = |size| {
        let block = net("block", [512, size, size], |x| {
            x.conv(512, k(3).pad(1)).relu().conv(512, k(3).pad(1)).global_avg_pool().flatten()
        });
        let plan = plan(&block.unwrap(), 64, Mode::Training, &options(Isa::Scalar)).unwrap();
        let kernels = plan.steps.into_iter().map(|step| step.kernel);
        kernels.filter(|kernel| kernel.contains("conv")).collect::<Vec<_>>()
    };
    let forward = "f32_conv_winograd_2x3_scalar";
    let gradient = "f32_conv_winograd_2x3_weight_gradient_scalar";
    let backward = format!("1× {forward}");
    assert_eq!(kernels(2), [forward, forward, gradient, &backward, gradient]);
    assert_eq!(kernels(4), kernels(2).iter().map(|k| k.replace("2x3", "4x3")).collect::<Vec<_>>());
}

#[test]
fn multiply_accumulates_are_those_of_the_graph() {
    for name in ["lenet", "googlenet", "resnet18"] {
        let graph = graph(name);
        let macs = |batch, mode| plan(&graph, batch, mode, &options(Isa::Scalar)).unwrap().macs();
        assert_eq!(macs(3, Mode::Inference), 3 * graph.inference().macs(), "{name}");
        // Backward costs the same twice, but for the first layer's input.
        let [once, step] = [graph.macs(), macs(1, Mode::Training)];
        assert!(2 * once < step && step < 3 * once, "{name}: {step} of {once}");
    }
}

#[test]
fn measured_kernels_go_before_the_cost_model() {
    let graph = graph("resnet18");
    let kernels = |tuning: &Tuning| {
        let options = Options { tuning: tuning.clone(), ..options(Isa::Scalar) };
        let plan = plan(&graph, 1, Mode::Inference, &options).unwrap();
        let steps = plan.steps.into_iter();
        steps.map(|step| (step.kernel, step.choice)).collect::<Vec<_>>()
    };
    let modelled = kernels(&Tuning::default());
    let several = modelled.iter().filter_map(|(kernel, choice)| {
        let choice = choice.as_ref()?;
        let other = choice.candidates.iter().find(|candidate| *candidate != kernel)?;
        Some((choice.shape, other.clone()))
    });
    let others: Vec<(LayerShape, String)> = several.collect();
    assert!(!others.is_empty());
    let mut tuning = Tuning::default();
    others.iter().for_each(|(shape, kernel)| tuning.choose(*shape, kernel));
    let first = others[0].0;
    tuning.choose(LayerShape { batch: 9, ..first }, "of another batch");
    let tuned = kernels(&tuning);
    for ((kernel, choice), (was, _)) in tuned.iter().zip(&modelled) {
        let shape = choice.as_ref().map(|choice| choice.shape);
        let chosen = shape.and_then(|shape| tuning.kernel(&shape));
        assert_eq!(kernel, chosen.unwrap_or(was));
        assert!(chosen.is_none() || choice.as_ref().unwrap().why == "measured");
    }
    tuning.choose(first, "of another instruction set");
    assert_eq!(
        kernels(&tuning).iter().find(|k| k.1.as_ref().is_some_and(|c| c.shape == first)),
        modelled.iter().find(|k| k.1.as_ref().is_some_and(|c| c.shape == first))
    );
}

#[test]
fn groups_that_share_blocks_have_choices_of_their_own() {
    let of_groups = |groups: usize| {
        let conv = Conv2d::new(16, k(3).pad(1)).groups(groups);
        let conv = net("conv", [16, 16, 16], |x| x.apply(conv));
        let plan = plan(&conv.unwrap(), 1, Mode::Inference, &options(Isa::Scalar)).unwrap();
        let choices: Vec<LayerShape> =
            plan.steps.iter().filter_map(|step| Some(step.choice.as_ref()?.shape)).collect();
        choices
    };
    let shapes = [1, 2, 4].map(of_groups);
    assert!(shapes.iter().all(|shapes| shapes.len() == 1), "{shapes:?}");
    for [a, b] in [[0, 1], [0, 2], [1, 2]] {
        assert_ne!(shapes[a], shapes[b]);
    }
}
