//! SENet. Hu, Shen & Sun, "Squeeze-and-Excitation Networks", CVPR 2018, arXiv:1709.01507, Figures 2 and 3, Table 1 and
//! the appendix on SENet-154. ILSVRC-2017: first in classification.
//! Departures: layers and names of the networks for ImageNet are timm's, so the SE-ResNets have the stride on the 3×3
//! (the authors' have it on the first 1×1) and no excitation has fewer than 8 channels inside; fully connected layers of
//! an excitation are 1×1 convolutions. `se_bn_inception` is the authors': one excitation after each module and, unlike
//! `bn_inception`, no biases before normalisations. The networks for CIFAR-100 are the article's: their convolutions have
//! biases, and a ReLU stands before the squeeze. The article prints a last stage of 516, which `seresnet50_cifar_516` has;
//! its code has 512. Tables are numbered as in the paper's later versions at arXiv.

use crate::bn_inception::{self, bn_inception};
use crate::registry::{Fact, Network, Paper, Preprocessing, Published, Settings};
use crate::resnet::{
    Bottleneck, HE, article_shortcut, article_stages, article_stem, basic, he, shortcut, stages,
    stem, unit,
};
use crate::resnext::form_c;
use top5_graph::ops::Conv2d;
use top5_graph::{Graph, GraphError, Var, Window, k, net};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "se_bn_inception",
        aliases: &["se_inception_v2"],
        section: "SE-BN-Inception.prototxt; Table 2, BN-Inception",
        params: 11_931_622,
        macs: 2_033_239_424,
        published: Fact::Known(&[
            Published::val(24.23, 7.14, "1 crop", "Table 2"),
            Published::val(23.62, 7.04, "1 crop, retrained", REPOSITORY),
        ]),
        init: "the paper names none; PyTorch's default: uniform in ±1/√fan_in",
        preprocessing: Preprocessing::caffe(256),
        build: |s| {
            net("se_bn_inception", s.input, |x| {
                let x = bn_inception(x, unbiased, |x| excite(x, x.channels() / 16));
                bn_inception::classify(x, s)
            })
        },
        ..BASE
    },
    Network {
        name: "seresnet18",
        aliases: &["se_resnet18"],
        section: "Figure 3, with the depths of ResNet-18",
        params: 11_779_624,
        macs: 1_814_161_408,
        published: Fact::Missing("the paper has no network of this depth"),
        build: |s| senet("seresnet18", [2, 2, 2, 2], two_3x3, s),
        ..BASE
    },
    Network {
        name: "seresnet34",
        aliases: &["se_resnet34"],
        section: "Figure 3, with the depths of ResNet-34",
        params: 21_960_416,
        macs: 3_663_920_128,
        published: Fact::Missing("the paper has no network of this depth"),
        build: |s| senet("seresnet34", [3, 4, 6, 3], two_3x3, s),
        ..BASE
    },
    Network {
        name: "seresnet50",
        aliases: &["se_resnet50"],
        section: "Table 1, SE-ResNet-50, the stride on the 3×3",
        params: 28_088_024,
        macs: 4_091_699_200,
        published: Fact::Known(&[
            Published::val(23.29, 6.62, AS_PRINTED, "Table 2"),
            Published::val(22.37, 6.36, ON_1X1, REPOSITORY),
            Published::val(22.35, 6.27, ON_1X1, TIMM),
        ]),
        build: |s| senet("seresnet50", [3, 4, 6, 3], bottleneck, s),
        ..BASE
    },
    Network {
        name: "seresnet101",
        aliases: &["se_resnet101"],
        section: "Table 2, SE-ResNet-101, the stride on the 3×3",
        params: 49_326_872,
        macs: 7_806_148_608,
        published: Fact::Known(&[
            Published::val(22.38, 6.07, AS_PRINTED, "Table 2"),
            Published::val(21.75, 5.72, ON_1X1, REPOSITORY),
            Published::val(21.63, 5.74, ON_1X1, TIMM),
        ]),
        build: |s| senet("seresnet101", [3, 4, 23, 3], bottleneck, s),
        ..BASE
    },
    Network {
        name: "seresnet152",
        aliases: &["se_resnet152"],
        section: "Table 2, SE-ResNet-152, the stride on the 3×3",
        params: 66_821_848,
        macs: 11_520_204_800,
        published: Fact::Known(&[
            Published::val(21.57, 5.73, AS_PRINTED, "Table 2"),
            Published::val(21.34, 5.54, ON_1X1, REPOSITORY),
            Published::val(21.34, 5.63, ON_1X1, TIMM),
        ]),
        build: |s| senet("seresnet152", [3, 8, 36, 3], bottleneck, s),
        ..BASE
    },
    Network {
        name: "seresnext50_32x4d",
        aliases: &["se_resnext50_32x4d", "seresnext50"],
        section: "Table 1, SE-ResNeXt-50 (32×4d)",
        params: 27_559_896,
        macs: 4_232_994_816,
        published: Fact::Known(&[
            Published::val(21.10, 5.49, "1 crop", "Table 2"),
            Published::val(20.97, 5.54, "1 crop, retrained", REPOSITORY),
            Published::val(20.92, 5.57, "1 crop, the authors' weights", TIMM),
        ]),
        build: |s| senet("seresnext50_32x4d", [3, 4, 6, 3], aggregated, s),
        ..BASE
    },
    Network {
        name: "seresnext101_32x4d",
        aliases: &["se_resnext101_32x4d"],
        section: "Table 2, SE-ResNeXt-101 (32×4d)",
        params: 48_955_416,
        macs: 7_974_739_968,
        published: Fact::Known(&[
            Published::val(20.70, 5.01, "1 crop", "Table 2"),
            Published::val(19.81, 4.96, "1 crop, retrained", REPOSITORY),
            Published::val(19.73, 4.97, "1 crop, the authors' weights", TIMM),
        ]),
        build: |s| senet("seresnext101_32x4d", [3, 4, 23, 3], aggregated, s),
        ..BASE
    },
    Network {
        name: "senet154",
        aliases: &["senet"],
        section: "the appendix, SENet-154",
        params: 115_088_984,
        macs: 20_688_363_520,
        published: Fact::Known(&[
            Published::val(18.68, 4.47, "1 crop", "Table 8"),
            Published::val(17.28, 3.79, "1 crop of 320×320", "Table 8"),
            Published::val(16.88, 3.58, TRAINED_AT_320, "Table 9"),
            Published::test_top5(2.251, "the submission's ensemble", "section 5.4"),
        ]),
        build: senet154,
        ..BASE
    },
    Network {
        name: "seresnet18_cifar",
        params: 11_314_012,
        macs: 555_555_840,
        build: |s| article("seresnet18_cifar", [2, 2, 2, 2], article_basic, 512, s),
        ..ARTICLE
    },
    Network {
        name: "seresnet34_cifar",
        params: 21_498_000,
        macs: 1_159_605_760,
        build: |s| article("seresnet34_cifar", [3, 4, 6, 3], article_basic, 512, s),
        ..ARTICLE
    },
    Network {
        name: "seresnet50_cifar",
        params: 26_262_804,
        macs: 1_300_529_152,
        build: |s| article("seresnet50_cifar", [3, 4, 6, 3], article_bottleneck, 512, s),
        ..ARTICLE
    },
    Network {
        name: "seresnet50_cifar_516",
        section: "as the article prints it: the last stage is 516 wide, 512 in the code that it is from",
        params: 26_503_135,
        macs: 1_304_171_936,
        build: |s| article("seresnet50_cifar_516", [3, 4, 6, 3], article_bottleneck, 516, s),
        ..ARTICLE
    },
    Network {
        name: "seresnet101_cifar",
        params: 47_527_764,
        macs: 2_514_911_232,
        build: |s| article("seresnet101_cifar", [3, 4, 23, 3], article_bottleneck, 512, s),
        ..ARTICLE
    },
    Network {
        name: "seresnet152_cifar",
        params: 65_045_780,
        macs: 3_728_900_096,
        build: |s| article("seresnet152_cifar", [3, 8, 36, 3], article_bottleneck, 512, s),
        ..ARTICLE
    },
];

pub(crate) const REPOSITORY: &str = "the authors' repository";
pub(crate) const TIMM: &str = "timm's results";
const AS_PRINTED: &str = "1 crop, the stride on the first 1×1";
const ON_1X1: &str = "1 crop, the authors' weights, the stride on the first 1×1";
const TRAINED_AT_320: &str = "1 crop of 320×320, trained at that size";

pub(crate) const BASE: Network = Network {
    name: "",
    aliases: &[],
    family: "SENet",
    year: 2017,
    place: Fact::Known("first in classification, ILSVRC-2017, as an ensemble"),
    paper: Paper {
        authors: "Hu, Shen & Sun",
        title: "Squeeze-and-Excitation Networks",
        venue: "CVPR 2018",
        arxiv: Some("1709.01507"),
    },
    section: "",
    input: [3, 224, 224],
    classes: 1000,
    params: 0,
    macs: 0,
    published: Fact::Missing(""),
    init: HE,
    preprocessing: Preprocessing::torchvision(256),
    build: senet154,
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

/// Figure 3: in each block of a ResNet, the excitation of the branch, before the sum.
fn senet(
    name: &str,
    depths: [usize; 4],
    branch: impl for<'g> Fn(Var<'g>, usize, usize) -> Var<'g>,
    s: &Settings,
) -> Result<Graph, GraphError> {
    net(name, s.input, |x| {
        let x = stages(stem(x), depths, |x, width, stride| {
            let y = branch(x, width, stride);
            let y = excite(y, (y.channels() / 16).max(8));
            (y + shortcut(x, y.channels(), k(1).stride(stride))).relu()
        });
        x.global_avg_pool().linear(s.classes).named("fc")
    })
}

fn excite(x: Var<'_>, inside: usize) -> Var<'_> {
    excite_named(x, "se", inside)
}

/// Equations 2 to 4: squeeze to one value per channel, excite through `inside` values, scale.
pub(crate) fn excite_named<'g>(x: Var<'g>, name: &str, inside: usize) -> Var<'g> {
    let factors = {
        let _excitation = x.scope(name);
        let z = x.global_avg_pool().conv(inside, 1).named("fc1").relu();
        z.conv(x.channels(), 1).named("fc2").sigmoid()
    };
    x.scale(factors)
}

/// BN-Inception's unit in the authors' file: no bias, PyTorch's constants.
fn unbiased<'g>(x: Var<'g>, name: &str, filters: usize, window: Window) -> Var<'g> {
    let _unit = x.scope(name);
    let x = x.apply(Conv2d::new(filters, window).no_bias()).named("conv");
    x.batch_norm().named("bn").relu()
}

fn two_3x3<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    basic(x, width, stride, unit)
}

fn bottleneck<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    Bottleneck::new(width, stride).branch(x)
}

fn aggregated<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    form_c(x, width, stride, [32, 4])
}

/// ResNeXt-152 (64×4d) with excitations and, as the appendix lists: half as wide a first 1×1 in each block, three 3×3
/// for the first 7×7, 3×3 projections where the map is halved, and dropout.
fn senet154(s: &Settings) -> Result<Graph, GraphError> {
    net("senet154", s.input, |x| {
        let x = {
            let _conv1 = x.sequential("conv1");
            let x = unit(x, Conv2d::new(64, k(3).stride(2).pad(1))).relu();
            let x = unit(x, Conv2d::new(64, k(3).pad(1))).relu();
            he(x, Conv2d::new(128, k(3).pad(1)))
        };
        let x = x.batch_norm().relu().max_pool(k(3).stride(2).pad(1));
        let x = stages(x, [3, 8, 36, 3], |x, width, stride| {
            let widths = [2 * width, 4 * width, 4 * width];
            let block = Bottleneck { widths, groups: [1, 64], ..Bottleneck::new(width, stride) };
            let y = excite(block.branch(x), width / 4);
            let projection = if stride == 1 { k(1) } else { k(3).stride(stride).pad(1) };
            (y + shortcut(x, y.channels(), projection)).relu()
        });
        x.global_avg_pool().dropout(0.2).linear(s.classes).named("fc")
    })
}

/// The article's. `last` is the width of the last stage.
fn article(
    name: &str,
    depths: [usize; 4],
    branch: impl for<'g> Fn(Var<'g>, usize, usize) -> Var<'g>,
    last: usize,
    s: &Settings,
) -> Result<Graph, GraphError> {
    net(name, s.input, |x| {
        let x = article_stem(x, "pre", biased_unit);
        let names = ["stage1", "stage2", "stage3", "stage4"];
        let x = article_stages(x, names, depths, |x, width, stride| {
            let width = if width == 512 { last } else { width };
            let y = {
                let _residual = x.sequential("residual");
                branch(x, width, stride).relu()
            };
            let channels = y.channels();
            let z = y.global_avg_pool().named("squeeze");
            let factors = {
                let _excitation = x.sequential("excitation");
                z.linear(channels / 16).relu().linear(channels).sigmoid()
            };
            (y.scale(factors) + article_shortcut(x, channels, stride, biased_unit)).relu()
        });
        x.global_avg_pool().linear(s.classes).named("linear")
    })
}

fn biased_unit(x: Var<'_>, conv: Conv2d) -> Var<'_> {
    x.apply(conv).batch_norm()
}

fn article_basic<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    basic(x, width, stride, biased_unit)
}

fn article_bottleneck<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    Bottleneck { unit: biased_unit, ..Bottleneck::new(width, stride) }.branch(x)
}
