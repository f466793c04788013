//! DenseNet. Huang, Liu, van der Maaten & Weinberger, "Densely Connected Convolutional Networks", CVPR 2017,
//! arXiv:1608.06993, Table 1. Not in a contest; of the article's further reading.
//! Departures: none. Layers and names are torchvision's.

use crate::registry::{Fact, Network, Paper, Preprocessing, Published, Settings};
use top5_graph::ops::Conv2d;
use top5_graph::{Graph, GraphError, Init, Var, concat, k, net};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "densenet121",
        section: "Table 1, DenseNet-121",
        params: 7_978_856,
        macs: 2_834_161_664,
        published: Fact::Known(&[
            top1(25.0),
            Published::val(25.57, 8.03, TORCHVISION_WEIGHTS, TORCHVISION),
        ]),
        build: |s| densenet("densenet121", 32, [6, 12, 24, 16], s),
        ..BASE
    },
    Network {
        name: "densenet161",
        section: "Table 1 with growth rate 48, DenseNet-161",
        params: 28_681_000,
        macs: 7_727_907_072,
        published: Fact::Known(&[
            top1(22.2),
            Published::val(22.86, 6.44, TORCHVISION_WEIGHTS, TORCHVISION),
        ]),
        build: |s| densenet("densenet161", 48, [6, 12, 36, 24], s),
        ..BASE
    },
    Network {
        name: "densenet169",
        section: "Table 1, DenseNet-169",
        params: 14_149_480,
        macs: 3_359_843_328,
        published: Fact::Known(&[
            top1(23.6),
            Published::val(24.40, 7.19, TORCHVISION_WEIGHTS, TORCHVISION),
        ]),
        build: |s| densenet("densenet169", 32, [6, 12, 32, 32], s),
        ..BASE
    },
    Network {
        name: "densenet201",
        section: "Table 1, DenseNet-201",
        params: 20_013_928,
        macs: 4_291_365_888,
        published: Fact::Known(&[
            top1(22.5),
            Published::val(23.10, 6.63, TORCHVISION_WEIGHTS, TORCHVISION),
        ]),
        build: |s| densenet("densenet201", 32, [6, 12, 48, 32], s),
        ..BASE
    },
];

const TORCHVISION: &str = "torchvision's documentation";
const TORCHVISION_WEIGHTS: &str = "1 crop, torchvision's weights";

const fn top1(error: f32) -> Published {
    Published {
        top1: Some(error),
        top5: None,
        set: crate::Set::Validation,
        protocol: "1 crop",
        source: "the authors' repository",
    }
}

const BASE: Network = Network {
    name: "",
    aliases: &[],
    family: "DenseNet",
    year: 2016,
    place: Fact::Missing("published after ILSVRC-2016"),
    paper: Paper {
        authors: "Huang, Liu, van der Maaten & Weinberger",
        title: "Densely Connected Convolutional Networks",
        venue: "CVPR 2017",
        arxiv: Some("1608.06993"),
    },
    section: "",
    input: [3, 224, 224],
    classes: 1000,
    params: 0,
    macs: 0,
    published: Fact::Missing(""),
    init: "He et al.'s, as the paper: N(0, 2/fan_in); the classifier's bias is zero",
    preprocessing: Preprocessing::torchvision(256),
    build: |s| densenet("", 0, [0; 4], s),
};

/// Table 1: four dense blocks of these depths, whose layers add `growth` channels each; between them the channels and
/// the map are halved.
fn densenet(
    name: &str,
    growth: usize,
    depths: [usize; 4],
    s: &Settings,
) -> Result<Graph, GraphError> {
    net(name, s.input, |mut x| {
        {
            let _features = x.scope("features");
            x = conv(x, Conv2d::new(2 * growth, k(7).stride(2).pad(3))).named("conv0");
            x = norm(x, "norm0", "relu0").max_pool(k(3).stride(2).pad(1)).named("pool0");
            for (index, depth) in depths.into_iter().enumerate() {
                x = dense_block(x, index + 1, depth, growth);
                if index < 3 {
                    x = transition(x, index + 1);
                }
            }
            x = norm(x, "norm5", "relu5");
        }
        let features = x.channels();
        let init = Init::pytorch(features);
        x.global_avg_pool().linear(s.classes).named("classifier").init(init, 0.0)
    })
}

/// Figure 1: each layer reads what came into the block and what all layers before it have added.
fn dense_block(x: Var<'_>, index: usize, depth: usize, growth: usize) -> Var<'_> {
    let _block = x.scope(format!("denseblock{index}"));
    (1..=depth).fold(x, |x, layer| {
        let _layer = x.scope(format!("denselayer{layer}"));
        let y = conv(norm(x, "norm1", "relu1"), Conv2d::new(4 * growth, 1)).named("conv1");
        let y = conv(norm(y, "norm2", "relu2"), Conv2d::new(growth, k(3).pad(1))).named("conv2");
        concat([x, y])
    })
}

/// Section 3: half of the channels, then half of the map.
fn transition(x: Var<'_>, index: usize) -> Var<'_> {
    let _transition = x.scope(format!("transition{index}"));
    let y = conv(norm(x, "norm", "relu"), Conv2d::new(x.channels() / 2, 1)).named("conv");
    y.avg_pool(k(2).stride(2)).named("pool")
}

fn norm<'g>(x: Var<'g>, norm: &str, relu: &str) -> Var<'g> {
    x.batch_norm().named(norm).relu().named(relu)
}

fn conv(x: Var<'_>, conv: Conv2d) -> Var<'_> {
    let [height, width] = conv.window.kernel;
    let init = Init::kaiming_normal(x.channels() * height * width);
    x.apply(conv.no_bias()).init(init, 0.0)
}
