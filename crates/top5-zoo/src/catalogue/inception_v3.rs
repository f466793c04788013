//! Inception-v3: names, counts and published errors. The layers are in `pages/inception_v3.rs`.

use super::{SHIPPED, TIMM, UNNAMED_INIT};
use crate::pages::inception_v3::inception_v3;
use crate::registry::{Fact, Network, Paper, Preprocessing, Published, Resample};

pub(crate) static NETWORKS: &[Network] = &[Network {
    name: "inception_v3",
    aliases: &["tv_inception_v3", "tf_inception_v3", "gluon_inception_v3", "adv_inception_v3"],
    family: "Inception",
    year: 2015,
    place: Fact::Missing("published after ILSVRC-2015 closed"),
    paper: Paper {
        authors: "Szegedy, Vanhoucke, Ioffe, Shlens & Wojna",
        title: "Rethinking the Inception Architecture for Computer Vision",
        venue: "CVPR 2016",
        arxiv: Some("1512.00567"),
    },
    section: "Table 1, Figures 5, 6, 7 and 10",
    input: [3, 299, 299],
    params: 27_161_264,
    macs: 5_713_216_096,
    published: Fact::Known(&[
        Published::val(21.2, 5.6, "1 network, 1 crop", "Table 3"),
        Published::val(19.47, 4.48, "1 network, 12 crops", "Table 4"),
        Published::val(18.77, 4.2, "1 network, 144 crops", "Table 4"),
        Published::val(17.2, 3.46, "4 networks, 144 crops", "Table 5 and its footnote"),
        Published::test_top5(3.58, "4 networks, 144 crops", "Table 5"),
        Published::val(22.53, 6.53, SHIPPED, TIMM),
        Published::val(21.20, 5.63, "1 crop, gluon's weights", TIMM),
    ]),
    init: UNNAMED_INIT,
    preprocessing: Preprocessing {
        resample: Resample::Bilinear,
        source: "torchvision, whose `transform_input` rescales to this",
        ..Preprocessing::inception(342)
    },
    layers: inception_v3,
    ..Network::IMAGENET
}];
