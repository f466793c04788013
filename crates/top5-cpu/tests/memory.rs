//! Memory: what a plan does when it is short, and what is kept of weights.

use top5_cpu::{CpuDevice, Mode, Options, plan};
use top5_graph::ops::{Conv2d, TableConv2d};
use top5_graph::{
    Device, EngineError, Graph, Retain, Session, SessionOptions, TrainingOptions, Weights, k, net,
};
use top5_testkit::oracle::{image, weights_for};

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

/// What a compact network computes, from weights that are transformed on the way, in which memory.
fn compact(graph: &Graph, compact: bool) -> (u64, Vec<f32>) {
    let device = CpuDevice::new(&Options { compact, ..Options::default() }).unwrap();
    let network = device.cpu_network(graph, weights_for(graph), Retain::Nothing).unwrap();
    let mut session = network.cpu_session(graph, &SessionOptions::inference(2)).unwrap();
    let images = image("input", &[&[2], &graph.input()[..]].concat());
    let logits = session.forward(images.data()).unwrap().logits.into_data();
    (session.summary().memory(), logits)
}

#[test]
fn compact_weights_give_the_same_bits() {
    let wide = net("wide", [64, 40, 36], |x| {
        let x = x.conv_bn(64, k(3).pad(1)).relu().conv(48, k(3).pad(1)).relu();
        x.max_pool(k(4).stride(4)).conv(96, k(3).pad(1)).relu().global_avg_pool().linear(5)
    });
    let zoo = |name: &str| top5_zoo::network(name).unwrap().graph().unwrap();
    for graph in [wide.unwrap(), zoo("vgg11_bn_cifar"), zoo("resnet18_cifar")] {
        let ((least, small), (most, large)) = (compact(&graph, true), compact(&graph, false));
        assert_eq!(small, large, "{}", graph.name());
        assert!(least < most, "{}: {least} {most}", graph.name());
    }
}

/// Packing a tensor from its end and cutting it there is packing it.
#[test]
fn consumed_tensors_are_packed_as_others() {
    let table = (0..20).map(|o| (0..o % 5 + 1).collect()).collect();
    let graph = net("forms", [5, 12, 12], |x| {
        let x = x.apply(TableConv2d { table, window: k(3) }).relu();
        let x = x.apply(Conv2d::new(40, k(3).pad(1)).groups(2)).batch_norm().relu();
        x.conv(70, k(3).pad(1)).relu().flatten().linear(300).relu().linear(3)
    });
    let graph = graph.unwrap();
    let images = image("input", &[2, 5, 12, 12]);
    let device = device(None);
    let logits = |retain| {
        let network = device.network(&graph, weights_for(&graph), retain).unwrap();
        let mut session = network.session(&graph, &SessionOptions::inference(2)).unwrap();
        session.forward(images.data()).unwrap().logits
    };
    assert_eq!(logits(Retain::Nothing), logits(Retain::Tensors));
}

#[test]
fn what_was_freed_cannot_be_packed_again() {
    let graph = net("form", [3, 6, 6], |x| x.conv(4, 3).relu().flatten().linear(3)).unwrap();
    let dense = graph.dense([3, 8, 8]).unwrap();
    let device = device(None);
    let forms = |retain| {
        let network = device.network(&graph, weights_for(&graph), retain).unwrap();
        network.session(&graph, &SessionOptions::inference(1)).unwrap();
        let again = network.session(&graph, &SessionOptions::inference(1)).map(|_| ());
        [again, network.session(&dense, &SessionOptions::inference(1)).map(|_| ())]
    };
    let parameter = "fc1.weight".to_owned();
    assert_eq!(forms(Retain::Nothing), [Ok(()), Err(EngineError::Unpacked { parameter })]);
    assert_eq!(forms(Retain::Tensors), [Ok(()), Ok(())]);
}
