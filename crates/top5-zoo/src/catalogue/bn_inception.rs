//! BN-Inception: names, counts and published errors. The layers are in `pages/bn_inception.rs`.

use super::UNNAMED_INIT;
use crate::pages::bn_inception::{bn_inception, slim};
use crate::registry::{Fact, Network, Paper, Preprocessing, Published};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "bn_inception",
        aliases: &["inception_v2", "bninception"],
        params: 11_295_240,
        macs: 2_032_600_064,
        published: Fact::Known(&[
            Published::val(25.2, 7.82, "1 network, 1 crop", "Figure 4"),
            Published::val(21.99, 5.82, "1 network, 144 crops", "Figure 4"),
            Published::val(20.1, 4.9, "6 networks, 144 crops", "Figure 4"),
            Published::test_top5(4.82, "6 networks, 144 crops, after the contest", "section 4.2.3"),
            Published::val(25.37, 7.74, "1 crop, retrained", "pytorchcv's README"),
        ]),
        preprocessing: Preprocessing::caffe(256),
        layers: bn_inception,
        ..BASE
    },
    Network {
        name: "bn_inception_slim",
        aliases: &["tf_inception_v2"],
        params: 11_188_288,
        macs: 1_934_857_216,
        published: Fact::Known(&[Published::val(26.1, 8.2, "1 crop", "TF-slim's README")]),
        preprocessing: Preprocessing::inception(256),
        layers: slim,
        ..BASE
    },
];

const BASE: Network = Network {
    family: "BN-Inception",
    year: 2015,
    place: Fact::Missing("published after ILSVRC-2014"),
    paper: Paper {
        authors: "Ioffe & Szegedy",
        title: "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
        venue: "ICML 2015",
        arxiv: Some("1502.03167"),
    },
    section: "section 4.2 and the appendix's table",
    init: UNNAMED_INIT,
    preprocessing: Preprocessing::caffe(256),
    ..Network::IMAGENET
};
