//! ResNet. He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385,
//! Table 1, Figure 5 and section 4.2. ILSVRC-2015: first in classification.
//! Departures: the stride of `resnet50` and deeper is on the 3×3, as torchvision, timm and the article have it;
//! `resnet50_v1` and deeper are the paper's as its authors released them in Caffe, with the stride on the first 1×1 and
//! Caffe's first pooling, which rounds up and pads nothing. `resnet200` is timm's, post-activation. `resnet18_cifar` to
//! `resnet152_cifar` are the article's for CIFAR-100; `resnet20_cifar` to `resnet110_cifar` are those of section 4.2
//! (parameter-free shortcuts, option A) with the tensor names of akamaster's replication.

use crate::registry::{Fact, Network, Paper, Preprocessing, Published, Set, Settings};
use top5_graph::ops::Conv2d;
use top5_graph::{Graph, GraphError, Init, Var, Window, k, net};

/// A convolution and the batch normalisation after it.
pub(crate) type Unit = for<'g> fn(Var<'g>, Conv2d) -> Var<'g>;

/// The network of Table 1 with this residual branch of (input, stage's width, stride).
pub(crate) fn resnet(
    name: &str,
    depths: [usize; 4],
    branch: impl for<'g> Fn(Var<'g>, usize, usize) -> Var<'g>,
    s: &Settings,
) -> Result<Graph, GraphError> {
    net(name, s.input, |x| table_1(stem(x), depths, branch, s))
}

/// The authors' own, in Caffe.
fn released(name: &str, depths: [usize; 4], s: &Settings) -> Result<Graph, GraphError> {
    net(name, s.input, |x| {
        let x = unit(x, Conv2d::new(64, k(7).stride(2).pad(3))).relu();
        table_1(x.max_pool(k(3).stride(2).ceil()), depths, stride_on_1x1, s)
    })
}

/// All that follows the first pooling.
fn table_1<'g>(
    x: Var<'g>,
    depths: [usize; 4],
    branch: impl for<'v> Fn(Var<'v>, usize, usize) -> Var<'v>,
    s: &Settings,
) -> Var<'g> {
    let x = stages(x, depths, |x, width, stride| {
        let y = branch(x, width, stride);
        (y + shortcut(x, y.channels(), k(1).stride(stride))).relu()
    });
    x.global_avg_pool().linear(s.classes).named("fc")
}

pub(crate) fn stem(x: Var<'_>) -> Var<'_> {
    let x = unit(x, Conv2d::new(64, k(7).stride(2).pad(3))).relu();
    x.max_pool(k(3).stride(2).pad(1))
}

/// conv2_x to conv5_x; `block` gets the input, the stage's width and the stride.
pub(crate) fn stages<'g>(
    mut x: Var<'g>,
    depths: [usize; 4],
    block: impl Fn(Var<'g>, usize, usize) -> Var<'g>,
) -> Var<'g> {
    for (stage, depth) in depths.into_iter().enumerate() {
        let _stage = x.scope(format!("layer{}", stage + 1));
        x = blocks(x, depth, if stage == 0 { 1 } else { 2 }, |x, stride| {
            block(x, 64 << stage, stride)
        });
    }
    x
}

/// `depth` blocks, numbered from 0, of which the first has the stride.
pub(crate) fn blocks<'g>(
    x: Var<'g>,
    depth: usize,
    stride: usize,
    block: impl Fn(Var<'g>, usize) -> Var<'g>,
) -> Var<'g> {
    (0..depth).fold(x, |x, index| {
        let _block = x.scope(index.to_string());
        block(x, if index == 0 { stride } else { 1 })
    })
}

/// Figure 5, left: two 3×3.
pub(crate) fn basic<'g>(x: Var<'g>, width: usize, stride: usize, unit: Unit) -> Var<'g> {
    let y = unit(x, Conv2d::new(width, k(3).stride(stride).pad(1))).relu();
    unit(y, Conv2d::new(width, k(3).pad(1)))
}

/// Figure 5, right: 1×1 reduce, 3×3, 1×1 restore.
#[derive(Clone, Copy)]
pub(crate) struct Bottleneck {
    /// Filters of the three convolutions.
    pub(crate) widths: [usize; 3],
    /// Strides of the first two.
    pub(crate) strides: [usize; 2],
    /// Groups of the first two.
    pub(crate) groups: [usize; 2],
    pub(crate) unit: Unit,
}

impl Bottleneck {
    /// One group, the stride on the 3×3, four times as many channels at the end.
    pub(crate) fn new(width: usize, stride: usize) -> Self {
        Self { widths: [width, width, 4 * width], strides: [1, stride], groups: [1, 1], unit }
    }

    pub(crate) fn branch(self, x: Var<'_>) -> Var<'_> {
        let Self { widths: [reduce, inner, restore], strides: [s1, s3], groups: [g1, g3], unit } =
            self;
        let y = unit(x, Conv2d::new(reduce, k(1).stride(s1)).groups(g1)).relu();
        let y = unit(y, Conv2d::new(inner, k(3).stride(s3).pad(1)).groups(g3)).relu();
        unit(y, Conv2d::new(restore, 1))
    }
}

/// The identity, or a projection where the shape changes (option B).
pub(crate) fn shortcut(x: Var<'_>, channels: usize, window: Window) -> Var<'_> {
    if x.channels() == channels && window.stride == [1, 1] {
        return x;
    }
    let _downsample = x.sequential("downsample");
    unit(x, Conv2d::new(channels, window))
}

/// Starts as He et al., "Delving Deep into Rectifiers", say, with the fan of the outputs as torchvision has it.
pub(crate) fn unit(x: Var<'_>, conv: Conv2d) -> Var<'_> {
    he(x, conv).batch_norm()
}

/// The convolution of [`unit`] alone.
pub(crate) fn he(x: Var<'_>, conv: Conv2d) -> Var<'_> {
    let [height, width] = conv.window.kernel;
    let init = Init::kaiming_normal(conv.out_channels * height * width);
    x.apply(conv.no_bias()).init(init, 0.0)
}

/// The article's, which start as PyTorch starts them.
pub(crate) fn plain_unit(x: Var<'_>, conv: Conv2d) -> Var<'_> {
    x.apply(conv.no_bias()).batch_norm()
}

fn two_3x3<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    basic(x, width, stride, unit)
}

fn stride_on_3x3<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    Bottleneck::new(width, stride).branch(x)
}

fn stride_on_1x1<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    Bottleneck { strides: [stride, 1], ..Bottleneck::new(width, 1) }.branch(x)
}

type Branch = for<'g> fn(Var<'g>, usize, usize) -> Var<'g>;

/// The article's: a 3×3 for the stem, no pooling, and a branch and a projection with names of its own.
fn article(
    name: &str,
    depths: [usize; 4],
    branch: Branch,
    s: &Settings,
) -> Result<Graph, GraphError> {
    net(name, s.input, |x| {
        let x = article_stem(x, "conv1", plain_unit);
        let names = ["conv2_x", "conv3_x", "conv4_x", "conv5_x"];
        let x = article_stages(x, names, depths, |x, width, stride| {
            let y = {
                let _residual_function = x.sequential("residual_function");
                branch(x, width, stride)
            };
            (y + article_shortcut(x, y.channels(), stride, plain_unit)).relu()
        });
        x.global_avg_pool().linear(s.classes).named("fc")
    })
}

pub(crate) fn article_stem<'g>(x: Var<'g>, name: &str, unit: Unit) -> Var<'g> {
    let _stem = x.sequential(name);
    unit(x, Conv2d::new(64, k(3).pad(1))).relu()
}

/// As [`stages`], under the article's names.
pub(crate) fn article_stages<'g>(
    mut x: Var<'g>,
    names: [&str; 4],
    depths: [usize; 4],
    block: impl Fn(Var<'g>, usize, usize) -> Var<'g>,
) -> Var<'g> {
    for (stage, (name, depth)) in names.into_iter().zip(depths).enumerate() {
        let _stage = x.scope(name);
        x = blocks(x, depth, if stage == 0 { 1 } else { 2 }, |x, stride| {
            block(x, 64 << stage, stride)
        });
    }
    x
}

/// As [`shortcut`], under the article's name.
pub(crate) fn article_shortcut(x: Var<'_>, channels: usize, stride: usize, unit: Unit) -> Var<'_> {
    if x.channels() == channels && stride == 1 {
        return x;
    }
    let _shortcut = x.sequential("shortcut");
    unit(x, Conv2d::new(channels, k(1).stride(stride)))
}

fn article_basic<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    basic(x, width, stride, plain_unit)
}

fn article_bottleneck<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    Bottleneck { unit: plain_unit, ..Bottleneck::new(width, stride) }.branch(x)
}

/// Section 4.2: 6n + 2 layers, n blocks of 16, 32 and 64 channels each.
fn cifar(name: &str, n: usize, s: &Settings) -> Result<Graph, GraphError> {
    net(name, s.input, |mut x| {
        x = he_in(x, 16, 1).relu();
        for stage in 0..3 {
            let _stage = x.scope(format!("layer{}", stage + 1));
            x = blocks(x, n, if stage == 0 { 1 } else { 2 }, |x, stride| {
                let y = he_in(x, 16 << stage, stride).relu();
                (he_in(y, 16 << stage, 1) + option_a(x, 16 << stage, stride)).relu()
            });
        }
        let features = x.channels();
        x = x.global_avg_pool().linear(s.classes).named("linear");
        x.init(Init::kaiming_normal(features), 0.0)
    })
}

/// The identity with a stride and zeros for the new channels, half of them on each side.
fn option_a(x: Var<'_>, channels: usize, stride: usize) -> Var<'_> {
    if stride == 1 {
        return x;
    }
    let zeros = channels - x.channels();
    x.subsample(stride).pad_channels(zeros / 2, zeros - zeros / 2)
}

fn he_in(x: Var<'_>, filters: usize, stride: usize) -> Var<'_> {
    let init = Init::kaiming_normal(9 * x.channels());
    let conv = Conv2d::new(filters, k(3).stride(stride).pad(1)).no_bias();
    x.apply(conv).init(init, 0.0).batch_norm()
}

pub(crate) const PAPER: Paper = Paper {
    authors: "He, Zhang, Ren & Sun",
    title: "Deep Residual Learning for Image Recognition",
    venue: "CVPR 2016",
    arxiv: Some("1512.03385"),
};

pub(crate) const HE: &str = "He et al.'s, as the paper: N(0, 2/fan), with torchvision's fan of the outputs; PyTorch's default for the linear layer";

const BASE: Network = Network {
    name: "",
    aliases: &[],
    family: "ResNet",
    year: 2015,
    place: Fact::Known("first in classification, ILSVRC-2015, as an ensemble of six"),
    paper: PAPER,
    section: "Table 1, the stride on the 3×3",
    input: [3, 224, 224],
    classes: 1000,
    params: 0,
    macs: 0,
    published: Fact::Missing(""),
    init: HE,
    preprocessing: Preprocessing::torchvision(256),
    build: |s| resnet("", [0; 4], two_3x3, s),
};

const V1: Network = Network {
    section: "Table 1, the stride on the first 1×1 (section 3.4 and the authors' models)",
    preprocessing: Preprocessing::caffe(256),
    ..BASE
};

/// The article's, for CIFAR-100.
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

/// Those of section 4.2, for CIFAR-10.
const SECTION_4_2: Network = Network {
    place: Fact::Missing("a network for CIFAR-10, not in the contest"),
    section: "section 4.2, option A",
    input: [3, 32, 32],
    classes: 10,
    init: "He et al.'s, as the paper: N(0, 2/fan_in), as akamaster has it",
    preprocessing: Preprocessing {
        source: "akamaster's training script",
        ..Preprocessing::torchvision(32)
    },
    ..BASE
};

const TIMM: &str = "timm's results";
const SHIPPED: &str = "1 crop, torchvision's weights";
const TEN: &str = "1 network, 10 crops";
const DENSE: &str = "1 network, dense, 5 scales";
const SIX: &str = "6 networks of several depths, dense, 5 scales";

const fn cifar10(top1: f32, protocol: &'static str, source: &'static str) -> Published {
    Published { top1: Some(top1), top5: None, set: Set::Cifar10Test, protocol, source }
}

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "resnet18",
        section: "Table 1, 18-layer",
        params: 11_689_512,
        macs: 1_814_073_344,
        published: Fact::Known(&[Published::val(30.25, 10.92, SHIPPED, TIMM)]),
        build: |s| resnet("resnet18", [2, 2, 2, 2], two_3x3, s),
        ..BASE
    },
    Network {
        name: "resnet34",
        section: "Table 1, 34-layer, option B",
        params: 21_797_672,
        macs: 3_663_761_408,
        published: Fact::Known(&[
            Published::val(24.52, 7.46, TEN, "Table 3"),
            Published::val(26.70, 8.58, SHIPPED, TIMM),
        ]),
        build: |s| resnet("resnet34", [3, 4, 6, 3], two_3x3, s),
        ..BASE
    },
    Network {
        name: "resnet50",
        aliases: &["resnet50_v1_5"],
        params: 25_557_032,
        macs: 4_089_184_256,
        published: Fact::Known(&[Published::val(23.84, 7.13, SHIPPED, TIMM)]),
        build: |s| resnet("resnet50", [3, 4, 6, 3], stride_on_3x3, s),
        ..BASE
    },
    Network {
        name: "resnet101",
        aliases: &["resnet101_v1_5"],
        params: 44_549_160,
        macs: 7_801_405_440,
        published: Fact::Known(&[Published::val(22.60, 6.45, SHIPPED, TIMM)]),
        build: |s| resnet("resnet101", [3, 4, 23, 3], stride_on_3x3, s),
        ..BASE
    },
    Network {
        name: "resnet152",
        aliases: &["resnet152_v1_5"],
        params: 60_192_808,
        macs: 11_513_626_624,
        published: Fact::Known(&[Published::val(21.67, 5.95, SHIPPED, TIMM)]),
        build: |s| resnet("resnet152", [3, 8, 36, 3], stride_on_3x3, s),
        ..BASE
    },
    Network {
        name: "resnet200",
        place: Fact::Missing("timm's variant"),
        section: "timm's resnet200, post-activation",
        params: 64_673_832,
        macs: 15_007_481_856,
        published: Fact::Missing("timm's figures are for another recipe; see preact_resnet200"),
        build: |s| resnet("resnet200", [3, 24, 36, 3], stride_on_3x3, s),
        ..BASE
    },
    Network {
        name: "resnet50_v1",
        params: 25_557_032,
        macs: 3_857_973_248,
        published: Fact::Known(&[
            Published::val(22.85, 6.71, TEN, "Table 3"),
            Published::val(20.74, 5.25, DENSE, "Table 4"),
            Published::val(24.7, 7.8, "1 crop", "the authors' repository"),
        ]),
        build: |s| released("resnet50_v1", [3, 4, 6, 3], s),
        ..V1
    },
    Network {
        name: "resnet101_v1",
        params: 44_549_160,
        macs: 7_570_194_432,
        published: Fact::Known(&[
            Published::val(21.75, 6.05, TEN, "Table 3"),
            Published::val(19.87, 4.60, DENSE, "Table 4"),
            Published::val(23.6, 7.1, "1 crop", "the authors' repository"),
        ]),
        build: |s| released("resnet101_v1", [3, 4, 23, 3], s),
        ..V1
    },
    Network {
        name: "resnet152_v1",
        params: 60_192_808,
        macs: 11_282_415_616,
        published: Fact::Known(&[
            Published::val(21.43, 5.71, TEN, "Table 3"),
            Published::val(19.38, 4.49, DENSE, "Table 4"),
            Published::test_top5(3.57, SIX, "Table 5"),
            Published::val(23.0, 6.7, "1 crop", "the authors' repository"),
        ]),
        build: |s| released("resnet152_v1", [3, 8, 36, 3], s),
        ..V1
    },
    Network {
        name: "resnet18_cifar",
        params: 11_220_132,
        macs: 555_468_800,
        build: |s| article("resnet18_cifar", [2, 2, 2, 2], article_basic, s),
        ..ARTICLE
    },
    Network {
        name: "resnet34_cifar",
        params: 21_328_292,
        macs: 1_159_448_576,
        build: |s| article("resnet34_cifar", [3, 4, 6, 3], article_basic, s),
        ..ARTICLE
    },
    Network {
        name: "resnet50_cifar",
        params: 23_705_252,
        macs: 1_298_014_208,
        build: |s| article("resnet50_cifar", [3, 4, 6, 3], article_bottleneck, s),
        ..ARTICLE
    },
    Network {
        name: "resnet101_cifar",
        params: 42_697_380,
        macs: 2_510_168_064,
        build: |s| article("resnet101_cifar", [3, 4, 23, 3], article_bottleneck, s),
        ..ARTICLE
    },
    Network {
        name: "resnet152_cifar",
        params: 58_341_028,
        macs: 3_722_321_920,
        build: |s| article("resnet152_cifar", [3, 8, 36, 3], article_bottleneck, s),
        ..ARTICLE
    },
    Network {
        name: "resnet20_cifar",
        params: 269_722,
        macs: 40_551_040,
        published: Fact::Known(&[cifar10(8.75, PAPERS, TABLE_6), cifar10(8.27, REPLICA, README)]),
        build: |s| cifar("resnet20_cifar", 3, s),
        ..SECTION_4_2
    },
    Network {
        name: "resnet32_cifar",
        params: 464_154,
        macs: 68_862_592,
        published: Fact::Known(&[cifar10(7.51, PAPERS, TABLE_6), cifar10(7.37, REPLICA, README)]),
        build: |s| cifar("resnet32_cifar", 5, s),
        ..SECTION_4_2
    },
    Network {
        name: "resnet44_cifar",
        params: 658_586,
        macs: 97_174_144,
        published: Fact::Known(&[cifar10(7.17, PAPERS, TABLE_6), cifar10(6.90, REPLICA, README)]),
        build: |s| cifar("resnet44_cifar", 7, s),
        ..SECTION_4_2
    },
    Network {
        name: "resnet56_cifar",
        params: 853_018,
        macs: 125_485_696,
        published: Fact::Known(&[cifar10(6.97, PAPERS, TABLE_6), cifar10(6.61, REPLICA, README)]),
        build: |s| cifar("resnet56_cifar", 9, s),
        ..SECTION_4_2
    },
    Network {
        name: "resnet110_cifar",
        params: 1_727_962,
        macs: 252_887_680,
        published: Fact::Known(&[cifar10(6.43, PAPERS, TABLE_6), cifar10(6.32, REPLICA, README)]),
        build: |s| cifar("resnet110_cifar", 18, s),
        ..SECTION_4_2
    },
];

const PAPERS: &str = "1 network, the whole image";
const REPLICA: &str = "1 network, the whole image, akamaster's weights";
const TABLE_6: &str = "Table 6";
const README: &str = "akamaster's README";
