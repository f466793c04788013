//! GoogLeNet. Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke & Rabinovich, "Going Deeper with
//! Convolutions", CVPR 2015, arXiv:1409.4842, Table 1 and Figure 3. ILSVRC-2014: first in classification.
//! Departures: none in `googlenet`, whose response normalisation has AlexNet's constants in Caffe's convention.
//! `googlenet_bn` is torchvision's: batch normalisation, 3×3 where the paper has 5×5, a 2×2 fourth pooling; its
//! auxiliary heads pool as the paper says (5×5, stride 3), torchvision's adaptively to the same 4×4.
//! `googlenet_cifar` is the article's: two 3×3 for the 5×5; `BatchNorm2d(n5x5, n5x5)`, which sets eps to the number of
//! channels, is taken for the slip it is (eps 1e-5). Its stem is that of the code the article took it from, three
//! convolutions and a pooling, of which the article prints one convolution.

use crate::bn_inception::{Unit, unit};
use crate::registry::{Fact, Network, Paper, Preprocessing, Published, Resample, Settings};
use top5_graph::ops::AlphaOver;
use top5_graph::{Graph, GraphError, Init, Var, Window, concat, k, net};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "googlenet",
        aliases: &["inception_v1", "bvlc_googlenet"],
        family: "GoogLeNet",
        year: 2014,
        place: Fact::Known("first in classification, ILSVRC-2014"),
        paper: PAPER,
        section: "Table 1",
        input: [3, 224, 224],
        classes: 1000,
        params: 13_378_280,
        macs: 1_582_671_872,
        published: Fact::Known(&[
            Published::val_top5(10.07, "1 network, 1 crop", "Table 3"),
            Published::val_top5(9.15, "1 network, 10 crops", "Table 3"),
            Published::val_top5(7.89, "1 network, 144 crops", "Table 3"),
            Published::val_top5(8.09, "7 networks, 1 crop", "Table 3"),
            Published::val_top5(7.62, "7 networks, 10 crops", "Table 3"),
            Published::val_top5(6.67, "7 networks, 144 crops", "Table 3"),
            Published::test_top5(6.67, "7 networks, 144 crops, in the contest", "Table 2"),
            Published::val(31.3, 11.1, "1 crop, BVLC's weights", "onnx/models README"),
        ]),
        init: "Glorot & Bengio's, as in BVLC's replication (the paper names none), with biases 0.2, for convolutions; PyTorch's default for linear layers",
        preprocessing: Preprocessing::caffe(256),
        build: googlenet,
    },
    Network {
        name: "googlenet_bn",
        aliases: &["tv_googlenet"],
        family: "GoogLeNet",
        year: 2014,
        place: Fact::Missing("torchvision's variant"),
        paper: PAPER,
        section: "torchvision's googlenet",
        input: [3, 224, 224],
        classes: 1000,
        params: 13_004_888,
        macs: 1_498_376_192,
        published: Fact::Known(&[Published::val(
            30.22,
            10.47,
            "1 crop, torchvision's weights",
            "torchvision's documentation",
        )]),
        init: "PyTorch's default: uniform in ±1/√fan_in",
        preprocessing: Preprocessing {
            resample: Resample::Bilinear,
            source: "torchvision, whose `transform_input` rescales to this",
            ..Preprocessing::inception(256)
        },
        build: googlenet_bn,
    },
    Network {
        name: "googlenet_cifar",
        aliases: &[],
        family: "GoogLeNet",
        year: 2014,
        place: Fact::Missing("the article's variant for CIFAR-100"),
        paper: PAPER,
        section: "the article's code",
        input: [3, 32, 32],
        classes: 100,
        params: 6_402_564,
        macs: 531_976_192,
        published: Fact::Missing("the article gives no error for its variant"),
        init: "PyTorch's default, as in the article's code: uniform in ±1/√fan_in",
        preprocessing: Preprocessing::cifar(),
        build: googlenet_cifar,
    },
];

const PAPER: Paper = Paper {
    authors: "Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke & Rabinovich",
    title: "Going Deeper with Convolutions",
    venue: "CVPR 2015",
    arxiv: Some("1409.4842"),
};

/// Table 1: #1×1, #3×3 reduce, #3×3, #5×5 reduce, #5×5, pool proj.
const TABLE_1: [(&str, [usize; 6]); 9] = [
    ("3a", [64, 96, 128, 16, 32, 32]),
    ("3b", [128, 128, 192, 32, 96, 64]),
    ("4a", [192, 96, 208, 16, 48, 64]),
    ("4b", [160, 112, 224, 24, 64, 64]),
    ("4c", [128, 128, 256, 24, 64, 64]),
    ("4d", [112, 144, 288, 32, 64, 64]),
    ("4e", [256, 160, 320, 32, 128, 128]),
    ("5a", [256, 160, 320, 32, 128, 128]),
    ("5b", [384, 192, 384, 48, 128, 128]),
];

fn googlenet(settings: &Settings) -> Result<Graph, GraphError> {
    let pool = k(3).stride(2).ceil();
    net("googlenet", settings.input, |mut x| {
        x = normalise(biased(x, "conv1", 64, k(7).stride(2).pad(3)).max_pool(pool));
        x = biased(x, "conv2", 64, k(1));
        x = normalise(biased(x, "conv3", 192, k(3).pad(1))).max_pool(pool);
        modules(x, k(5).pad(2), biased, pool, settings.classes)
    })
}

fn googlenet_bn(settings: &Settings) -> Result<Graph, GraphError> {
    let pool = k(3).stride(2).ceil();
    net("googlenet_bn", settings.input, |mut x| {
        x = unit(x, "conv1", 64, k(7).stride(2).pad(3)).max_pool(pool);
        x = unit(x, "conv2", 64, k(1));
        x = unit(x, "conv3", 192, k(3).pad(1)).max_pool(pool);
        modules(x, k(3).pad(1), unit, k(2).stride(2).ceil(), settings.classes)
    })
}

/// Modules 3a to 5b, the auxiliary heads and the classifier. `five` is the window of Table 1's "5×5".
fn modules(mut x: Var<'_>, five: Window, unit: Unit, last_pool: Window, classes: usize) -> Var<'_> {
    for (name, widths) in TABLE_1 {
        x = inception(x, name, widths, five, unit);
        match name {
            "3b" => x = x.max_pool(k(3).stride(2).ceil()),
            "4a" => auxiliary(x, "aux1", unit, classes),
            "4d" => auxiliary(x, "aux2", unit, classes),
            "4e" => x = x.max_pool(last_pool),
            _ => {}
        }
    }
    x.global_avg_pool().dropout(0.4).linear(classes).named("fc")
}

/// Figure 2(b), one row of Table 1.
fn inception<'g>(
    x: Var<'g>,
    name: &str,
    [n1, r3, n3, r5, n5, np]: [usize; 6],
    five: Window,
    unit: Unit,
) -> Var<'g> {
    let _module = x.scope(format!("inception{name}"));
    let a = unit(x, "branch1", n1, k(1));
    let b = unit(unit(x, "branch2.0", r3, k(1)), "branch2.1", n3, k(3).pad(1));
    let c = unit(unit(x, "branch3.0", r5, k(1)), "branch3.1", n5, five);
    let d = unit(x.max_pool(k(3).pad(1)).named("branch4.0"), "branch4.1", np, k(1));
    concat([a, b, c, d])
}

/// The extra classifier of section 5, whose loss counts 0.3 times.
fn auxiliary(x: Var<'_>, name: &str, unit: Unit, classes: usize) {
    let _head = x.scope(name);
    let x = unit(x.avg_pool(k(5).stride(3)), "conv", 128, k(1));
    let x = x.adaptive_avg_pool([4, 4]).flatten();
    let x = x.linear(1024).named("fc1").relu().dropout(0.7);
    x.linear(classes).named("fc2").output(name, 0.3);
}

fn biased<'g>(x: Var<'g>, name: &str, filters: usize, window: Window) -> Var<'g> {
    let _unit = x.scope(name);
    let positions: usize = window.kernel.iter().product();
    let init = Init::xavier_uniform(x.channels() * positions, filters * positions);
    x.conv(filters, window).init(init, 0.2).named("conv").relu()
}

fn normalise(x: Var<'_>) -> Var<'_> {
    x.lrn(5, 1e-4, 0.75, 1.0, AlphaOver::Mean)
}

fn googlenet_cifar(settings: &Settings) -> Result<Graph, GraphError> {
    net("googlenet_cifar", settings.input, |mut x| {
        {
            let _prelayer = x.sequential("prelayer");
            x = x.conv_bn(64, k(3).pad(1)).relu();
            x = x.conv_bn(64, k(3).pad(1)).relu();
            x = x.conv_bn(192, k(3).pad(1)).relu();
        }
        x = x.max_pool(k(3).stride(2).pad(1));
        for (name, widths) in TABLE_1 {
            x = inception_cifar(x, name, widths);
            if matches!(name, "3b" | "4e") {
                x = x.max_pool(k(3).stride(2).pad(1));
            }
        }
        x.global_avg_pool().dropout(0.4).linear(settings.classes).named("linear")
    })
}

/// The article's module `3a` is called `a3`; its convolutions have biases although normalisation follows.
fn inception_cifar<'g>(x: Var<'g>, name: &str, [n1, r3, n3, r5, n5, np]: [usize; 6]) -> Var<'g> {
    let (stage, letter) = name.split_at(1);
    let _module = x.scope(format!("{letter}{stage}"));
    let unit = |x: Var<'g>, filters, window: Window| x.conv(filters, window).batch_norm().relu();
    let branch = |name: &str, layers: &[(usize, Window)]| {
        let _branch = x.sequential(name);
        let x = if name == "b4" { x.max_pool(k(3).pad(1)) } else { x };
        layers.iter().fold(x, |x, &(filters, window)| unit(x, filters, window))
    };
    concat([
        branch("b1", &[(n1, k(1))]),
        branch("b2", &[(r3, k(1)), (n3, k(3).pad(1))]),
        branch("b3", &[(r5, k(1)), (n5, k(3).pad(1)), (n5, k(3).pad(1))]),
        branch("b4", &[(np, k(1))]),
    ])
}
