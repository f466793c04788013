//! VGG: names, counts and published errors. The layers are in `pages/vgg.rs`.

use super::{SHIPPED, TIMM, TORCHVISION, on_cifar100};
use crate::pages::vgg::{A, B, D, E, Kind, vgg, vgg_cifar};
use crate::registry::{Fact, Network, Paper, Published};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "vgg11",
        section: "Table 1, column A",
        params: 132_863_336,
        macs: 7_609_090_048,
        published: Fact::Known(&[Published::val(29.6, 10.4, SINGLE_SCALE, "Table 3")]),
        layers: |x, s| vgg(x, A, Kind::Plain, s),
        ..BASE
    },
    Network {
        name: "vgg11_lrn",
        section: "Table 1, column A-LRN",
        params: 132_863_336,
        macs: 7_609_090_048,
        published: Fact::Known(&[Published::val(29.7, 10.5, SINGLE_SCALE, "Table 3")]),
        layers: |x, s| vgg(x, A, Kind::Normalised, s),
        ..BASE
    },
    Network {
        name: "vgg13",
        section: "Table 1, column B",
        params: 133_047_848,
        macs: 11_308_466_176,
        published: Fact::Known(&[Published::val(28.7, 9.9, SINGLE_SCALE, "Table 3")]),
        layers: |x, s| vgg(x, B, Kind::Plain, s),
        ..BASE
    },
    Network {
        name: "vgg16_c",
        section: "Table 1, column C",
        params: 133_638_952,
        macs: 11_770_888_192,
        published: Fact::Known(&[Published::val(27.3, 8.8, SINGLE_SCALE, "Table 3")]),
        layers: |x, s| vgg(x, D, Kind::PointwiseThird, s),
        ..BASE
    },
    Network {
        name: "vgg16",
        section: "Table 1, column D",
        params: 138_357_544,
        macs: 15_470_264_320,
        published: Fact::Known(&[
            Published::val(25.6, 8.1, SINGLE_SCALE, "Table 3"),
            Published::val(24.8, 7.5, "1 network, dense, 3 scales", "Table 5"),
            Published::val(24.6, 7.5, "1 network, 150 crops", "Table 5"),
            Published::val(24.4, 7.2, "1 network, 150 crops and dense", "Table 5"),
            Published::val(23.7, 6.8, WITH_THE_OTHER, "Table 6"),
            Published::test_top5(6.8, WITH_THE_OTHER, "Table 6"),
            Published::val(24.7, 7.5, "7 networks, dense, in the contest", "Table 6"),
            Published::test_top5(7.3, "7 networks, dense, in the contest", "Table 6"),
            Published::val(28.40, 9.60, SHIPPED, TIMM),
        ]),
        layers: |x, s| vgg(x, D, Kind::Plain, s),
        ..BASE
    },
    Network {
        name: "vgg19",
        section: "Table 1, column E",
        params: 143_667_240,
        macs: 19_632_062_464,
        published: Fact::Known(&[
            Published::val(25.5, 8.0, SINGLE_SCALE, "Table 3"),
            Published::val(24.8, 7.5, "1 network, dense, 3 scales", "Table 5"),
            Published::val(24.6, 7.4, "1 network, 150 crops", "Table 5"),
            Published::val(24.4, 7.1, "1 network, 150 crops and dense", "Table 5"),
            Published::val(23.7, 6.8, WITH_THE_OTHER, "Table 6"),
            Published::test_top5(6.8, WITH_THE_OTHER, "Table 6"),
            Published::val(27.60, 9.12, SHIPPED, TIMM),
        ]),
        layers: |x, s| vgg(x, E, Kind::Plain, s),
        ..BASE
    },
    Network {
        name: "vgg11_bn",
        section: "torchvision's, after Table 1, column A",
        params: 132_868_840,
        macs: 7_609_090_048,
        published: Fact::Known(&[Published::val(29.63, 10.19, SHIPPED, TORCHVISION)]),
        layers: |x, s| vgg(x, A, Kind::BatchNorm, s),
        ..BATCH_NORM
    },
    Network {
        name: "vgg13_bn",
        section: "torchvision's, after Table 1, column B",
        params: 133_053_736,
        macs: 11_308_466_176,
        published: Fact::Known(&[Published::val(28.41, 9.63, SHIPPED, TORCHVISION)]),
        layers: |x, s| vgg(x, B, Kind::BatchNorm, s),
        ..BATCH_NORM
    },
    Network {
        name: "vgg16_bn",
        section: "torchvision's, after Table 1, column D",
        params: 138_365_992,
        macs: 15_470_264_320,
        published: Fact::Known(&[Published::val(26.64, 8.50, SHIPPED, TIMM)]),
        layers: |x, s| vgg(x, D, Kind::BatchNorm, s),
        ..BATCH_NORM
    },
    Network {
        name: "vgg19_bn",
        section: "torchvision's, after Table 1, column E",
        params: 143_678_248,
        macs: 19_632_062_464,
        published: Fact::Known(&[Published::val(25.78, 8.16, SHIPPED, TORCHVISION)]),
        layers: |x, s| vgg(x, E, Kind::BatchNorm, s),
        ..BATCH_NORM
    },
    Network {
        name: "vgg11_bn_cifar",
        section: "the article's code, column A",
        params: 28_518_244,
        macs: 172_048_384,
        published: Fact::Known(&[on_cifar100(31.36, 11.85)]),
        layers: |x, s| vgg_cifar(x, A, s),
        ..CIFAR
    },
    Network {
        name: "vgg13_bn_cifar",
        section: "the article's code, column B",
        params: 28_703_140,
        macs: 247_545_856,
        published: Fact::Known(&[on_cifar100(28.00, 9.71)]),
        layers: |x, s| vgg_cifar(x, B, s),
        ..CIFAR
    },
    Network {
        name: "vgg16_bn_cifar",
        section: "the article's code, column D",
        params: 34_015_396,
        macs: 332_480_512,
        published: Fact::Known(&[on_cifar100(27.07, 8.84)]),
        layers: |x, s| vgg_cifar(x, D, s),
        ..CIFAR
    },
    Network {
        name: "vgg19_bn_cifar",
        section: "the article's code, column E",
        params: 39_327_652,
        macs: 417_415_168,
        published: Fact::Known(&[on_cifar100(27.77, 8.84)]),
        layers: |x, s| vgg_cifar(x, E, s),
        ..CIFAR
    },
];

const SINGLE_SCALE: &str = "1 network, dense, 1 scale";
const WITH_THE_OTHER: &str = "vgg16 and vgg19, 150 crops and dense, after the contest";

const BASE: Network = Network {
    family: "VGG",
    year: 2014,
    place: Fact::Known("first in localisation, second in classification, ILSVRC-2014"),
    paper: Paper {
        authors: "Simonyan & Zisserman",
        title: "Very Deep Convolutional Networks for Large-Scale Image Recognition",
        venue: "ICLR 2015",
        arxiv: Some("1409.1556"),
    },
    init: "Glorot & Bengio's, which section 3.1 recommends in place of its pre-training; biases 0",
    ..Network::IMAGENET
};

const BATCH_NORM: Network = Network {
    place: Fact::Missing("younger than the contest's entry"),
    published: Fact::Missing(""),
    ..BASE
};

const CIFAR: Network = Network { init: BASE.init, ..BASE.article() };
