//! Signals and occlusion through this crate, as in PyTorch (Captum's definitions), on networks and images without files.

use std::sync::Arc;

use top5_cpu::{CpuDevice, Options};
use top5_explain::signal::{Path, Start};
use top5_explain::{Explainer, Method, Target};
use top5_graph::{Device, Retain, Rule};
use top5_testkit::ReferenceDevice;
use top5_testkit::close::{close, close_abs};
use top5_testkit::inside;
use top5_testkit::oracle::{image, weights_for};
use top5_zoo::Settings;

/// Relative L2, as the issue of explanations has it; PyTorch's own f32 run of these is closer than that.
const TOLERANCE: f64 = 1e-4;
const CLASS: usize = 3;

fn explainer(network: &str) -> (Explainer, Vec<f32>) {
    let graph = top5_zoo::network(network).unwrap().graph().unwrap().inference();
    let device = CpuDevice::new(&Options { exact: true, ..Options::default() }).unwrap();
    let loaded = device.network(&graph, weights_for(&graph), Retain::Tensors).unwrap();
    let input = image("input", &[&[1], &graph.input()[..]].concat()).into_data();
    (Explainer::new(Arc::clone(&loaded), None, 4).unwrap(), input)
}

fn agrees(network: &str) {
    let Some(signals) = inside::inside(network) else { return };
    let (mut explainer, input) = explainer(network);
    for (name, rule, want) in signals {
        let path = Path::whole(explainer.graph(), rule);
        let projector = explainer.projector(&path).unwrap();
        projector.forward(&input).unwrap();
        let got = projector.backward(&[Start::Channel(CLASS)]).unwrap().remove(0);
        let agree = close(got.data(), want.data(), TOLERANCE);
        agree.unwrap_or_else(|error| panic!("{network}, {name}: {error}"));
    }
    let want = inside::occlusion(network).expect("the file was there");
    let size = if explainer.graph().input()[1] > 32 { 56 } else { 8 };
    let method = Method::Occlusion { size, stride: size / 2 };
    let target = Target::class(CLASS);
    let got = explainer.explain(&method, &input, target, &mut |_, _| ()).unwrap().map;
    let plane = got.values().len();
    let score = explainer.logits(&input).unwrap().into_data();
    // Squares move the score of googlenet_cifar by 4e-6, and no f32 pass gives that to four digits: a score is held to a
    // millionth of the greatest one, a tenth of what forward passes are held to.
    let rounding = 1e-6 * f64::from(score.iter().fold(0.0f32, |m, v| m.max(v.abs())));
    // PyTorch's own f32 run of this one is 1.62e-4 from its f64 run, since the score hardly moves: three times that.
    let tolerance = if network == "vgg11_bn_cifar" { 4.86e-4 } else { TOLERANCE };
    // There, all channels have the same values.
    for want in want.data().chunks_exact(plane) {
        let agree = close(got.values(), want, tolerance)
            .or_else(|error| close_abs(got.values(), want, rounding).map_err(|_| error));
        agree.unwrap_or_else(|error| panic!("{network}, occlusion: {error}"));
    }
}

#[test]
fn small_networks_are_explained_as_in_captum() {
    for network in ["lenet", "alexnet_28"] {
        agrees(network);
    }
}

#[test]
fn networks_of_cifar_are_explained_as_in_captum() {
    for network in [
        "vgg11_bn_cifar",
        "resnet18_cifar",
        "resnext50_cifar",
        "seresnet18_cifar",
        "googlenet_cifar",
    ] {
        agrees(network);
    }
}

#[test]
fn networks_of_imagenet_are_explained_as_in_captum() {
    for network in ["alexnet_owt", "vgg11", "resnet18"] {
        agrees(network);
    }
}

/// Networks of ImageNet with local response normalisation, as written out in f64 for each op: the network and the image. On the
/// image `input`, GoogLeNet's pool2 has two neighbours of 1.642291 that differ by a unit in the last place; whichever is the
/// greater in f32, signals go elsewhere by 2e-3.
#[test]
fn networks_with_local_response_normalisation_are_explained_as_written_out() {
    for (name, picture) in [("zfnet", "input"), ("googlenet", "second")] {
        let settings = Settings { input: [3, 64, 64], classes: 10, auxiliary: false };
        let graph = top5_zoo::network(name).unwrap().with(settings).unwrap().inference();
        let device = CpuDevice::new(&Options { exact: true, ..Options::default() }).unwrap();
        let devices: [&dyn Device; 2] = [&device, &ReferenceDevice];
        let mut explainers = devices.map(|device| {
            let loaded = device.network(&graph, weights_for(&graph), Retain::Tensors).unwrap();
            Explainer::new(loaded, None, 1).unwrap()
        });
        let input = image(picture, &[&[1], &graph.input()[..]].concat()).into_data();
        for rule in [Rule::gradient(), Rule::deconvnet(), Rule::guided()] {
            let [got, want] = explainers.each_mut().map(|explainer| {
                let path = Path::whole(explainer.graph(), rule);
                let projector = explainer.projector(&path).unwrap();
                projector.forward(&input).unwrap();
                projector.backward(&[Start::Channel(CLASS)]).unwrap().remove(0)
            });
            assert!(want.data().iter().any(|&v| v != 0.0), "{name}, {rule:?}: nothing to compare");
            let agree = close(got.data(), want.data(), TOLERANCE);
            agree.unwrap_or_else(|error| panic!("{name}, {rule:?}: {error}"));
        }
    }
}
