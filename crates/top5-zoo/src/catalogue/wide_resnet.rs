//! Wide ResNet: names, counts and published errors. The layers are in `pages/wide_resnet.rs`.

use super::resnet::HE;
use super::{REPOSITORY, SHIPPED, TORCHVISION};
use crate::pages::resnet::{RESNET_50, RESNET_101, resnet};
use crate::pages::wide_resnet::{wide_basic, wide_bottleneck};
use crate::registry::{Fact, Network, Paper, Published};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "wide_resnet50_2",
        aliases: &["wrn_50_2", "wrn_50_2_bottleneck"],
        params: 68_883_240,
        macs: 11_398_021_120,
        published: Fact::Known(&[
            Published::val(21.9, 5.79, "1 crop", REPOSITORY),
            Published::val(21.53, 5.91, SHIPPED, TORCHVISION),
        ]),
        layers: |x, s| resnet(x, RESNET_50, wide_bottleneck, s),
        ..BASE
    },
    Network {
        name: "wide_resnet101_2",
        aliases: &["wrn_101_2"],
        section: "torchvision's, after section 3.4: twice as wide a 3×3 in each bottleneck",
        params: 126_886_696,
        macs: 22_753_050_624,
        published: Fact::Known(&[Published::val(21.15, 5.72, SHIPPED, TORCHVISION)]),
        layers: |x, s| resnet(x, RESNET_101, wide_bottleneck, s),
        ..BASE
    },
    Network {
        name: "wrn_68_2",
        section: "a reconstruction: ResNet-101's blocks with two 3×3 each, twice as wide",
        params: 166_286_888,
        macs: 29_816_807_424,
        published: Fact::Missing("only its share in the ensemble trimps_soushen was published"),
        layers: |x, s| resnet(x, RESNET_101, wide_basic, s),
        ..BASE
    },
];

const BASE: Network = Network {
    family: "Wide ResNet",
    year: 2016,
    place: Fact::Missing("published after ILSVRC-2015"),
    paper: Paper {
        authors: "Zagoruyko & Komodakis",
        title: "Wide Residual Networks",
        venue: "BMVC 2016",
        arxiv: Some("1605.07146"),
    },
    section: "section 3.4: twice as wide a 3×3 in each bottleneck",
    init: HE,
    ..Network::IMAGENET
};
