//! OverFeat: names, counts and published errors. The layers are in `pages/overfeat.rs`.

use crate::pages::overfeat::{accurate, fast};
use crate::registry::{Colours, Fact, Network, Paper, Preprocessing, Published, Resample};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "overfeat_fast",
        section: "Table 1",
        input: [3, 231, 231],
        params: 145_920_872,
        macs: 2_801_403_904,
        published: Fact::Known(&[Published::test_top5(
            14.18,
            "7 fast networks, in the contest",
            "image-net.org, ILSVRC-2013 results",
        )]),
        layers: fast,
        ..BASE
    },
    Network {
        name: "overfeat_accurate",
        aliases: &["overfeat"],
        section: "Table 3",
        input: [3, 221, 221],
        params: 144_656_488,
        macs: 5_355_446_784,
        published: Fact::Known(&[
            Published::val(35.74, 14.18, "1 network, 4 scales, fine stride", "Table 2"),
            Published::val(33.96, 13.24, "7 networks, 4 scales, fine stride", "Table 2"),
            Published::test_top5(13.6, "7 networks, after the contest", "VGG paper, Table 7"),
        ]),
        layers: accurate,
        ..BASE
    },
];

const BASE: Network = Network {
    family: "OverFeat",
    year: 2013,
    place: Fact::Known("first in localisation, ILSVRC-2013"),
    paper: Paper {
        authors: "Sermanet, Eigen, Zhang, Mathieu, Fergus & LeCun",
        title: "OverFeat: Integrated Recognition, Localization and Detection using Convolutional Networks",
        venue: "ICLR 2014",
        arxiv: Some("1312.6229"),
    },
    input: [3, 231, 231],
    init: "N(0, 0.01) (section 3.1), biases 0",
    preprocessing: Preprocessing {
        resize: 256,
        resample: Resample::Bilinear,
        colours: Colours::Rgb,
        mean: [118.380_948 / 255.0; 3],
        std: [61.896_913 / 255.0; 3],
        source: "the authors' code: one mean and one deviation for all pixels",
    },
    ..Network::IMAGENET
};
