//! LeNet: names, counts and published errors. The layers are in `pages/lenet.rs`.

use super::ARTICLES_INIT;
use crate::pages::lenet::lenet;
use crate::registry::{Fact, Network, Paper, Preprocessing};

pub(crate) static NETWORKS: &[Network] = &[Network {
    name: "lenet",
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
    init: ARTICLES_INIT,
    preprocessing: Preprocessing::mnist(28),
    layers: lenet,
    ..Network::IMAGENET
}];

pub(crate) const PAPER: Paper = Paper {
    authors: "LeCun, Bottou, Bengio & Haffner",
    title: "Gradient-Based Learning Applied to Document Recognition",
    venue: "Proceedings of the IEEE 86(11), 1998",
    arxiv: None,
};
