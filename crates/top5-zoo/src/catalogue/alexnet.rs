//! AlexNet: names, counts and published errors. The layers are in `pages/alexnet.rs`.

use super::{ARTICLES_INIT, PYTORCH_INIT, SHIPPED, TORCHVISION};
use crate::pages::alexnet::{alexnet, alexnet_28, alexnet_caffe, alexnet_owt};
use crate::registry::{Fact, Network, Paper, Preprocessing, Published};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "alexnet",
        aliases: &["alexnet_2012"],
        family: "AlexNet",
        year: 2012,
        place: Fact::Known("first in classification, ILSVRC-2012"),
        paper: PAPER,
        section: "section 3.5, Figure 2",
        input: [3, 227, 227],
        params: 60_965_224,
        macs: 724_406_816,
        published: Fact::Known(&[
            Published::val(40.7, 18.2, "1 network, 10 crops", "Table 2"),
            Published::val(38.1, 16.4, "5 networks, 10 crops", "Table 2"),
            Published::test_top5(16.4, "5 networks, 10 crops", "Table 2"),
            Published::val(39.0, 16.6, "1 network, 10 crops, pre-trained on other data", "Table 2"),
            Published::val(36.7, 15.4, "7 networks, two of them pre-trained", "Table 2"),
            Published::test_top5(15.3, "7 networks, two of them pre-trained", "Table 2"),
            Published::val(40.5, 18.1, "replicated, 1 network, 10 crops", "ZFNet paper, Table 2"),
            Published::training(35.1, "replicated, 1 network", "ZFNet paper, Table 3"),
        ]),
        init: "N(0, 0.01); biases 1 in conv2, conv4, conv5 and the hidden linear layers, else 0 (section 5)",
        preprocessing: Preprocessing::caffe(256),
        layers: alexnet,
        ..Network::IMAGENET
    },
    Network {
        name: "alexnet_caffe",
        aliases: &["bvlc_alexnet"],
        family: "AlexNet",
        year: 2012,
        place: Fact::Missing("a replication, not entered in the contest"),
        paper: PAPER,
        section: "Caffe's bvlc_alexnet",
        input: [3, 227, 227],
        params: 60_965_224,
        macs: 724_406_816,
        published: Fact::Missing("Caffe's model zoo gives its accuracy only as of training"),
        init: "N(0, 0.01), 0.005 in fc6 and fc7; biases 0.1 in conv2, conv4, conv5, fc6 and fc7, else 0",
        preprocessing: Preprocessing::caffe(256),
        layers: alexnet_caffe,
        ..Network::IMAGENET
    },
    Network {
        name: "alexnet_owt",
        aliases: &["tv_alexnet"],
        family: "AlexNet",
        year: 2014,
        place: Fact::Missing("not entered in the contest"),
        paper: Paper {
            authors: "Krizhevsky",
            title: "One weird trick for parallelizing convolutional neural networks",
            venue: "arXiv, 2014",
            arxiv: Some("1404.5997"),
        },
        section: "torchvision's alexnet",
        input: [3, 224, 224],
        params: 61_100_840,
        macs: 714_188_480,
        published: Fact::Known(&[
            Published::val(43.48, 20.93, SHIPPED, TORCHVISION),
            Published::val(39.74, 17.47, "1 crop, retrained", "pytorchcv's README"),
        ]),
        init: PYTORCH_INIT,
        preprocessing: Preprocessing::torchvision(256),
        layers: alexnet_owt,
        ..Network::IMAGENET
    },
    Network {
        name: "alexnet_28",
        aliases: &["alexnet_mnist"],
        family: "AlexNet",
        year: 2012,
        place: Fact::Missing("the article's variant for digits"),
        paper: PAPER,
        section: "the article's code",
        input: [1, 28, 28],
        classes: 10,
        params: 24_351_434,
        macs: 125_191_680,
        published: Fact::Missing("the article gives no error for its variant"),
        init: ARTICLES_INIT,
        preprocessing: Preprocessing::mnist(28),
        layers: alexnet_28,
        ..Network::IMAGENET
    },
];

pub(crate) const PAPER: Paper = Paper {
    authors: "Krizhevsky, Sutskever & Hinton",
    title: "ImageNet Classification with Deep Convolutional Neural Networks",
    venue: "NIPS 2012",
    arxiv: None,
};
