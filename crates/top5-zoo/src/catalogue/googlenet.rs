//! GoogLeNet: names, counts and published errors. The layers are in `pages/googlenet.rs`.

use super::{PYTORCH_INIT, SHIPPED, TORCHVISION, on_cifar100};
use crate::pages::googlenet::{googlenet, googlenet_bn, googlenet_cifar};
use crate::registry::{Fact, Network, Paper, Preprocessing, Published, Resample};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "googlenet",
        aliases: &["inception_v1", "bvlc_googlenet"],
        family: "GoogLeNet",
        year: 2014,
        place: Fact::Known("first in classification, ILSVRC-2014"),
        paper: PAPER,
        section: "Table 1",
        input: [3, 224, 224],
        params: 13_378_280,
        macs: 1_582_671_872,
        published: Fact::Known(&[
            Published::val_top5(10.07, "1 network, 1 crop", "Table 3"),
            Published::val_top5(9.15, "1 network, 10 crops", "Table 3"),
            Published::val_top5(7.89, "1 network, 144 crops", "Table 3"),
            Published::val_top5(8.09, "7 networks, 1 crop", "Table 3"),
            Published::val_top5(7.62, "7 networks, 10 crops", "Table 3"),
            Published::val_top5(6.67, "7 networks, 144 crops", "Table 3"),
            Published::test_top5(6.67, "7 networks, 144 crops, in the contest", "Table 2"),
            Published::val(31.3, 11.1, "1 crop, BVLC's weights", "onnx/models README"),
        ]),
        init: "Glorot & Bengio's, as in BVLC's replication (the paper names none), with biases 0.2, for convolutions; PyTorch's default for linear layers",
        preprocessing: Preprocessing::caffe(256),
        layers: googlenet,
        ..Network::IMAGENET
    },
    Network {
        name: "googlenet_bn",
        aliases: &["tv_googlenet"],
        family: "GoogLeNet",
        year: 2014,
        place: Fact::Missing("torchvision's variant"),
        paper: PAPER,
        section: "torchvision's googlenet",
        input: [3, 224, 224],
        params: 13_004_888,
        macs: 1_498_376_192,
        published: Fact::Known(&[Published::val(30.22, 10.47, SHIPPED, TORCHVISION)]),
        init: PYTORCH_INIT,
        preprocessing: Preprocessing {
            resample: Resample::Bilinear,
            source: "torchvision, whose `transform_input` rescales to this",
            ..Preprocessing::inception(256)
        },
        layers: googlenet_bn,
        ..Network::IMAGENET
    },
    Network {
        name: "googlenet_cifar",
        params: 6_402_564,
        macs: 531_976_192,
        published: Fact::Missing("the article's code was published with the slip that this mends"),
        layers: |x, s| googlenet_cifar(x, |_| 1e-5, s),
        ..ARTICLE
    },
    Network {
        name: "googlenet_cifar_n5x5",
        section: "the article's code, whose `BatchNorm2d(n5x5, n5x5)` sets an eps of n5x5",
        params: 6_402_564,
        macs: 531_976_192,
        published: Fact::Known(&[on_cifar100(21.97, 5.94)]),
        layers: |x, s| googlenet_cifar(x, |n5x5| n5x5 as f32, s),
        ..ARTICLE
    },
];

const ARTICLE: Network =
    Network { family: "GoogLeNet", year: 2014, paper: PAPER, ..Network::IMAGENET }.article();

const PAPER: Paper = Paper {
    authors: "Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke & Rabinovich",
    title: "Going Deeper with Convolutions",
    venue: "CVPR 2015",
    arxiv: Some("1409.4842"),
};
