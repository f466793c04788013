//! AlexNet. Krizhevsky, Sutskever & Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
//! NIPS 2012, section 3.5 and Figure 2. ILSVRC-2012: first in classification.
//! Departures: the input is 227×227, since 55×55 maps do not come from the printed 224. `alexnet_owt` is the network
//! of Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997, as torchvision
//! ships it; `alexnet_28` is the article's, for digits; `alexnet_caffe` is Caffe's replication, which normalises
//! otherwise.

use crate::registry::{Fact, Network, Paper, Preprocessing, Published, Settings};
use top5_graph::ops::{AlphaOver, Conv2d};
use top5_graph::{Graph, GraphError, Init, Var, k, net};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "alexnet",
        aliases: &["alexnet_2012"],
        family: "AlexNet",
        year: 2012,
        place: Fact::Known("first in classification, ILSVRC-2012"),
        paper: PAPER,
        section: "section 3.5, Figure 2",
        input: [3, 227, 227],
        classes: 1000,
        params: 60_965_224,
        macs: 724_406_816,
        published: Fact::Known(&[
            Published::val(40.7, 18.2, "1 network, 10 crops", "Table 2"),
            Published::val(38.1, 16.4, "5 networks, 10 crops", "Table 2"),
            Published::test_top5(16.4, "5 networks, 10 crops", "Table 2"),
            Published::val(39.0, 16.6, "1 network, 10 crops, pre-trained on other data", "Table 2"),
            Published::val(36.7, 15.4, "7 networks, two of them pre-trained", "Table 2"),
            Published::test_top5(15.3, "7 networks, two of them pre-trained", "Table 2"),
        ]),
        init: "N(0, 0.01); biases 1 in conv2, conv4, conv5 and the hidden linear layers, else 0 (section 5)",
        preprocessing: Preprocessing::caffe(256),
        build: alexnet,
    },
    Network {
        name: "alexnet_caffe",
        aliases: &["bvlc_alexnet"],
        family: "AlexNet",
        year: 2012,
        place: Fact::Missing("a replication, not entered in the contest"),
        paper: PAPER,
        section: "Caffe's bvlc_alexnet",
        input: [3, 227, 227],
        classes: 1000,
        params: 60_965_224,
        macs: 724_406_816,
        published: Fact::Missing("Caffe's model zoo gives its accuracy only as of training"),
        init: "N(0, 0.01), 0.005 in fc6 and fc7; biases 0.1 in conv2, conv4, conv5, fc6 and fc7, else 0",
        preprocessing: Preprocessing::caffe(256),
        build: alexnet_caffe,
    },
    Network {
        name: "alexnet_owt",
        aliases: &["tv_alexnet"],
        family: "AlexNet",
        year: 2014,
        place: Fact::Missing("not entered in the contest"),
        paper: Paper {
            authors: "Krizhevsky",
            title: "One weird trick for parallelizing convolutional neural networks",
            venue: "arXiv, 2014",
            arxiv: Some("1404.5997"),
        },
        section: "torchvision's alexnet",
        input: [3, 224, 224],
        classes: 1000,
        params: 61_100_840,
        macs: 714_188_480,
        published: Fact::Known(&[
            Published::val(
                43.48,
                20.93,
                "1 crop, torchvision's weights",
                "torchvision's documentation",
            ),
            Published::val(39.74, 17.47, "1 crop, retrained", "pytorchcv's README"),
        ]),
        init: "PyTorch's default: uniform in ±1/√fan_in",
        preprocessing: Preprocessing::torchvision(256),
        build: alexnet_owt,
    },
    Network {
        name: "alexnet_28",
        aliases: &["alexnet_mnist"],
        family: "AlexNet",
        year: 2012,
        place: Fact::Missing("the article's variant for digits"),
        paper: PAPER,
        section: "the article's code",
        input: [1, 28, 28],
        classes: 10,
        params: 24_351_434,
        macs: 125_191_680,
        published: Fact::Missing("the article gives no error for its variant"),
        init: "PyTorch's default, as in the article's code: uniform in ±1/√fan_in",
        preprocessing: Preprocessing::mnist(28),
        build: alexnet_28,
    },
];

pub(crate) const PAPER: Paper = Paper {
    authors: "Krizhevsky, Sutskever & Hinton",
    title: "ImageNet Classification with Deep Convolutional Neural Networks",
    venue: "NIPS 2012",
    arxiv: None,
};

/// Response normalisation with the constants of section 3.3, where α multiplies the sum of the squares.
pub(crate) fn normalise(x: Var<'_>) -> Var<'_> {
    x.lrn(5, 1e-4, 0.75, 2.0, AlphaOver::Sum)
}

fn alexnet(settings: &Settings) -> Result<Graph, GraphError> {
    two_gpus("alexnet", normalise, [0.01, 0.01], 1.0, settings)
}

/// As Caffe's replication has it: α multiplies the mean of the squares, which is added to 1.
fn alexnet_caffe(settings: &Settings) -> Result<Graph, GraphError> {
    two_gpus("alexnet_caffe", normalise_by_mean, [0.01, 0.005], 0.1, settings)
}

fn normalise_by_mean(x: Var<'_>) -> Var<'_> {
    x.lrn(5, 1e-4, 0.75, 1.0, AlphaOver::Mean)
}

/// Figure 2. Weights start with the first deviation, those of the hidden linear layers with the second; `bias` is where
/// the biases start that are not zero.
fn two_gpus(
    name: &str,
    normalise: for<'g> fn(Var<'g>) -> Var<'g>,
    [deviation, hidden]: [f32; 2],
    bias: f32,
    settings: &Settings,
) -> Result<Graph, GraphError> {
    let normal = || Init::Normal(deviation);
    let hidden = || Init::Normal(hidden);
    let grouped = |filters, window| Conv2d::new(filters, window).groups(2);
    net(name, settings.input, |x| {
        let x = x.conv(96, k(11).stride(4)).init(normal(), 0.0).relu();
        let x = normalise(x).max_pool(k(3).stride(2));
        let x = x.apply(grouped(256, k(5).pad(2))).init(normal(), bias).relu();
        let x = normalise(x).max_pool(k(3).stride(2));
        let x = x.conv(384, k(3).pad(1)).init(normal(), 0.0).relu();
        let x = x.apply(grouped(384, k(3).pad(1))).init(normal(), bias).relu();
        let x = x.apply(grouped(256, k(3).pad(1))).init(normal(), bias).relu();
        let x = x.max_pool(k(3).stride(2)).adaptive_avg_pool([6, 6]).flatten();
        let x = x.linear(4096).named("fc6").init(hidden(), bias).relu().dropout(0.5);
        let x = x.linear(4096).named("fc7").init(hidden(), bias).relu().dropout(0.5);
        x.linear(settings.classes).named("fc8").init(normal(), 0.0)
    })
}

fn alexnet_owt(settings: &Settings) -> Result<Graph, GraphError> {
    net("alexnet_owt", settings.input, |mut x| {
        {
            let _features = x.sequential("features");
            x = x.conv(64, k(11).stride(4).pad(2)).relu().max_pool(k(3).stride(2));
            x = x.conv(192, k(5).pad(2)).relu().max_pool(k(3).stride(2));
            x = x.conv(384, k(3).pad(1)).relu();
            x = x.conv(256, k(3).pad(1)).relu();
            x = x.conv(256, k(3).pad(1)).relu().max_pool(k(3).stride(2));
        }
        x = x.adaptive_avg_pool([6, 6]).flatten();
        classifier(x, settings.classes)
    })
}

fn alexnet_28(settings: &Settings) -> Result<Graph, GraphError> {
    net("alexnet_28", settings.input, |mut x| {
        {
            let _features = x.sequential("features");
            x = x.conv(96, k(11).pad(1)).relu().max_pool(k(2).stride(2));
            x = x.conv(256, k(3).pad(1)).relu().max_pool(k(2).stride(2));
            x = x.conv(384, k(3).pad(1)).relu();
            x = x.conv(384, k(3).pad(1)).relu();
            x = x.conv(256, k(3).pad(1)).relu().max_pool(k(2).stride(2));
        }
        classifier(x.flatten(), settings.classes)
    })
}

fn classifier(x: Var<'_>, classes: usize) -> Var<'_> {
    let _classifier = x.sequential("classifier");
    let x = x.dropout(0.5).linear(4096).relu();
    let x = x.dropout(0.5).linear(4096).relu();
    x.linear(classes)
}
