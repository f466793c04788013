//! OverFeat. Sermanet, Eigen, Zhang, Mathieu, Fergus & LeCun, "OverFeat: Integrated Recognition, Localization and
//! Detection using Convolutional Networks", ICLR 2014, arXiv:1312.6229, Tables 1 and 3; paddings and sizes are those
//! of the authors' released code.
//! ILSVRC-2013: first in localisation.
//! Departures: ReLU is max(0, x), where the released code also sets x ≤ 1e-6 to zero.

use crate::registry::{
    Colours, Fact, Network, Paper, Preprocessing, Published, Resample, Settings,
};
use top5_graph::{Graph, GraphError, Init, Var, Window, k, net};

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
        build: fast,
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
        build: accurate,
        ..BASE
    },
];

const BASE: Network = Network {
    name: "",
    aliases: &[],
    family: "OverFeat",
    year: 2013,
    place: Fact::Known("first in localisation, ILSVRC-2013"),
    paper: Paper {
        authors: "Sermanet, Eigen, Zhang, Mathieu, Fergus & LeCun",
        title: "OverFeat: Integrated Recognition, Localization and Detection using Convolutional Networks",
        venue: "ICLR 2014",
        arxiv: Some("1312.6229"),
    },
    section: "",
    input: [3, 231, 231],
    classes: 1000,
    params: 0,
    macs: 0,
    published: Fact::Missing(""),
    init: "N(0, 0.01) (section 3.1), biases 0",
    preprocessing: Preprocessing {
        resize: 256,
        resample: Resample::Bilinear,
        colours: Colours::Rgb,
        mean: [118.380_948 / 255.0; 3],
        std: [61.896_913 / 255.0; 3],
        source: "the authors' code: one mean and one deviation for all pixels",
    },
    build: fast,
};

fn fast(settings: &Settings) -> Result<Graph, GraphError> {
    net("overfeat_fast", settings.input, |x| {
        let x = conv(x, 96, k(11).stride(4)).max_pool(k(2).stride(2));
        let x = conv(x, 256, k(5)).max_pool(k(2).stride(2));
        let x = conv(x, 512, k(3).pad(1));
        let x = conv(x, 1024, k(3).pad(1));
        let x = conv(x, 1024, k(3).pad(1)).max_pool(k(2).stride(2));
        let x = hidden(x.adaptive_avg_pool([6, 6]).flatten(), 3072);
        let x = hidden(x, 4096);
        x.linear(settings.classes).init(Init::Normal(0.01), 0.0)
    })
}

fn accurate(settings: &Settings) -> Result<Graph, GraphError> {
    net("overfeat_accurate", settings.input, |x| {
        let x = conv(x, 96, k(7).stride(2)).max_pool(k(3).stride(3));
        let x = conv(x, 256, k(7)).max_pool(k(2).stride(2));
        let x = conv(x, 512, k(3).pad(1));
        let x = conv(x, 512, k(3).pad(1));
        let x = conv(x, 1024, k(3).pad(1));
        let x = conv(x, 1024, k(3).pad(1)).max_pool(k(3).stride(3));
        let x = hidden(x.adaptive_avg_pool([5, 5]).flatten(), 4096);
        let x = hidden(x, 4096);
        x.linear(settings.classes).init(Init::Normal(0.01), 0.0)
    })
}

fn conv(x: Var<'_>, filters: usize, window: Window) -> Var<'_> {
    x.conv(filters, window).init(Init::Normal(0.01), 0.0).relu()
}

fn hidden(x: Var<'_>, features: usize) -> Var<'_> {
    x.linear(features).init(Init::Normal(0.01), 0.0).relu().dropout(0.5)
}
