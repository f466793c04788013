//! ResNeXt. Xie, Girshick, Dollár, Tu & He, "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017,
//! arXiv:1611.05431, Table 1 and Figure 3. ILSVRC-2016: second in classification.
//! Departures: none in the networks for ImageNet, which are form (c) with torchvision's names. `resnext50_32x4d_a` and
//! `resnext50_32x4d_b` are the same network in forms (a) and (b), for the weights of [`crate::forms`]. The article's
//! networks for CIFAR-100 group the first 1×1 of each block, too, which makes them another network.

use crate::registry::{Fact, Network, Paper, Preprocessing, Published, Settings};
use crate::resnet::{
    Bottleneck, HE, article_shortcut, article_stages, article_stem, he, plain_unit, resnet,
};
use top5_graph::ops::Conv2d;
use top5_graph::{Graph, GraphError, Init, Var, concat, k, net, sum};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "resnext50_32x4d",
        aliases: &["resnext50", "resnext50_32x4d_c"],
        section: "Table 1, 32×4d, form (c)",
        params: 25_028_904,
        macs: 4_230_479_872,
        published: Fact::Known(RESNEXT_50),
        build: |s| grouped("resnext50_32x4d", [3, 4, 6, 3], [32, 4], s),
        ..BASE
    },
    Network {
        name: "resnext50_32x4d_a",
        section: "Table 1, 32×4d, form (a)",
        params: 25_028_904,
        macs: 4_230_479_872,
        published: Fact::Known(RESNEXT_50),
        build: |s| resnet("resnext50_32x4d_a", [3, 4, 6, 3], form_a, s),
        ..BASE
    },
    Network {
        name: "resnext50_32x4d_b",
        section: "Table 1, 32×4d, form (b)",
        params: 25_028_904,
        macs: 4_230_479_872,
        published: Fact::Known(RESNEXT_50),
        build: |s| resnet("resnext50_32x4d_b", [3, 4, 6, 3], form_b, s),
        ..BASE
    },
    Network {
        name: "resnext101_32x4d",
        section: "Table 4, 32×4d",
        params: 44_177_704,
        macs: 7_969_996_800,
        published: Fact::Known(&[Published::val(21.2, 5.6, "1 crop", "Table 4")]),
        build: |s| grouped("resnext101_32x4d", [3, 4, 23, 3], [32, 4], s),
        ..BASE
    },
    Network {
        name: "resnext101_32x8d",
        section: "torchvision's, after Table 4",
        place: Fact::Missing("torchvision's variant"),
        params: 88_791_336,
        macs: 16_414_015_488,
        published: Fact::Known(&[Published::val(
            20.69,
            5.47,
            "1 crop, torchvision's weights",
            "timm's results",
        )]),
        build: |s| grouped("resnext101_32x8d", [3, 4, 23, 3], [32, 8], s),
        ..BASE
    },
    Network {
        name: "resnext101_64x4d",
        section: "Table 4, 64×4d",
        params: 83_455_272,
        macs: 15_460_270_080,
        published: Fact::Known(&[
            Published::val(20.4, 5.3, "1 crop", "Table 4"),
            Published::val(19.1, 4.4, "1 crop of 320×320", "Table 5"),
            Published::test_top5(3.03, "the submission's ensemble", "ILSVRC-2016 results"),
        ]),
        build: |s| grouped("resnext101_64x4d", [3, 4, 23, 3], [64, 4], s),
        ..BASE
    },
    Network {
        name: "resnext50_cifar",
        params: 14_788_772,
        macs: 750_919_680,
        build: |s| article("resnext50_cifar", [3, 4, 6, 3], s),
        ..ARTICLE
    },
    Network {
        name: "resnext101_cifar",
        params: 25_303_204,
        macs: 1_419_386_880,
        build: |s| article("resnext101_cifar", [3, 4, 23, 3], s),
        ..ARTICLE
    },
    Network {
        name: "resnext152_cifar",
        section: "the article's code, whose second stage has 4 blocks where ResNet-152 has 8",
        params: 33_343_652,
        macs: 1_930_567_680,
        build: |s| article("resnext152_cifar", [3, 4, 36, 3], s),
        ..ARTICLE
    },
];

const RESNEXT_50: &[Published] = &[
    Published {
        top1: Some(22.2),
        top5: None,
        set: crate::Set::Validation,
        protocol: "1 crop",
        source: "Table 3",
    },
    Published::val(22.37, 6.33, "1 crop, torchvision's weights", "timm's results"),
];

pub(crate) const PAPER: Paper = Paper {
    authors: "Xie, Girshick, Dollár, Tu & He",
    title: "Aggregated Residual Transformations for Deep Neural Networks",
    venue: "CVPR 2017",
    arxiv: Some("1611.05431"),
};

const BASE: Network = Network {
    name: "",
    aliases: &[],
    family: "ResNeXt",
    year: 2016,
    place: Fact::Known("second in classification, ILSVRC-2016"),
    paper: PAPER,
    section: "",
    input: [3, 224, 224],
    classes: 1000,
    params: 0,
    macs: 0,
    published: Fact::Missing(""),
    init: HE,
    preprocessing: Preprocessing::torchvision(256),
    build: |s| resnet("", [0; 4], form_a, s),
};

const ARTICLE: Network = Network {
    place: Fact::Missing("the article's variant for CIFAR-100"),
    section: "the article's code",
    input: [3, 32, 32],
    classes: 100,
    published: Fact::Missing("the article gives no error for its variant"),
    init: "PyTorch's default, as in the article's code: uniform in ±1/√fan_in",
    preprocessing: Preprocessing::cifar(),
    ..BASE
};

/// `cardinality` paths, each `width` channels wide in the first stage.
fn grouped(
    name: &str,
    depths: [usize; 4],
    [cardinality, width]: [usize; 2],
    s: &Settings,
) -> Result<Graph, GraphError> {
    resnet(name, depths, |x, out, stride| form_c(x, out, stride, [cardinality, width]), s)
}

/// Figure 3(c): the paths are the groups of one convolution. `stage` is the width of ResNet's block, 64 in the first
/// stage.
pub(crate) fn form_c(
    x: Var<'_>,
    stage: usize,
    stride: usize,
    [cardinality, width]: [usize; 2],
) -> Var<'_> {
    let inner = cardinality * width * stage / 64;
    let widths = [inner, inner, 4 * stage];
    let groups = [1, cardinality];
    Bottleneck { widths, groups, ..Bottleneck::new(stage, stride) }.branch(x)
}

/// Figure 3(a): every path ends in a 1×1 of its own, and their outputs are added. Normalisation follows the sum.
fn form_a<'g>(x: Var<'g>, stage: usize, stride: usize) -> Var<'g> {
    let paths = paths(x, stage, stride, |y| he(y, Conv2d::new(4 * stage, 1)));
    sum(paths).named("sum").batch_norm().named("bn3")
}

/// Figure 3(b): the paths are concatenated, and one 1×1 restores the width.
fn form_b<'g>(x: Var<'g>, stage: usize, stride: usize) -> Var<'g> {
    let paths = concat(paths(x, stage, stride, |y| y));
    he(paths, Conv2d::new(4 * stage, 1)).named("conv3").batch_norm().named("bn3")
}

/// The 32 paths of 32×4d up to their last 1×1, which is `last`.
fn paths<'g>(
    x: Var<'g>,
    stage: usize,
    stride: usize,
    last: impl Fn(Var<'g>) -> Var<'g>,
) -> Vec<Var<'g>> {
    let width = stage / 16;
    let path = |index: usize| {
        let _path = x.scope(format!("paths.{index}"));
        let y = whole(x, Conv2d::new(width, 1)).batch_norm().relu();
        let y = whole(y, Conv2d::new(width, k(3).stride(stride).pad(1))).batch_norm().relu();
        last(y)
    };
    (0..32).map(path).collect()
}

/// A convolution of one of 32 paths, which starts as its rows of the grouped convolution start.
fn whole(x: Var<'_>, conv: Conv2d) -> Var<'_> {
    let [height, width] = conv.window.kernel;
    let init = Init::kaiming_normal(32 * conv.out_channels * height * width);
    x.apply(conv.no_bias()).init(init, 0.0)
}

/// The article's: 32 groups, in the first 1×1 of a block as well as in the 3×3.
fn article(name: &str, depths: [usize; 4], s: &Settings) -> Result<Graph, GraphError> {
    net(name, s.input, |x| {
        let x = article_stem(x, "conv1", plain_unit);
        let names = ["conv2", "conv3", "conv4", "conv5"];
        let x = article_stages(x, names, depths, |x, stage, stride| {
            let y = {
                let _split_transforms = x.sequential("split_transforms");
                let block = Bottleneck {
                    widths: [2 * stage, 2 * stage, 4 * stage],
                    groups: [32, 32],
                    unit: plain_unit,
                    ..Bottleneck::new(stage, stride)
                };
                block.branch(x)
            };
            (y + article_shortcut(x, y.channels(), stride, plain_unit)).relu()
        });
        x.global_avg_pool().linear(s.classes).named("fc")
    })
}
