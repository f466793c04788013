//! LeNet as it is written today: convolution, ReLU, max-pooling. The article gives its code; the network of 1998 is
//! `lenet5`. LeCun, Bottou, Bengio & Haffner, "Gradient-Based Learning Applied to Document Recognition", Proceedings
//! of the IEEE 86(11), 1998.
//! Departures: unpadded 28×28 input, all maps of the second convolution connected, max instead of trainable pooling,
//! ReLU instead of tanh, a linear output layer.

use crate::registry::{Fact, Network, Paper, Preprocessing, Settings};
use top5_graph::{Graph, GraphError, k, net};

pub(crate) static NETWORKS: &[Network] = &[Network {
    name: "lenet",
    aliases: &[],
    family: "LeNet",
    year: 1998,
    place: Fact::Missing("older than the contest"),
    paper: PAPER,
    section: "the article's code, after Figure 2",
    input: [1, 28, 28],
    classes: 10,
    params: 44_426,
    macs: 281_640,
    published: Fact::Missing("the article gives no error for its LeNet"),
    init: "PyTorch's default, as in the article's code: uniform in ±1/√fan_in",
    preprocessing: Preprocessing::mnist(28),
    build: lenet,
}];

pub(crate) const PAPER: Paper = Paper {
    authors: "LeCun, Bottou, Bengio & Haffner",
    title: "Gradient-Based Learning Applied to Document Recognition",
    venue: "Proceedings of the IEEE 86(11), 1998",
    arxiv: None,
};

fn lenet(settings: &Settings) -> Result<Graph, GraphError> {
    net("lenet", settings.input, |x| {
        let x = x.conv(6, 5).relu().max_pool(k(2).stride(2));
        let x = x.conv(16, 5).relu().max_pool(k(2).stride(2));
        let x = x.flatten();
        let x = x.linear(120).relu();
        let x = x.linear(84).relu();
        x.linear(settings.classes)
    })
}
