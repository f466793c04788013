//! ZFNet. Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, arXiv:1311.2901,
//! Figure 3 and Table 2; `zfnet_b` is the model of row (b), with layers 3, 4 and 5 of 512, 1024 and 512 maps.
//! Departures: the printed map sizes (110, 55, 26, 13, 6) need one row of padding in the first layer and pooling that
//! rounds up; contrast normalisation, whose constants are not printed, is AlexNet's.

use crate::alexnet::normalise;
use crate::registry::{Ensemble, Fact, Network, Paper, Preprocessing, Published, Settings};
use top5_graph::{Graph, GraphError, Init, k, net};

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
        ]),
        build: |settings| zfnet("zfnet", [384, 384, 256], settings),
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
        ]),
        build: |settings| zfnet("zfnet_b", [512, 1024, 512], settings),
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

const PAPER: Paper = Paper {
    authors: "Zeiler & Fergus",
    title: "Visualizing and Understanding Convolutional Networks",
    venue: "ECCV 2014",
    arxiv: Some("1311.2901"),
};

const BASE: Network = Network {
    name: "",
    aliases: &[],
    family: "ZFNet",
    year: 2013,
    place: Fact::Missing(
        "the paper's networks were not ranked; its first author won with Clarifai",
    ),
    paper: PAPER,
    section: "",
    input: [3, 224, 224],
    classes: 1000,
    params: 0,
    macs: 0,
    published: Fact::Missing(""),
    init: "section 3 says only that all weights are 1e-2 and all biases 0; here N(0, 0.01)",
    preprocessing: Preprocessing::caffe(256),
    build: |settings| zfnet("zfnet", [384, 384, 256], settings),
};

fn zfnet(name: &str, maps: [usize; 3], settings: &Settings) -> Result<Graph, GraphError> {
    let normal = || Init::Normal(0.01);
    net(name, settings.input, |mut x| {
        x = x.conv(96, k(7).stride(2).pad(1)).init(normal(), 0.0).relu();
        x = normalise(x.max_pool(k(3).stride(2).ceil()));
        x = x.conv(256, k(5).stride(2)).init(normal(), 0.0).relu();
        x = normalise(x.max_pool(k(3).stride(2).ceil()));
        for filters in maps {
            x = x.conv(filters, k(3).pad(1)).init(normal(), 0.0).relu();
        }
        x = x.max_pool(k(3).stride(2).ceil()).adaptive_avg_pool([6, 6]).flatten();
        x = x.linear(4096).named("fc6").init(normal(), 0.0).relu().dropout(0.5);
        x = x.linear(4096).named("fc7").init(normal(), 0.0).relu().dropout(0.5);
        x.linear(settings.classes).named("fc8").init(normal(), 0.0)
    })
}
