//! LeNet-5: names, counts and published errors. The layers are in `pages/lenet5.rs`.

use super::lenet::PAPER;
use crate::pages::lenet5::lenet5;
use crate::registry::{Colours, Fact, Network, Preprocessing, Published, Resample, Set};

pub(crate) static NETWORKS: &[Network] = &[Network {
    name: "lenet5",
    aliases: &["lenet_5"],
    family: "LeNet",
    year: 1998,
    place: Fact::Missing("older than the contest"),
    paper: PAPER,
    section: "section II.B, Figure 2, Table I",
    input: [1, 32, 32],
    classes: 10,
    params: 60_000,
    macs: 325_680,
    published: Fact::Known(&[
        mnist(0.95, "1 network"),
        mnist(0.8, "1 network, trained with distorted images too"),
    ]),
    init: "uniform in ±2.4/fan_in (appendix A); biases 0",
    preprocessing: Preprocessing {
        resize: 28,
        resample: Resample::Bilinear,
        colours: Colours::Grey,
        mean: [0.1 / 1.275; 3],
        std: [1.0 / 1.275; 3],
        source: "section II.B: background −0.1, ink 1.175, centred in 32×32",
    },
    layers: lenet5,
    ..Network::IMAGENET
}];

const fn mnist(top1: f32, protocol: &'static str) -> Published {
    let source = "MNIST's web page, which quotes the paper";
    Published { top1: Some(top1), top5: None, set: Set::MnistTest, protocol, source }
}
