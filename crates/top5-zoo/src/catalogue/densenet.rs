//! DenseNet: names, counts and published errors. The layers are in `pages/densenet.rs`.

use super::{REPOSITORY, SHIPPED, TORCHVISION};
use crate::pages::densenet::densenet;
use crate::registry::{Fact, Network, Paper, Published, Set};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "densenet121",
        section: "Table 1, DenseNet-121",
        params: 7_978_856,
        macs: 2_834_161_664,
        published: Fact::Known(&[top1(25.0), Published::val(25.57, 8.03, SHIPPED, TORCHVISION)]),
        layers: |x, s| densenet(x, 32, [6, 12, 24, 16], s),
        ..BASE
    },
    Network {
        name: "densenet161",
        section: "Table 1 with growth rate 48, DenseNet-161",
        params: 28_681_000,
        macs: 7_727_907_072,
        published: Fact::Known(&[top1(22.2), Published::val(22.86, 6.44, SHIPPED, TORCHVISION)]),
        layers: |x, s| densenet(x, 48, [6, 12, 36, 24], s),
        ..BASE
    },
    Network {
        name: "densenet169",
        section: "Table 1, DenseNet-169",
        params: 14_149_480,
        macs: 3_359_843_328,
        published: Fact::Known(&[top1(23.6), Published::val(24.40, 7.19, SHIPPED, TORCHVISION)]),
        layers: |x, s| densenet(x, 32, [6, 12, 32, 32], s),
        ..BASE
    },
    Network {
        name: "densenet201",
        section: "Table 1, DenseNet-201",
        params: 20_013_928,
        macs: 4_291_365_888,
        published: Fact::Known(&[top1(22.5), Published::val(23.10, 6.63, SHIPPED, TORCHVISION)]),
        layers: |x, s| densenet(x, 32, [6, 12, 48, 32], s),
        ..BASE
    },
];

const fn top1(error: f32) -> Published {
    Published {
        top1: Some(error),
        top5: None,
        set: Set::Validation,
        protocol: "1 crop",
        source: REPOSITORY,
    }
}

const BASE: Network = Network {
    family: "DenseNet",
    year: 2016,
    place: Fact::Missing("published after ILSVRC-2016"),
    paper: Paper {
        authors: "Huang, Liu, van der Maaten & Weinberger",
        title: "Densely Connected Convolutional Networks",
        venue: "CVPR 2017",
        arxiv: Some("1608.06993"),
    },
    init: "He et al.'s, as the paper: N(0, 2/fan_in); the classifier's bias is zero",
    ..Network::IMAGENET
};
