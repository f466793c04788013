//! VGG. Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
//! arXiv:1409.1556, Table 1. ILSVRC-2014: first in localisation, second in classification.
//! Departures: none. `_bn` networks are torchvision's, with batch normalisation after each convolution; `_bn_cifar`
//! networks are the article's, for CIFAR-100.

use crate::alexnet::normalise;
use crate::registry::{Fact, Network, Paper, Preprocessing, Published, Settings};
use top5_graph::{Graph, GraphError, Init, Var, k, net};

/// A column of Table 1: the filters of each stage, which a max-pooling closes.
type Column = [&'static [usize]; 5];

const A: Column = [&[64], &[128], &[256; 2], &[512; 2], &[512; 2]];
const B: Column = [&[64; 2], &[128; 2], &[256; 2], &[512; 2], &[512; 2]];
const D: Column = [&[64; 2], &[128; 2], &[256; 3], &[512; 3], &[512; 3]];
const E: Column = [&[64; 2], &[128; 2], &[256; 4], &[512; 4], &[512; 4]];

/// What distinguishes networks of one column.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// The paper's.
    Plain,
    /// Column A-LRN: response normalisation after the first layer.
    Normalised,
    /// Column C: the third convolution of a stage is 1×1.
    PointwiseThird,
    /// Batch normalisation after each convolution.
    BatchNorm,
}

fn vgg(name: &str, column: Column, kind: Kind, s: &Settings) -> Result<Graph, GraphError> {
    net(name, s.input, |x| {
        let x = features(x, column, kind).adaptive_avg_pool([7, 7]).flatten();
        classifier(x, s.classes)
    })
}

/// The article's networks for CIFAR: 32×32 pixels leave one position before the classifier.
fn vgg_cifar(name: &str, column: Column, s: &Settings) -> Result<Graph, GraphError> {
    net(name, s.input, |x| classifier(features(x, column, Kind::BatchNorm), s.classes))
}

fn features(mut x: Var<'_>, column: Column, kind: Kind) -> Var<'_> {
    let _features = x.sequential("features");
    for (stage, filters) in column.into_iter().enumerate() {
        for (layer, &filters) in filters.iter().enumerate() {
            let pointwise = kind == Kind::PointwiseThird && layer == 2;
            let side = if pointwise { 1 } else { 3 };
            let init = glorot(x.channels(), filters, side * side);
            x = x.conv(filters, k(side).pad(side / 2)).init(init, 0.0);
            if kind == Kind::BatchNorm {
                x = x.batch_norm();
            }
            x = x.relu();
            if kind == Kind::Normalised && stage == 0 {
                x = normalise(x);
            }
        }
        x = x.max_pool(k(2).stride(2));
    }
    x
}

fn classifier(x: Var<'_>, classes: usize) -> Var<'_> {
    let _classifier = x.sequential("classifier");
    let glorot = |x: Var<'_>, features| glorot(x.channels(), features, 1);
    let x = x.linear(4096).init(glorot(x, 4096), 0.0).relu().dropout(0.5);
    let x = x.linear(4096).init(glorot(x, 4096), 0.0).relu().dropout(0.5);
    x.linear(classes).init(glorot(x, classes), 0.0)
}

/// Every layer is used at `positions` places of its window.
fn glorot(inputs: usize, outputs: usize, positions: usize) -> Init {
    Init::xavier_uniform(inputs * positions, outputs.saturating_mul(positions))
}

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "vgg11",
        section: "Table 1, column A",
        params: 132_863_336,
        macs: 7_609_090_048,
        published: Fact::Known(&[Published::val(29.6, 10.4, SINGLE_SCALE, "Table 3")]),
        build: |s| vgg("vgg11", A, Kind::Plain, s),
        ..BASE
    },
    Network {
        name: "vgg11_lrn",
        section: "Table 1, column A-LRN",
        params: 132_863_336,
        macs: 7_609_090_048,
        published: Fact::Known(&[Published::val(29.7, 10.5, SINGLE_SCALE, "Table 3")]),
        build: |s| vgg("vgg11_lrn", A, Kind::Normalised, s),
        ..BASE
    },
    Network {
        name: "vgg13",
        section: "Table 1, column B",
        params: 133_047_848,
        macs: 11_308_466_176,
        published: Fact::Known(&[Published::val(28.7, 9.9, SINGLE_SCALE, "Table 3")]),
        build: |s| vgg("vgg13", B, Kind::Plain, s),
        ..BASE
    },
    Network {
        name: "vgg16_c",
        section: "Table 1, column C",
        params: 133_638_952,
        macs: 11_770_888_192,
        published: Fact::Known(&[Published::val(28.1, 9.4, SINGLE_SCALE, "Table 3")]),
        build: |s| vgg("vgg16_c", D, Kind::PointwiseThird, s),
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
            Published::val(28.41, 9.60, SHIPPED, "timm's results"),
        ]),
        build: |s| vgg("vgg16", D, Kind::Plain, s),
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
            Published::val(27.60, 9.12, SHIPPED, "timm's results"),
        ]),
        build: |s| vgg("vgg19", E, Kind::Plain, s),
        ..BASE
    },
    Network {
        name: "vgg11_bn",
        section: "torchvision's, after Table 1, column A",
        params: 132_868_840,
        macs: 7_609_090_048,
        published: Fact::Known(&[Published::val(29.63, 10.19, SHIPPED, TORCHVISION)]),
        build: |s| vgg("vgg11_bn", A, Kind::BatchNorm, s),
        ..BATCH_NORM
    },
    Network {
        name: "vgg13_bn",
        section: "torchvision's, after Table 1, column B",
        params: 133_053_736,
        macs: 11_308_466_176,
        published: Fact::Known(&[Published::val(28.41, 9.63, SHIPPED, TORCHVISION)]),
        build: |s| vgg("vgg13_bn", B, Kind::BatchNorm, s),
        ..BATCH_NORM
    },
    Network {
        name: "vgg16_bn",
        section: "torchvision's, after Table 1, column D",
        params: 138_365_992,
        macs: 15_470_264_320,
        published: Fact::Known(&[Published::val(26.65, 8.51, SHIPPED, "timm's results")]),
        build: |s| vgg("vgg16_bn", D, Kind::BatchNorm, s),
        ..BATCH_NORM
    },
    Network {
        name: "vgg19_bn",
        section: "torchvision's, after Table 1, column E",
        params: 143_678_248,
        macs: 19_632_062_464,
        published: Fact::Known(&[Published::val(25.78, 8.16, SHIPPED, TORCHVISION)]),
        build: |s| vgg("vgg19_bn", E, Kind::BatchNorm, s),
        ..BATCH_NORM
    },
    Network {
        name: "vgg11_bn_cifar",
        section: "the article's code, column A",
        params: 28_518_244,
        macs: 172_048_384,
        build: |s| vgg_cifar("vgg11_bn_cifar", A, s),
        ..CIFAR
    },
    Network {
        name: "vgg13_bn_cifar",
        section: "the article's code, column B",
        params: 28_703_140,
        macs: 247_545_856,
        build: |s| vgg_cifar("vgg13_bn_cifar", B, s),
        ..CIFAR
    },
    Network {
        name: "vgg16_bn_cifar",
        section: "the article's code, column D",
        params: 34_015_396,
        macs: 332_480_512,
        build: |s| vgg_cifar("vgg16_bn_cifar", D, s),
        ..CIFAR
    },
    Network {
        name: "vgg19_bn_cifar",
        section: "the article's code, column E",
        params: 39_327_652,
        macs: 417_415_168,
        build: |s| vgg_cifar("vgg19_bn_cifar", E, s),
        ..CIFAR
    },
];

const SINGLE_SCALE: &str = "1 network, dense, 1 scale";
const WITH_THE_OTHER: &str = "vgg16 and vgg19, 150 crops and dense, after the contest";

const BASE: Network = Network {
    name: "",
    aliases: &[],
    family: "VGG",
    year: 2014,
    place: Fact::Known("first in localisation, second in classification, ILSVRC-2014"),
    paper: Paper {
        authors: "Simonyan & Zisserman",
        title: "Very Deep Convolutional Networks for Large-Scale Image Recognition",
        venue: "ICLR 2015",
        arxiv: Some("1409.1556"),
    },
    section: "",
    input: [3, 224, 224],
    classes: 1000,
    params: 0,
    macs: 0,
    published: Fact::Missing(""),
    init: "Glorot & Bengio's, which section 3.1 recommends in place of its pre-training; biases 0",
    preprocessing: Preprocessing::torchvision(256),
    build: |s| vgg("vgg16", D, Kind::Plain, s),
};

const SHIPPED: &str = "1 crop, torchvision's weights";
const TORCHVISION: &str = "torchvision's documentation";

const BATCH_NORM: Network = Network {
    place: Fact::Missing("younger than the contest's entry"),
    published: Fact::Missing(""),
    ..BASE
};

const CIFAR: Network = Network {
    place: Fact::Missing("the article's variant for CIFAR-100"),
    input: [3, 32, 32],
    classes: 100,
    published: Fact::Missing("the article gives no error for its variant"),
    preprocessing: Preprocessing::cifar(),
    ..BASE
};
