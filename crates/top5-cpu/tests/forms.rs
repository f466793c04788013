//! Networks that are written in several ways give the same logits.

use top5_cpu::{CpuDevice, Options};
use top5_graph::{Device, Graph, Retain, SessionOptions, Tensor, Weights};
use top5_testkit::close::assert_close;
use top5_testkit::oracle::{image, weights_for};
use top5_zoo::forms::{Form, split};
use top5_zoo::{Settings, network};

fn logits(graph: Graph, weights: &Weights, images: &Tensor, exact: bool) -> Tensor {
    let options = Options { exact, ..Options::default() };
    let device = CpuDevice::new(&options).unwrap();
    let network = device.network(&graph, weights.clone(), Retain::Nothing).unwrap();
    let options = SessionOptions::inference(images.shape()[0]);
    let mut session = network.session(&graph, &options).unwrap();
    session.forward(images.data()).unwrap().logits
}

fn doubles(tensor: &Tensor) -> Vec<f64> {
    tensor.data().iter().copied().map(f64::from).collect()
}

#[test]
fn three_forms_of_resnext_agree() {
    let at = |name: &str| {
        let network = network(name).unwrap();
        network.with(Settings { input: [3, 64, 64], ..network.settings() }).unwrap()
    };
    let grouped = at("resnext50_32x4d");
    let weights = weights_for(&grouped);
    let images = image("input", &[2, 3, 64, 64]);
    for exact in [true, false] {
        let want = doubles(&logits(grouped.clone(), &weights, &images, exact));
        for (form, name) in [(Form::A, "resnext50_32x4d_a"), (Form::B, "resnext50_32x4d_b")] {
            let parts = split(&weights, 32, form);
            let got = logits(at(name), &parts, &images, exact);
            assert_close(name, got.data(), &want, 1e-5);
        }
    }
}

#[test]
fn dense_vgg_equals_the_sliding_one() {
    // The paper's section 3.2. At the size of the crop there is one position, and the fully connected layers see what
    // the convolutions made of them see.
    let graph = network("vgg11").unwrap().graph().unwrap();
    let weights = weights_for(&graph);
    let image = image("input", &[1, 3, 224, 224]);
    let want = doubles(&logits(graph.clone(), &weights, &image, true));
    let dense = graph.dense([3, 224, 224]).unwrap();
    let got = logits(dense, &graph.dense_weights(&weights), &image, true);
    assert_eq!(got.shape(), [1, 1000, 1, 1]);
    assert_close("dense at 224", got.data(), &want, 1e-5);
}
