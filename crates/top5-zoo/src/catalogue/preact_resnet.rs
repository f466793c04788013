//! ResNet-v2: names, counts and published errors. The layers are in `pages/preact_resnet.rs`.

use crate::pages::preact_resnet::preact;
use crate::pages::resnet::{RESNET_50, RESNET_200};
use crate::registry::{Fact, Network, Paper, Preprocessing, Published};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "resnetv2_50",
        aliases: &["preact_resnet50"],
        section: "Figure 4(e), with the depths of ResNet-50",
        params: 25_549_352,
        macs: 4_089_184_256,
        published: Fact::Missing("the paper has no network of this depth"),
        preprocessing: Preprocessing { source: "timm", ..Preprocessing::inception(235) },
        layers: |x, s| preact(x, RESNET_50, s),
        ..BASE
    },
    Network {
        name: "preact_resnet200",
        aliases: &["resnetv2_200"],
        section: "Table 5, ResNet-200",
        params: 64_666_152,
        macs: 15_007_481_856,
        published: Fact::Known(&[
            Published::val(20.7, 5.3, "1 crop of 320×320", "Table 5"),
            Published::val(20.1, 4.8, STRETCHED, "Table 5"),
            Published::val(21.66, 5.79, "1 crop", "quoted in PyramidNet's README"),
        ]),
        layers: |x, s| preact(x, RESNET_200, s),
        ..BASE
    },
];

const STRETCHED: &str = "1 crop of 320×320, trained with crops of many aspect ratios";

const BASE: Network = Network {
    family: "ResNet-v2",
    year: 2016,
    place: Fact::Missing("published after ILSVRC-2015"),
    paper: Paper {
        authors: "He, Zhang, Ren & Sun",
        title: "Identity Mappings in Deep Residual Networks",
        venue: "ECCV 2016",
        arxiv: Some("1603.05027"),
    },
    init: "He et al.'s, as the paper: N(0, 2/fan), with timm's fan of the outputs; N(0, 0.01) for the classifier",
    ..Network::IMAGENET
};
