//! ResNet: names, counts and published errors. The layers are in `pages/resnet.rs`.

use super::{REPOSITORY, SHIPPED, TIMM, on_cifar100};
use crate::pages::resnet::{
    RESNET_18, RESNET_34, RESNET_50, RESNET_101, RESNET_152, RESNET_200, article, cifar, released,
    resnet, stride_on_3x3, two_3x3,
};
use crate::registry::{Fact, Network, Paper, Preprocessing, Published, Set};

pub(crate) const PAPER: Paper = Paper {
    authors: "He, Zhang, Ren & Sun",
    title: "Deep Residual Learning for Image Recognition",
    venue: "CVPR 2016",
    arxiv: Some("1512.03385"),
};

pub(crate) const HE: &str = "He et al.'s, as the paper: N(0, 2/fan), with torchvision's fan of the outputs; PyTorch's default for the linear layer";

const BASE: Network = Network {
    family: "ResNet",
    year: 2015,
    place: Fact::Known("first in classification, ILSVRC-2015, as an ensemble of six"),
    paper: PAPER,
    section: "Table 1, the stride on the 3×3",
    init: HE,
    ..Network::IMAGENET
};

const V1: Network = Network {
    section: "Table 1, the stride on the first 1×1 (section 3.4 and the authors' models)",
    preprocessing: Preprocessing::caffe(256),
    ..BASE
};

/// The article's, for CIFAR-100.
const ARTICLE: Network = BASE.article();

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
        layers: |x, s| resnet(x, RESNET_18, two_3x3, s),
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
        layers: |x, s| resnet(x, RESNET_34, two_3x3, s),
        ..BASE
    },
    Network {
        name: "resnet50",
        aliases: &["resnet50_v1_5"],
        params: 25_557_032,
        macs: 4_089_184_256,
        published: Fact::Known(&[Published::val(23.84, 7.13, SHIPPED, TIMM)]),
        layers: |x, s| resnet(x, RESNET_50, stride_on_3x3, s),
        ..BASE
    },
    Network {
        name: "resnet101",
        aliases: &["resnet101_v1_5"],
        params: 44_549_160,
        macs: 7_801_405_440,
        published: Fact::Known(&[Published::val(22.60, 6.45, SHIPPED, TIMM)]),
        layers: |x, s| resnet(x, RESNET_101, stride_on_3x3, s),
        ..BASE
    },
    Network {
        name: "resnet152",
        aliases: &["resnet152_v1_5"],
        params: 60_192_808,
        macs: 11_513_626_624,
        published: Fact::Known(&[Published::val(21.67, 5.95, SHIPPED, TIMM)]),
        layers: |x, s| resnet(x, RESNET_152, stride_on_3x3, s),
        ..BASE
    },
    Network {
        name: "resnet200",
        place: Fact::Missing("timm's variant"),
        section: "timm's resnet200, post-activation",
        params: 64_673_832,
        macs: 15_007_481_856,
        published: Fact::Missing("timm's figures are for another recipe; see preact_resnet200"),
        layers: |x, s| resnet(x, RESNET_200, stride_on_3x3, s),
        ..BASE
    },
    Network {
        name: "resnet50_v1",
        params: 25_557_032,
        macs: 3_857_973_248,
        published: Fact::Known(&[
            Published::val(22.85, 6.71, TEN, "Table 3"),
            Published::val(20.74, 5.25, DENSE, "Table 4"),
            Published::val(24.7, 7.8, "1 crop", REPOSITORY),
        ]),
        layers: |x, s| released(x, RESNET_50, s),
        ..V1
    },
    Network {
        name: "resnet101_v1",
        params: 44_549_160,
        macs: 7_570_194_432,
        published: Fact::Known(&[
            Published::val(21.75, 6.05, TEN, "Table 3"),
            Published::val(19.87, 4.60, DENSE, "Table 4"),
            Published::val(23.6, 7.1, "1 crop", REPOSITORY),
        ]),
        layers: |x, s| released(x, RESNET_101, s),
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
            Published::val(23.0, 6.7, "1 crop", REPOSITORY),
        ]),
        layers: |x, s| released(x, RESNET_152, s),
        ..V1
    },
    Network {
        name: "resnet18_cifar",
        params: 11_220_132,
        macs: 555_468_800,
        published: Fact::Known(&[on_cifar100(24.39, 6.95)]),
        layers: |x, s| article(x, RESNET_18, two_3x3, s),
        ..ARTICLE
    },
    Network {
        name: "resnet34_cifar",
        params: 21_328_292,
        macs: 1_159_448_576,
        published: Fact::Known(&[on_cifar100(23.24, 6.63)]),
        layers: |x, s| article(x, RESNET_34, two_3x3, s),
        ..ARTICLE
    },
    Network {
        name: "resnet50_cifar",
        params: 23_705_252,
        macs: 1_298_014_208,
        published: Fact::Known(&[on_cifar100(22.61, 6.04)]),
        layers: |x, s| article(x, RESNET_50, stride_on_3x3, s),
        ..ARTICLE
    },
    Network {
        name: "resnet101_cifar",
        params: 42_697_380,
        macs: 2_510_168_064,
        published: Fact::Known(&[on_cifar100(22.22, 5.61)]),
        layers: |x, s| article(x, RESNET_101, stride_on_3x3, s),
        ..ARTICLE
    },
    Network {
        name: "resnet152_cifar",
        params: 58_341_028,
        macs: 3_722_321_920,
        published: Fact::Known(&[on_cifar100(22.31, 5.81)]),
        layers: |x, s| article(x, RESNET_152, stride_on_3x3, s),
        ..ARTICLE
    },
    Network {
        name: "resnet20_cifar",
        params: 269_722,
        macs: 40_551_040,
        published: Fact::Known(&[cifar10(8.75, PAPERS, TABLE_6), cifar10(8.27, REPLICA, README)]),
        layers: |x, s| cifar(x, 3, s),
        ..SECTION_4_2
    },
    Network {
        name: "resnet32_cifar",
        params: 464_154,
        macs: 68_862_592,
        published: Fact::Known(&[cifar10(7.51, PAPERS, TABLE_6), cifar10(7.37, REPLICA, README)]),
        layers: |x, s| cifar(x, 5, s),
        ..SECTION_4_2
    },
    Network {
        name: "resnet44_cifar",
        params: 658_586,
        macs: 97_174_144,
        published: Fact::Known(&[cifar10(7.17, PAPERS, TABLE_6), cifar10(6.90, REPLICA, README)]),
        layers: |x, s| cifar(x, 7, s),
        ..SECTION_4_2
    },
    Network {
        name: "resnet56_cifar",
        params: 853_018,
        macs: 125_485_696,
        published: Fact::Known(&[cifar10(6.97, PAPERS, TABLE_6), cifar10(6.61, REPLICA, README)]),
        layers: |x, s| cifar(x, 9, s),
        ..SECTION_4_2
    },
    Network {
        name: "resnet110_cifar",
        params: 1_727_962,
        macs: 252_887_680,
        published: Fact::Known(&[cifar10(6.43, PAPERS, TABLE_6), cifar10(6.32, REPLICA, README)]),
        layers: |x, s| cifar(x, 18, s),
        ..SECTION_4_2
    },
];

const PAPERS: &str = "1 network, the whole image";
const REPLICA: &str = "1 network, the whole image, akamaster's weights";
const TABLE_6: &str = "Table 6";
const README: &str = "akamaster's README";
