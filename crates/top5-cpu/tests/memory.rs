//! What a plan does when memory is short: it refuses.

use top5_cpu::{CpuDevice, Mode, Options, plan};
use top5_graph::{
    Device, EngineError, Graph, Retain, SessionOptions, TrainingOptions, Weights, k, net,
};

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

fn device(memory_limit: Option<u64>) -> CpuDevice {
    let options = Options { memory_limit, threads: Some(2), ..Options::default() };
    CpuDevice::new(&options).unwrap()
}

fn zeros(graph: &Graph) -> Weights {
    let zeros = |shape: &[usize]| top5_graph::Tensor::zeros(shape);
    graph.params().map(|(name, param)| (name, zeros(&param.shape))).collect()
}

#[test]
fn a_plan_that_does_not_fit_is_refused() {
    for mode in [Mode::Training, Mode::Inference] {
        let least = device(None).memory(&graph(), BATCH, mode).unwrap();
        let short = device(Some(least - 1));
        let refused = short.memory(&graph(), BATCH, mode).unwrap_err();
        assert_eq!(refused, EngineError::Memory { needed: least, allowed: least - 1 });
        let made = |device: &CpuDevice| match mode {
            Mode::Training => {
                let options = TrainingOptions::new(BATCH);
                device.training(&graph(), &zeros(&graph()), &options).map(|_| ())
            }
            Mode::Inference => {
                let network = device.network(&graph(), zeros(&graph()), Retain::Nothing).unwrap();
                network.session(&graph(), &SessionOptions::inference(BATCH)).map(|_| ())
            }
        };
        assert_eq!(made(&short).unwrap_err(), refused);
        made(&device(Some(least))).unwrap();
    }
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
    let device = device(None);
    for graph in &graphs {
        for batch in [usize::MAX, usize::MAX / 3, usize::MAX >> 12] {
            for mode in [Mode::Inference, Mode::Training] {
                let refused = plan(graph, batch, mode, &Options::default()).unwrap_err();
                assert!(matches!(refused, EngineError::Memory { .. }), "{batch}: {refused}");
            }
            let network = device.network(graph, zeros(graph), Retain::Nothing).unwrap();
            let refused = network.session(graph, &SessionOptions::inference(batch)).err();
            assert!(matches!(refused, Some(EngineError::Memory { .. })), "{batch}: {refused:?}");
        }
        // What is within it is planned, whoever may have so much memory.
        plan(graph, usize::MAX >> 40, Mode::Training, &Options::default()).unwrap();
    }
}
