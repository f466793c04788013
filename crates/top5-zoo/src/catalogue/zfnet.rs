//! ZFNet and Clarifai: names, counts and published errors. The layers are in `pages/zfnet.rs`.

use crate::pages::zfnet::zfnet;
use crate::registry::{Ensemble, Fact, Network, Paper, Preprocessing, Published};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "zfnet",
        aliases: &["zfnet_a"],
        section: "Figure 3",
        params: 62_357_608,
        macs: 1_168_032_896,
        published: Fact::Known(&[
            Published::val(38.4, 16.5, "1 network, 10 crops", "Table 2"),
            Published::val(36.7, 15.3, "5 networks, 10 crops", "Table 2"),
            Published::training(33.1, "1 network", "Table 3"),
        ]),
        layers: |x, s| zfnet(x, [384, 384, 256], 4096, s),
        ..BASE
    },
    Network {
        name: "zfnet_b",
        aliases: &["zfnet512"],
        section: "Table 2, row (b)",
        params: 107_627_624,
        macs: 2_476_704_896,
        published: Fact::Known(&[
            Published::val(37.5, 16.0, "1 network, 10 crops", "Table 2"),
            Published::val(36.0, 14.7, "5 networks (a) and this one, 10 crops", "Table 2"),
            Published::test_top5(14.8, "5 networks (a) and this one, 10 crops", "Table 2"),
            Published::training(18.8, "1 network", "Table 3"),
        ]),
        layers: |x, s| zfnet(x, [512, 1024, 512], 4096, s),
        ..BASE
    },
];

/// Clarifai published no architecture: this is a reconstruction from its founder's paper.
pub(crate) static ENSEMBLES: &[Ensemble] = &[Ensemble {
    name: "clarifai",
    aliases: &[],
    family: "Clarifai",
    year: 2013,
    place: Fact::Known("first in classification, ILSVRC-2013"),
    paper: PAPER,
    section: "a reconstruction: no architecture was published, only that several networks were averaged; \
              the members and equal weights are the ensemble of Table 2",
    members: &[
        ("zfnet", 1.0 / 6.0),
        ("zfnet", 1.0 / 6.0),
        ("zfnet", 1.0 / 6.0),
        ("zfnet", 1.0 / 6.0),
        ("zfnet", 1.0 / 6.0),
        ("zfnet_b", 1.0 / 6.0),
    ],
    published: Fact::Known(&[
        Published::test_top5(11.74, "several networks", "image-net.org, ILSVRC-2013 results"),
        Published::test_top5(
            11.20,
            "several networks, trained on more data",
            "image-net.org, ILSVRC-2013 results",
        ),
        Published::test_top5(12.5, "1 network", "VGG paper, Table 7"),
    ]),
}];

pub(super) const PAPER: Paper = Paper {
    authors: "Zeiler & Fergus",
    title: "Visualizing and Understanding Convolutional Networks",
    venue: "ECCV 2014",
    arxiv: Some("1311.2901"),
};

pub(super) const BASE: Network = Network {
    family: "ZFNet",
    year: 2013,
    place: Fact::Missing(
        "the paper's networks were not ranked; its first author won with Clarifai",
    ),
    paper: PAPER,
    init: "section 3 says only that all weights are 1e-2 and all biases 0; here N(0, 0.01)",
    preprocessing: Preprocessing::caffe(256),
    ..Network::IMAGENET
};
