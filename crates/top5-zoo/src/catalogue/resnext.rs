//! ResNeXt: names, counts and published errors. The layers are in `pages/resnext.rs`.

use super::resnet::HE;
use super::{SHIPPED, TIMM, on_cifar100};
use crate::pages::resnet::{RESNET_50, RESNET_101, resnet};
use crate::pages::resnext::{article, form_a, form_b, grouped};
use crate::registry::{Fact, Network, Paper, Preprocessing, Published, Set};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "resnext50_32x4d",
        aliases: &["resnext50", "resnext50_32x4d_c"],
        section: "Table 1, 32×4d, form (c)",
        params: 25_028_904,
        macs: 4_230_479_872,
        published: Fact::Known(RESNEXT_50),
        layers: |x, s| grouped(x, RESNET_50, [32, 4], s),
        ..BASE
    },
    Network {
        name: "resnext50_32x4d_a",
        section: "Table 1, 32×4d, form (a)",
        params: 25_028_904,
        macs: 4_230_479_872,
        published: Fact::Known(RESNEXT_50),
        layers: |x, s| resnet(x, RESNET_50, form_a, s),
        ..BASE
    },
    Network {
        name: "resnext50_32x4d_b",
        section: "Table 1, 32×4d, form (b)",
        params: 25_028_904,
        macs: 4_230_479_872,
        published: Fact::Known(RESNEXT_50),
        layers: |x, s| resnet(x, RESNET_50, form_b, s),
        ..BASE
    },
    Network {
        name: "resnext101_32x4d",
        section: "Table 4, 32×4d",
        params: 44_177_704,
        macs: 7_969_996_800,
        published: Fact::Known(&[Published::val(21.2, 5.6, "1 crop", "Table 4")]),
        layers: |x, s| grouped(x, RESNET_101, [32, 4], s),
        ..BASE
    },
    Network {
        name: "resnext101_32x8d",
        section: "torchvision's, after Table 4",
        place: Fact::Missing("torchvision's variant"),
        params: 88_791_336,
        macs: 16_414_015_488,
        published: Fact::Known(&[Published::val(20.69, 5.48, SHIPPED, TIMM)]),
        layers: |x, s| grouped(x, RESNET_101, [32, 8], s),
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
        preprocessing: Preprocessing::torchvision(232),
        layers: |x, s| grouped(x, RESNET_101, [64, 4], s),
        ..BASE
    },
    Network {
        name: "resnext50_cifar",
        params: 14_788_772,
        macs: 750_919_680,
        published: Fact::Known(&[on_cifar100(22.23, 6.00)]),
        layers: |x, s| article(x, RESNET_50, s),
        ..ARTICLE
    },
    Network {
        name: "resnext101_cifar",
        params: 25_303_204,
        macs: 1_419_386_880,
        published: Fact::Known(&[on_cifar100(22.22, 5.99)]),
        layers: |x, s| article(x, RESNET_101, s),
        ..ARTICLE
    },
    Network {
        name: "resnext152_cifar",
        section: "the article's code, whose second stage has 4 blocks where ResNet-152 has 8",
        params: 33_343_652,
        macs: 1_930_567_680,
        published: Fact::Known(&[on_cifar100(22.40, 5.58)]),
        layers: |x, s| article(x, [3, 4, 36, 3], s),
        ..ARTICLE
    },
];

const RESNEXT_50: &[Published] = &[
    Published {
        top1: Some(22.2),
        top5: None,
        set: Set::Validation,
        protocol: "1 crop",
        source: "Table 3",
    },
    Published::val(22.37, 6.33, SHIPPED, TIMM),
];

pub(crate) const PAPER: Paper = Paper {
    authors: "Xie, Girshick, Dollár, Tu & He",
    title: "Aggregated Residual Transformations for Deep Neural Networks",
    venue: "CVPR 2017",
    arxiv: Some("1611.05431"),
};

const BASE: Network = Network {
    family: "ResNeXt",
    year: 2016,
    place: Fact::Known("second in classification, ILSVRC-2016"),
    paper: PAPER,
    init: HE,
    ..Network::IMAGENET
};

const ARTICLE: Network = BASE.article();
