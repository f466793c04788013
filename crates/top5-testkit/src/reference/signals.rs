//! Identities that hold for the rules of a backward pass from a node.

use super::ReferenceDevice;
use crate::close::{assert_close, close};
use crate::fill;
use crate::oracle::{image, weights_for};
use top5_graph::{
    Device, Graph, Network, Op, Purpose, Retain, Rule, SessionOptions, Tensor, Var, Weights, k, net,
};

fn rules() -> [Rule; 3] {
    [Rule::gradient(), Rule::guided(), Rule::deconvnet()]
}

/// The image's signals from a seed at the logits.
fn signals(graph: &Graph, weights: Weights, images: &Tensor, seed: &Tensor, rule: Rule) -> Tensor {
    let network = ReferenceDevice.network(graph, weights, Retain::Nothing).unwrap();
    let to = vec![graph.nodes()[0].id];
    let purpose = Purpose::explanation(graph.logits().id, to, rule);
    let options = SessionOptions { purpose, ..SessionOptions::inference(images.shape()[0]) };
    let mut session = network.session(graph, &options).unwrap();
    session.forward(images.data()).unwrap();
    session.backward(seed).unwrap().remove(0)
}

fn logits(network: &dyn Network, images: &[f32]) -> Vec<f32> {
    let options = SessionOptions::inference(1);
    let mut session = network.session(network.graph(), &options).unwrap();
    session.forward(images).unwrap().logits.into_data()
}

fn seed(n: usize, classes: usize) -> Tensor {
    Tensor::new([n, classes], fill::signed("seed", n * classes)).unwrap()
}

fn graph(name: &str, input: [usize; 3], body: impl for<'g> FnOnce(Var<'g>) -> Var<'g>) -> Graph {
    net(name, input, body).unwrap()
}

fn positive(weights: Weights) -> Weights {
    let positive = |(name, tensor): (String, Tensor)| {
        let data = tensor.data().iter().map(|v| v.abs()).collect();
        (name, Tensor::new(tensor.shape(), data).unwrap())
    };
    weights.into_iter().map(positive).collect()
}

#[test]
fn without_a_relu_all_rules_are_equal_to_the_bit() {
    let graph = graph("linear pools", [3, 9, 8], |x| {
        let x = x.conv_bn(6, k(3).pad(1)).max_pool(k(3).stride(2).ceil());
        x.conv(5, 3).flatten().linear(4)
    });
    let images = image("input", &[2, 3, 9, 8]);
    let [gradient, guided, deconvnet] =
        rules().map(|rule| signals(&graph, weights_for(&graph), &images, &seed(2, 4), rule));
    assert_eq!(gradient, guided);
    assert_eq!(gradient, deconvnet);
    assert!(gradient.data().iter().any(|&v| v != 0.0));
}

#[test]
fn where_all_is_positive_all_rules_are_equal() {
    let graph = graph("positive", [3, 6, 6], |x| {
        let x = x.conv(6, k(3).pad(1)).relu().conv(5, 3).relu();
        x.max_pool(k(2).stride(2)).flatten().linear(7).relu().linear(4)
    });
    let weights = positive(weights_for(&graph));
    let [images, seed] = [image("input", &[2, 3, 6, 6]), seed(2, 4)].map(|mut tensor| {
        tensor.data_mut().iter_mut().for_each(|v| *v = v.abs());
        tensor
    });
    let [gradient, guided, deconvnet] =
        rules().map(|rule| signals(&graph, weights.clone(), &images, &seed, rule));
    assert_eq!(gradient, guided);
    assert_eq!(gradient, deconvnet);
}

#[test]
fn with_relus_the_rules_differ() {
    let graph = graph("relus", [3, 6, 6], |x| {
        x.conv(6, k(3).pad(1)).relu().conv(5, 3).relu().flatten().linear(4)
    });
    let images = image("input", &[2, 3, 6, 6]);
    let [gradient, guided, deconvnet] =
        rules().map(|rule| signals(&graph, weights_for(&graph), &images, &seed(2, 4), rule));
    for (a, b) in [(&gradient, &guided), (&gradient, &deconvnet), (&guided, &deconvnet)] {
        assert!(close(a.data(), b.data(), 1e-2).is_err());
    }
}

#[test]
fn occluding_a_linear_network_costs_the_sum_of_gradient_times_difference() {
    let graph = graph("linear", [3, 6, 6], |x| {
        let x = x.conv_bn(6, k(3).pad(1)).avg_pool(k(2).stride(2));
        x.conv(5, 3).flatten().linear(4)
    });
    let weights = weights_for(&graph);
    let network = ReferenceDevice.network(&graph, weights.clone(), Retain::Nothing).unwrap();
    let images = image("input", &[1, 3, 6, 6]);
    let mut occluded = images.clone();
    let baseline = 0.25;
    for channel in occluded.data_mut().chunks_exact_mut(36) {
        (0..2).for_each(|row| channel[6 * (2 + row) + 1..][..3].fill(baseline));
    }
    let [before, after] =
        [&images, &occluded].map(|images| logits(network.as_ref(), images.data()));
    for class in 0..4 {
        let mut seed = Tensor::zeros([1, 4]);
        seed.data_mut()[class] = 1.0;
        let gradient = signals(&graph, weights.clone(), &images, &seed, Rule::gradient());
        let pairs = images.data().iter().zip(occluded.data()).zip(gradient.data());
        let sum: f64 = pairs.map(|((x, o), g)| f64::from(x - o) * f64::from(*g)).sum();
        let drop = f64::from(before[class]) - f64::from(after[class]);
        assert!((sum - drop).abs() <= 1e-5, "{sum} {drop}");
    }
}

#[test]
fn unpooling_touches_the_recorded_places_only() {
    for (name, window) in [
        ("odd", k(2).stride(2)),
        ("rounded up", k(3).stride(2).ceil()),
        ("padded", k(3).stride(2).pad(1).ceil()),
    ] {
        let graph = graph(name, [2, 7, 8], |x| x.max_pool(window).flatten());
        let pool = graph.nodes().iter().find(|node| matches!(node.op, Op::MaxPool2d(_))).unwrap();
        let [p, q] = pool.shape().size();
        let network = ReferenceDevice.network(&graph, Weights::new(), Retain::Nothing).unwrap();
        let to = vec![graph.nodes()[0].id];
        let purpose = Purpose::explanation(pool.id, to, Rule::deconvnet());
        let options = SessionOptions { purpose, ..SessionOptions::inference(1) };
        let mut session = network.session(&graph, &options).unwrap();
        let images = image("input", &[1, 2, 7, 8]);
        session.forward(images.data()).unwrap();
        let switches = session.switches(pool.id).unwrap();
        assert_eq!(switches.len(), 2 * p * q);
        let seed = Tensor::new([1, 2, p, q], (1..=2 * p * q).map(|i| i as f32).collect()).unwrap();
        let signal = session.backward(&seed).unwrap().remove(0);
        assert_eq!(signal.shape(), [1, 2, 7, 8]);
        let mut want = vec![0.0; 2 * 7 * 8];
        for (i, (&switch, value)) in switches.iter().zip(seed.data()).enumerate() {
            want[i / (p * q) * 56 + switch as usize] += value;
        }
        assert_eq!(signal.data(), want, "{name}");
    }
}

#[test]
fn folded_batch_normalisation_sends_the_same_signals() {
    let whole =
        graph("unfolded", [3, 5, 5], |x| x.conv_bn(6, k(3).pad(1)).relu().flatten().linear(4));
    let folded = graph("folded", [3, 5, 5], |x| x.conv(6, k(3).pad(1)).relu().flatten().linear(4));
    let of = weights_for(&whole);
    let values = |name: &str| of.tensor(name).unwrap().data().to_vec();
    let (gamma, beta) = (values("bn1.weight"), values("bn1.bias"));
    let (mean, var) = (values("bn1.running_mean"), values("bn1.running_var"));
    let factor = |c: usize| f64::from(gamma[c]) / (f64::from(var[c]) + 1e-5).sqrt();
    let mut into = weights_for(&folded);
    let kernel = of.tensor("conv1.weight").unwrap();
    let per_channel = kernel.data().len() / 6;
    let scaled = kernel.data().iter().enumerate();
    let scaled = scaled.map(|(i, &w)| (f64::from(w) * factor(i / per_channel)) as f32).collect();
    into.insert("conv1.weight", Tensor::new(kernel.shape(), scaled).unwrap());
    let bias = |c: usize| (f64::from(beta[c]) - f64::from(mean[c]) * factor(c)) as f32;
    into.insert("conv1.bias", Tensor::new([6], (0..6).map(bias).collect()).unwrap());
    for name in ["fc1.weight", "fc1.bias"] {
        into.insert(name, of.tensor(name).unwrap().clone());
    }
    let images = image("input", &[2, 3, 5, 5]);
    for rule in rules() {
        let [a, b] = [(&whole, of.clone()), (&folded, into.clone())]
            .map(|(graph, weights)| signals(graph, weights, &images, &seed(2, 4), rule));
        assert_close("folded", a.data(), b.data(), 1e-5);
    }
}
