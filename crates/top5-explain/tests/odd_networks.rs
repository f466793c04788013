//! Networks that no page has: odd sides, one channel, one class, batch normalisation of a constant, ReLUs that never fire, smooth
//! activations, windows of padding, gates. Their signals are those of the reference, written out in f64 for each op, and every
//! method has an answer in numbers.

use top5_cpu::{CpuDevice, Options};
use top5_explain::method::Settings;
use top5_explain::signal::{Path, Projector, Start};
use top5_explain::{ExplainError, Explainer, Method, Target};
use top5_graph::ops::AlphaOver;
use top5_graph::{
    Device, Graph, GraphError, Network, Retain, Rule, Tensor, Weights, concat, k, net, sum,
};
use top5_testkit::ReferenceDevice;
use top5_testkit::close::close;
use top5_testkit::oracle::{image, weights_for};

const TOLERANCE: f64 = 1e-4;

fn networks() -> Vec<Graph> {
    let made: Vec<Result<Graph, GraphError>> = vec![
        net("one of all", [1, 7, 5], |x| {
            x.conv(1, k([3, 2])).relu().max_pool(k(2).ceil()).flatten().linear(1)
        }),
        net("one row", [2, 1, 13], |x| {
            let x =
                x.conv(3, k([1, 5]).pad([0, 2])).relu().max_pool(k([1, 3]).stride([1, 2]).ceil());
            x.conv(2, k([1, 3]).dilation([1, 2])).relu().flatten().linear(3)
        }),
        net("smooth", [3, 11, 9], |x| {
            let x =
                x.conv(17, k(3).stride(2).pad(1)).sigmoid().avg_pool(k(3).stride(2).pad(1).ceil());
            x.conv(5, k(2))
                .scaled_tanh()
                .adaptive_avg_pool([2, 1])
                .flatten()
                .linear(4)
                .relu()
                .linear(2)
        }),
        net("normalised", [4, 10, 15], |x| {
            let x = x.conv_bn(19, k(3).pad(1)).named("bn").relu().max_pool(k(3).stride(2).pad(1));
            let y = x.conv_bn(19, k(3).pad(1)).relu().conv_bn(19, k(1));
            sum([x, y]).relu().global_avg_pool().flatten().linear(5)
        }),
        net("gated", [3, 9, 9], |x| {
            let x = x.conv(18, k(5).stride(3).pad(2)).relu();
            let gate = x.global_avg_pool().flatten().linear(4).relu().linear(18).sigmoid();
            let y = x.scale(gate);
            concat([
                y.conv(3, 1).relu(),
                x.avg_pool_no_pad(k(3).pad(1)).conv(20, k(3).pad(1)).relu(),
            ])
            .lrn(5, 1e-2, 0.75, 1.0, AlphaOver::Mean)
            .flatten()
            .linear(6)
        }),
        net("many classes", [1, 3, 3], |x| x.conv(2, 2).relu().flatten().linear(5000)),
        net("softmax at the end", [2, 6, 6], |x| {
            x.conv(3, 3).relu().max_pool(k(2).stride(1)).flatten().linear(4).softmax()
        }),
        net("no maps", [1, 4, 4], |x| x.flatten().linear(8).relu().linear(3)),
        net("nothing but a sum", [5, 3, 4], |x| x.global_avg_pool().flatten()),
    ];
    made.into_iter().map(|graph| graph.unwrap().inference()).collect()
}

/// Weights of which some variances are zero and some ReLUs never fire.
fn weights(graph: &Graph) -> Weights {
    let changed = |(name, tensor): (&str, &Tensor)| {
        let mut tensor = tensor.clone();
        if name.ends_with("running_var") {
            tensor.data_mut()[0] = 0.0;
        }
        if name.ends_with("bias") && tensor.data().len() > 2 {
            tensor.data_mut()[1] = -1e3;
        }
        (name.to_owned(), tensor)
    };
    weights_for(graph).iter().map(changed).collect()
}

fn rules() -> [Rule; 3] {
    [Rule::gradient(), Rule::deconvnet(), Rule::guided()]
}

fn input(graph: &Graph, name: &str) -> Vec<f32> {
    image(name, &[&[1], &graph.input()[..]].concat()).into_data()
}

#[test]
fn signals_from_every_layer_are_those_written_out() {
    for graph in networks() {
        let exact = CpuDevice::new(&Options { exact: true, ..Options::default() }).unwrap();
        let usual = CpuDevice::new(&Options::default()).unwrap();
        let devices: [&dyn Device; 3] = [&ReferenceDevice, &exact, &usual];
        let loaded =
            devices.map(|device| device.network(&graph, weights(&graph), Retain::Tensors).unwrap());
        let input = input(&graph, "input");
        for node in graph.nodes().iter().skip(1) {
            for rule in rules() {
                let path = Path::projection(&graph, node.id, rule);
                let starts = [Start::Strongest(0), Start::Map(node.shape().channels() - 1)];
                let signals = |network: &dyn Network| -> Vec<Tensor> {
                    let mut projector =
                        Projector::new(network, &graph, &path, 2, &[], None).unwrap();
                    projector.forward(&input).unwrap();
                    let signal = |start| projector.backward(&[start]).unwrap().remove(0);
                    starts.clone().map(signal).to_vec()
                };
                let [want, others @ ..] = loaded.each_ref().map(|network| signals(&**network));
                for got in others {
                    for ((got, want), start) in got.iter().zip(&want).zip(&starts) {
                        let agree = close(got.data(), want.data(), TOLERANCE);
                        agree.unwrap_or_else(|error| {
                            panic!("{}, {}, {rule:?}, {start:?}: {error}", graph.name(), node.name)
                        });
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_no_number_is_told_on_the_way_back_too() {
    let graph = &networks()[0];
    let device = CpuDevice::new(&Options::default()).unwrap();
    let network = device.network(graph, weights(graph), Retain::Tensors).unwrap();
    let mut explainer = Explainer::new(network, None, 3).unwrap();
    let noise = Method::Smoothgrad { samples: 4, level: 3e38, seed: 0 };
    let said = explainer.explain(&noise, &input(graph, "input"), Target::class(0), &mut |_, _| ());
    assert!(matches!(said, Err(ExplainError::NotFinite { .. })), "{said:?}");
}

#[test]
fn every_method_answers_in_numbers() {
    let few = Settings { masks: Some(7), ..Settings::default() };
    for graph in networks() {
        let device = CpuDevice::new(&Options::default()).unwrap();
        let network = device.network(&graph, weights(&graph), Retain::Tensors).unwrap();
        let mut explainer = Explainer::new(network, None, 3).unwrap();
        let [_, height, width] = graph.input();
        for (image, name) in [("input", "an image"), ("", "zeros")] {
            let mut input = input(&graph, image);
            if image.is_empty() {
                input.fill(0.0);
            }
            for name_of_method in Method::NAMES {
                let method = Method::usual(name_of_method, height.min(width)).unwrap().with(&few);
                let said = explainer.explain(&method, &input, Target::class(0), &mut |_, _| ());
                if method.needs_layer() && explainer.layer().is_none() {
                    let error = said.unwrap_err().to_string();
                    assert!(error.contains("no feature map"), "{error}");
                    continue;
                }
                let context = format!("{}, {name}, {name_of_method}", graph.name());
                let said = said.unwrap_or_else(|error| panic!("{context}: {error}"));
                assert!(said.map.values().iter().all(|v| v.is_finite()), "{context}");
                assert_eq!([said.map.height(), said.map.width()], [height, width], "{context}");
            }
        }
    }
}
