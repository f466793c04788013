//! SENet: names, counts and published errors. The layers are in `pages/senet.rs`.

use super::resnet::HE;
use super::{REPOSITORY, TIMM, UNNAMED_INIT, on_cifar100};
use crate::pages::resnet::{RESNET_18, RESNET_34, RESNET_50, RESNET_101, RESNET_152};
use crate::pages::senet::{
    aggregated, article, article_basic, article_bottleneck, bottleneck, se_bn_inception, senet,
    senet154, two_3x3,
};
use crate::registry::{Fact, Network, Paper, Preprocessing, Published};

#[expect(clippy::approx_constant, reason = "6.28 is an error in percent")]
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
        init: UNNAMED_INIT,
        preprocessing: Preprocessing::caffe(256),
        layers: se_bn_inception,
        ..BASE
    },
    Network {
        name: "seresnet18",
        aliases: &["se_resnet18"],
        section: "Figure 3, with the depths of ResNet-18",
        params: 11_779_624,
        macs: 1_814_161_408,
        published: Fact::Missing("the paper has no network of this depth"),
        layers: |x, s| senet(x, RESNET_18, two_3x3, s),
        ..BASE
    },
    Network {
        name: "seresnet34",
        aliases: &["se_resnet34"],
        section: "Figure 3, with the depths of ResNet-34",
        params: 21_960_416,
        macs: 3_663_920_128,
        published: Fact::Missing("the paper has no network of this depth"),
        layers: |x, s| senet(x, RESNET_34, two_3x3, s),
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
            Published::val(22.36, 6.28, ON_1X1, TIMM),
        ]),
        layers: |x, s| senet(x, RESNET_50, bottleneck, s),
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
            Published::val(21.60, 5.74, ON_1X1, TIMM),
        ]),
        layers: |x, s| senet(x, RESNET_101, bottleneck, s),
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
        layers: |x, s| senet(x, RESNET_152, bottleneck, s),
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
        layers: |x, s| senet(x, RESNET_50, aggregated, s),
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
        layers: |x, s| senet(x, RESNET_101, aggregated, s),
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
        layers: senet154,
        ..BASE
    },
    Network {
        name: "seresnet18_cifar",
        params: 11_314_012,
        macs: 555_555_840,
        published: Fact::Known(&[on_cifar100(23.56, 6.68)]),
        layers: |x, s| article(x, RESNET_18, article_basic, 512, s),
        ..ARTICLE
    },
    Network {
        name: "seresnet34_cifar",
        params: 21_498_000,
        macs: 1_159_605_760,
        published: Fact::Known(&[on_cifar100(22.07, 6.12)]),
        layers: |x, s| article(x, RESNET_34, article_basic, 512, s),
        ..ARTICLE
    },
    Network {
        name: "seresnet50_cifar",
        params: 26_262_804,
        macs: 1_300_529_152,
        published: Fact::Known(&[on_cifar100(21.42, 5.58)]),
        layers: |x, s| article(x, RESNET_50, article_bottleneck, 512, s),
        ..ARTICLE
    },
    Network {
        name: "seresnet50_cifar_516",
        section: "as the article prints it: the last stage is 516 wide, 512 in the code that it is from",
        params: 26_503_135,
        macs: 1_304_171_936,
        layers: |x, s| article(x, RESNET_50, article_bottleneck, 516, s),
        ..ARTICLE
    },
    Network {
        name: "seresnet101_cifar",
        params: 47_527_764,
        macs: 2_514_911_232,
        published: Fact::Known(&[on_cifar100(20.98, 5.41)]),
        layers: |x, s| article(x, RESNET_101, article_bottleneck, 512, s),
        ..ARTICLE
    },
    Network {
        name: "seresnet152_cifar",
        params: 65_045_780,
        macs: 3_728_900_096,
        published: Fact::Known(&[on_cifar100(20.66, 5.19)]),
        layers: |x, s| article(x, RESNET_152, article_bottleneck, 512, s),
        ..ARTICLE
    },
];

const AS_PRINTED: &str = "1 crop, the stride on the first 1×1";
const ON_1X1: &str = "1 crop, the authors' weights, the stride on the first 1×1";
const TRAINED_AT_320: &str = "1 crop of 320×320, trained at that size";

pub(crate) const BASE: Network = Network {
    family: "SENet",
    year: 2017,
    place: Fact::Known("first in classification, ILSVRC-2017, as an ensemble"),
    paper: Paper {
        authors: "Hu, Shen & Sun",
        title: "Squeeze-and-Excitation Networks",
        venue: "CVPR 2018",
        arxiv: Some("1709.01507"),
    },
    init: HE,
    ..Network::IMAGENET
};

const ARTICLE: Network = BASE.article();
