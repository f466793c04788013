//! What a plan does when memory is short: it refuses.

use top5_cpu::{CpuEngine, Mode, Options, plan};
use top5_graph::{Engine, EngineError, Graph, StepOptions, Weights, k, net};
use top5_testkit::fill::signed;

const BATCH: usize = 4;

fn graph() -> Graph {
    net("blocks", [3, 16, 16], |x| {
        let x = x.conv_bn(16, k(3).pad(1)).relu();
        let y = x.conv_bn(16, k(3).pad(1)).relu();
        let y = y.conv_bn(16, k(3).pad(1));
        let x = (y + x).relu().max_pool(k(2).stride(2));
        x.conv_bn(32, 1).relu().global_avg_pool().linear(5)
    })
    .unwrap()
}

fn engine(memory_limit: Option<u64>) -> CpuEngine {
    let options = Options { memory_limit, threads: Some(2), ..Options::default() };
    CpuEngine::new(graph(), BATCH, &options).unwrap()
}

fn step(engine: &mut CpuEngine) -> Result<Weights, EngineError> {
    let mut weights = Weights::new();
    for (name, param) in graph().params() {
        let mut tensor = top5_graph::Tensor::zeros(param.shape.clone());
        let values = signed(&name, tensor.data().len());
        tensor.data_mut().iter_mut().zip(values).for_each(|(to, value)| *to = value.abs() + 0.1);
        weights.insert(name, tensor);
    }
    engine.load(&weights)?;
    let images = signed("images", BATCH * 3 * 16 * 16);
    let options = StepOptions { label_smoothing: 0.0, seed: 0 };
    engine.gradients(&images, &[0, 1, 2, 3], &options)?;
    Ok(engine.gradient_tensors())
}

#[test]
fn a_plan_that_does_not_fit_is_refused() {
    let least = engine(None).training_memory().unwrap();
    let mut short = engine(Some(least - 1));
    let refused = short.training_memory().unwrap_err();
    assert_eq!(refused, EngineError::Memory { needed: least, allowed: least - 1 });
    assert_eq!(step(&mut short).unwrap_err(), refused);
}

/// Each further block adds the value that its normalisation reads, and not the sum as well.
#[test]
fn large_sums_are_not_kept() {
    let memory = |blocks: usize| {
        let graph = net("blocks", [16, 80, 80], |mut x| {
            x = x.conv_bn(16, 1);
            for _ in 0..blocks {
                x = (x.conv_bn(16, 1) + x).relu();
            }
            x.global_avg_pool().linear(5)
        });
        plan(&graph.unwrap(), BATCH, Mode::Training, &Options::default()).unwrap().memory()
    };
    let map = (BATCH * 16 * 80 * 80 * size_of::<f32>()) as u64;
    assert!(memory(4) - memory(2) < 3 * map, "{} {}", memory(2), memory(4));
}

#[cfg(target_pointer_width = "64")]
#[test]
fn batches_beyond_the_address_space_are_refused() {
    // Of one pixel, which a dilated convolution surrounds with a million of padding.
    let wide = net("wide", [1, 1, 1], |x| x.conv(1, k(2).dilation(1000).pad(500))).unwrap();
    let zoo = |name: &str| top5_zoo::network(name).unwrap().graph().unwrap();
    let graphs = [zoo("lenet"), zoo("resnet20_cifar"), zoo("googlenet_cifar"), graph(), wide];
    for graph in &graphs {
        for batch in [usize::MAX, usize::MAX / 3, usize::MAX >> 12] {
            for mode in [Mode::Inference, Mode::Training] {
                let refused = plan(graph, batch, mode, &Options::default()).unwrap_err();
                assert!(matches!(refused, EngineError::Memory { .. }), "{batch}: {refused}");
            }
            let refused = CpuEngine::new(graph.clone(), batch, &Options::default()).err();
            assert!(matches!(refused, Some(EngineError::Memory { .. })), "{batch}: {refused:?}");
        }
        // What is within it is planned, whoever may have so much memory.
        plan(graph, usize::MAX >> 40, Mode::Training, &Options::default()).unwrap();
    }
}
