//! Wide residual networks. Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016, arXiv:1605.07146, section 3.4.
//! Not in a contest; one of the five networks of the winner of ILSVRC-2016.
//! Departures: none in the bottleneck networks, which have torchvision's names. `wrn_68_2` is a reconstruction: the
//! winner's slides name a WRN-68-2 (elsewhere WRN-68-3) and no layers; 68 layers are the blocks of ResNet-101 with two
//! 3×3 in each, here twice as wide.

use crate::registry::{Fact, Network, Paper, Preprocessing, Published};
use crate::resnet::{Bottleneck, HE, basic, resnet, unit};
use top5_graph::Var;

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "wide_resnet50_2",
        aliases: &["wrn_50_2", "wrn_50_2_bottleneck"],
        params: 68_883_240,
        macs: 11_398_021_120,
        published: Fact::Known(&[
            Published::val(21.9, 5.79, "1 crop", "the authors' repository"),
            Published::val(21.53, 5.91, "1 crop, torchvision's weights", TORCHVISION),
        ]),
        build: |s| resnet("wide_resnet50_2", [3, 4, 6, 3], wide_bottleneck, s),
        ..BASE
    },
    Network {
        name: "wide_resnet101_2",
        aliases: &["wrn_101_2"],
        section: "torchvision's, after section 3.4: twice as wide a 3×3 in each bottleneck",
        params: 126_886_696,
        macs: 22_753_050_624,
        published: Fact::Known(&[Published::val(
            21.15,
            5.72,
            "1 crop, torchvision's weights",
            TORCHVISION,
        )]),
        build: |s| resnet("wide_resnet101_2", [3, 4, 23, 3], wide_bottleneck, s),
        ..BASE
    },
    Network {
        name: "wrn_68_2",
        section: "a reconstruction: ResNet-101's blocks with two 3×3 each, twice as wide",
        params: 166_286_888,
        macs: 29_816_807_424,
        published: Fact::Missing("only its share in the ensemble trimps_soushen was published"),
        build: |s| resnet("wrn_68_2", [3, 4, 23, 3], wide_basic, s),
        ..BASE
    },
];

const TORCHVISION: &str = "torchvision's documentation";

const BASE: Network = Network {
    name: "",
    aliases: &[],
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
    input: [3, 224, 224],
    classes: 1000,
    params: 0,
    macs: 0,
    published: Fact::Missing(""),
    init: HE,
    preprocessing: Preprocessing::torchvision(256),
    build: |s| resnet("", [0; 4], wide_basic, s),
};

fn wide_bottleneck<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    let widths = [2 * width, 2 * width, 4 * width];
    Bottleneck { widths, ..Bottleneck::new(width, stride) }.branch(x)
}

fn wide_basic<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    basic(x, 2 * width, stride, unit)
}
