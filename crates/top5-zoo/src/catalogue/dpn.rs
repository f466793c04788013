//! DPN: names, counts and published errors. The layers are in `pages/dpn.rs`.

use super::REPOSITORY;
use crate::pages::dpn::{DPN_68, DPN_92, DPN_98, DPN_107, DPN_131, dpn};
use crate::registry::{Colours, Fact, Network, Paper, Preprocessing, Published, Resample};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "dpn68",
        section: "the authors' repository, DPN-68",
        params: 12_611_602,
        macs: 2_326_163_456,
        published: Fact::Known(&[
            Published::val(23.57, 6.93, ONE, REPOSITORY),
            Published::val(22.15, 5.90, LARGE, REPOSITORY),
        ]),
        layers: |x, s| dpn(x, DPN_68, s),
        ..BASE
    },
    Network {
        name: "dpn92",
        section: "Table 1, DPN-92 (32×3d)",
        params: 37_668_392,
        macs: 6_501_684_224,
        published: Fact::Known(&[
            Published::val(20.73, 5.37, ONE, REPOSITORY),
            Published::val(19.34, 4.66, LARGE, REPOSITORY),
        ]),
        layers: |x, s| dpn(x, DPN_92, s),
        ..BASE
    },
    Network {
        name: "dpn98",
        section: "Table 1, DPN-98 (40×4d)",
        params: 61_570_728,
        macs: 11_671_217_152,
        published: Fact::Known(&[
            Published::val(20.15, 5.15, ONE, REPOSITORY),
            Published::val(18.94, 4.44, LARGE, REPOSITORY),
        ]),
        layers: |x, s| dpn(x, DPN_98, s),
        ..BASE
    },
    Network {
        name: "dpn107",
        section: "the authors' repository, DPN-107",
        params: 86_917_800,
        macs: 18_298_764_288,
        published: Fact::Known(&[Published::val(
            19.75,
            4.94,
            "1 crop, trained on 5,000 more classes first",
            REPOSITORY,
        )]),
        layers: |x, s| dpn(x, DPN_107, s),
        ..BASE
    },
    Network {
        name: "dpn131",
        section: "Table 2, DPN-131 (40×4d)",
        params: 79_254_504,
        macs: 16_013_648_896,
        published: Fact::Known(&[
            Published::val(19.93, 5.12, ONE, REPOSITORY),
            Published::val(18.62, 4.23, LARGE, REPOSITORY),
        ]),
        layers: |x, s| dpn(x, DPN_131, s),
        ..BASE
    },
];

const ONE: &str = "1 crop";
const LARGE: &str = "1 crop of 320×320";

/// The authors scale bytes by 0.0167.
const STD: f32 = 1.0 / (0.0167 * 255.0);

const BASE: Network = Network {
    family: "DPN",
    year: 2017,
    place: Fact::Known("first in object localisation, third in classification, ILSVRC-2017"),
    paper: Paper {
        authors: "Chen, Li, Xiao, Jin, Yan & Feng",
        title: "Dual Path Networks",
        venue: "NIPS 2017",
        arxiv: Some("1707.01629"),
    },
    init: "the paper names none; PyTorch's default, as timm: uniform in ±1/√fan_in",
    preprocessing: Preprocessing {
        resize: 256,
        resample: Resample::Bicubic,
        colours: Colours::Rgb,
        mean: [124.0 / 255.0, 117.0 / 255.0, 104.0 / 255.0],
        std: [STD; 3],
        source: REPOSITORY,
    },
    ..Network::IMAGENET
};
