//! Inception-v4 and Inception-ResNet: names, counts and published errors. The layers are in `pages/inception_v4.rs`.

use super::{TIMM, UNNAMED_INIT};
use crate::pages::inception_v4::{inception_resnet_v2, inception_v4};
use crate::registry::{Fact, Network, Paper, Preprocessing, Published};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "inception_v4",
        section: "Figures 3 to 9",
        params: 42_679_816,
        macs: 12_253_974_624,
        published: Fact::Known(&[
            Published::val(19.8, 4.8, "1 crop", "TF-slim's README"),
            Published::val(19.86, 5.02, "1 crop, TF-slim's weights", TIMM),
            Published::val(16.5, 3.1, WITH_THE_OTHER, SUBSET),
            Published::test_top5(3.08, WITH_THE_OTHER, "section 5"),
        ]),
        layers: inception_v4,
        ..BASE
    },
    Network {
        name: "inception_resnet_v2",
        aliases: &["ens_adv_inception_resnet_v2"],
        section: "Figures 15 to 19, as released in TF-slim",
        params: 55_843_464,
        macs: 13_155_794_016,
        published: Fact::Known(&[
            Published::val(19.6, 4.7, "1 crop", "TF-slim's README"),
            Published::val(19.55, 4.69, "1 crop, TF-slim's weights", TIMM),
            Published::val(16.5, 3.1, WITH_THE_OTHER, SUBSET),
            Published::test_top5(3.08, WITH_THE_OTHER, "section 5"),
        ]),
        layers: inception_resnet_v2,
        ..BASE
    },
];

const WITH_THE_OTHER: &str = "1 Inception-v4 and 3 Inception-ResNet-v2, 144 crops";

const SUBSET: &str =
    "section 5; about 1,700 blacklisted images left out, which flatters by some 0.3 and 0.15";

const BASE: Network = Network {
    family: "Inception",
    year: 2016,
    place: Fact::Missing("published after ILSVRC-2015"),
    paper: Paper {
        authors: "Szegedy, Ioffe, Vanhoucke & Alemi",
        title: "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
        venue: "AAAI 2017",
        arxiv: Some("1602.07261"),
    },
    input: [3, 299, 299],
    init: UNNAMED_INIT,
    preprocessing: Preprocessing::inception(341),
    ..Network::IMAGENET
};
