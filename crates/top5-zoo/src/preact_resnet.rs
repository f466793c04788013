//! ResNets with the activation in front. He, Zhang, Ren & Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016,
//! arXiv:1603.05027, Figure 4(e) and Table 5. Not in a contest; ResNet-200 is one of the five networks of the winner of
//! ILSVRC-2016.
//! Departures: layers and names are timm's (`resnetv2`). The first normalisation follows the max-pooling, where the
//! paper's appendix has it right after the first convolution; the stride is on the 3×3; the classifier is a 1×1
//! convolution. `resnetv2_50` has a depth that the paper does not.

use crate::registry::{Fact, Network, Paper, Preprocessing, Published, Settings};
use crate::resnet::{blocks, he};
use top5_graph::ops::Conv2d;
use top5_graph::{Graph, GraphError, Init, Var, k, net};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "resnetv2_50",
        aliases: &["preact_resnet50"],
        section: "Figure 4(e), with the depths of ResNet-50",
        params: 25_549_352,
        macs: 4_089_184_256,
        published: Fact::Missing("the paper has no network of this depth"),
        build: |s| preact("resnetv2_50", [3, 4, 6, 3], s),
        ..BASE
    },
    Network {
        name: "preact_resnet200",
        aliases: &["resnetv2_200"],
        section: "Table 5, ResNet-200",
        params: 64_666_152,
        macs: 15_007_481_856,
        published: Fact::Known(&[
            Published::val(20.7, 5.3, "1 crop of 320×320", "Table 5"),
            Published::val(20.1, 4.8, STRETCHED, "Table 5"),
            Published::val(21.66, 5.79, "1 crop", "quoted in PyramidNet's README"),
        ]),
        build: |s| preact("preact_resnet200", [3, 24, 36, 3], s),
        ..BASE
    },
];

const STRETCHED: &str = "1 crop of 320×320, trained with crops of many aspect ratios";

const BASE: Network = Network {
    name: "",
    aliases: &[],
    family: "ResNet-v2",
    year: 2016,
    place: Fact::Missing("published after ILSVRC-2015"),
    paper: Paper {
        authors: "He, Zhang, Ren & Sun",
        title: "Identity Mappings in Deep Residual Networks",
        venue: "ECCV 2016",
        arxiv: Some("1603.05027"),
    },
    section: "",
    input: [3, 224, 224],
    classes: 1000,
    params: 0,
    macs: 0,
    published: Fact::Missing(""),
    init: "He et al.'s, as the paper: N(0, 2/fan), with timm's fan of the outputs; N(0, 0.01) for the classifier",
    preprocessing: Preprocessing::torchvision(256),
    build: |s| preact("", [0; 4], s),
};

fn preact(name: &str, depths: [usize; 4], s: &Settings) -> Result<Graph, GraphError> {
    net(name, s.input, |x| {
        let x = he(x, Conv2d::new(64, k(7).stride(2).pad(3))).named("stem.conv");
        let mut x = x.max_pool(k(3).stride(2).pad(1)).named("stem.pool");
        for (stage, depth) in depths.into_iter().enumerate() {
            let _stage = x.scope(format!("stages.{stage}.blocks"));
            let stride = if stage == 0 { 1 } else { 2 };
            x = blocks(x, depth, stride, |x, stride| unit(x, 64 << stage, stride));
        }
        let x = x.batch_norm().named("norm").relu().global_avg_pool();
        x.conv(s.classes, 1).named("head.fc").init(Init::Normal(0.01), 0.0).flatten()
    })
}

/// Figure 4(e) with three convolutions: normalisation and ReLU before each. Nothing follows the sum. A projection reads
/// what the branch reads, after the first ReLU.
fn unit(x: Var<'_>, width: usize, stride: usize) -> Var<'_> {
    let out = 4 * width;
    let y = x.batch_norm().named("norm1").relu();
    let shortcut = if x.channels() == out && stride == 1 {
        x
    } else {
        he(y, Conv2d::new(out, k(1).stride(stride))).named("downsample.conv")
    };
    let y = he(y, Conv2d::new(width, 1)).named("conv1").batch_norm().named("norm2").relu();
    let y = he(y, Conv2d::new(width, k(3).stride(stride).pad(1))).named("conv2");
    let y = y.batch_norm().named("norm3").relu();
    he(y, Conv2d::new(out, 1)).named("conv3") + shortcut
}
