//! Dual path networks. Chen, Li, Xiao, Jin, Yan & Feng, "Dual Path Networks", NIPS 2017, arXiv:1707.01629, Table 1 and
//! Figure 2(d). ILSVRC-2017: first in object localisation. Of the article's further reading.
//! Departures: none. Layers and names are timm's, whose weights are the authors'; the classifier is a 1×1 convolution.

use crate::registry::{
    Colours, Fact, Network, Paper, Preprocessing, Published, Resample, Settings,
};
use top5_graph::ops::{BatchNorm2d, Conv2d};
use top5_graph::{Graph, GraphError, Var, Window, concat, k, net};

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
        build: |s| {
            let stages = [(3, 16, 64), (4, 32, 128), (12, 32, 256), (3, 64, 512)];
            dpn("dpn68", (10, k(3).stride(2).pad(1)), [128, 32], stages, s)
        },
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
        build: |s| {
            let stages = [(3, 16, 256), (4, 32, 512), (20, 24, 1024), (3, 128, 2048)];
            dpn("dpn92", (64, k(7).stride(2).pad(3)), [96, 32], stages, s)
        },
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
        build: |s| {
            let stages = [(3, 16, 256), (6, 32, 512), (20, 32, 1024), (3, 128, 2048)];
            dpn("dpn98", (96, k(7).stride(2).pad(3)), [160, 40], stages, s)
        },
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
        build: |s| {
            let stages = [(4, 20, 256), (8, 64, 512), (20, 64, 1024), (3, 128, 2048)];
            dpn("dpn107", (128, k(7).stride(2).pad(3)), [200, 50], stages, s)
        },
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
        build: |s| {
            let stages = [(4, 16, 256), (8, 32, 512), (28, 32, 1024), (3, 128, 2048)];
            dpn("dpn131", (128, k(7).stride(2).pad(3)), [160, 40], stages, s)
        },
        ..BASE
    },
];

const ONE: &str = "1 crop";
const LARGE: &str = "1 crop of 320×320";
const REPOSITORY: &str = "the authors' repository";

/// The authors scale bytes by 0.0167.
const STD: f32 = 1.0 / (0.0167 * 255.0);

const BASE: Network = Network {
    name: "",
    aliases: &[],
    family: "DPN",
    year: 2017,
    place: Fact::Known("first in object localisation, ILSVRC-2017; not in classification"),
    paper: Paper {
        authors: "Chen, Li, Xiao, Jin, Yan & Feng",
        title: "Dual Path Networks",
        venue: "NIPS 2017",
        arxiv: Some("1707.01629"),
    },
    section: "",
    input: [3, 224, 224],
    classes: 1000,
    params: 0,
    macs: 0,
    published: Fact::Missing(""),
    init: "the paper names none; PyTorch's default, as timm: uniform in ±1/√fan_in",
    preprocessing: Preprocessing {
        resize: 256,
        resample: Resample::Bicubic,
        colours: Colours::Rgb,
        mean: [124.0 / 255.0, 117.0 / 255.0, 104.0 / 255.0],
        std: [STD; 3],
        source: "the authors' repository",
    },
    build: |s| dpn("", (0, k(1)), [0, 0], [(0, 0, 0); 4], s),
};

/// One column of Table 1: blocks, channels that each adds to the dense path, and channels of the residual path.
type Stage = (usize, usize, usize);

/// `first` is the first convolution, `width` and `groups` those of the 3×3 of the first stage; the width doubles with
/// every stage.
fn dpn(
    name: &str,
    first: (usize, Window),
    [width, groups]: [usize; 2],
    stages: [Stage; 4],
    s: &Settings,
) -> Result<Graph, GraphError> {
    net(name, s.input, |x| {
        let x = {
            let _features = x.scope("features");
            let x = {
                let _conv = x.scope("conv1_1");
                let x = x.apply(Conv2d::new(first.0, first.1).no_bias()).named("conv");
                norm(x)
            };
            let mut x = x.max_pool(k(3).stride(2).pad(1)).named("conv1_pool");
            for (index, (depth, increment, residual)) in stages.into_iter().enumerate() {
                let stride = if index == 0 { 1 } else { 2 };
                let block = Block { residual, increment, width: width << index, groups };
                for i in 0..depth {
                    let _block = x.scope(format!("conv{}_{}", index + 2, i + 1));
                    x = block.apply(x, (i == 0).then_some(stride));
                }
            }
            let _last = x.scope("conv5_bn_ac");
            norm(x)
        };
        x.global_avg_pool().conv(s.classes, 1).named("classifier").flatten()
    })
}

struct Block {
    /// Channels of the residual path, which come first.
    residual: usize,
    /// Channels that the block adds to the dense path.
    increment: usize,
    width: usize,
    groups: usize,
}

impl Block {
    /// Figure 2(d): a bottleneck reads both paths; a part of its output is added to one, the rest is appended to the
    /// other. The first block of a stage projects both paths first, with its stride.
    fn apply<'g>(&self, x: Var<'g>, projection: Option<usize>) -> Var<'g> {
        let &Self { residual, increment, width, groups } = self;
        let paths = match projection {
            None => x,
            Some(stride) => {
                let conv = Conv2d::new(residual + 2 * increment, k(1).stride(stride));
                norm_conv(x, &format!("c1x1_w_s{stride}"), conv)
            }
        };
        let conv = Conv2d::new(width, k(3).stride(projection.unwrap_or(1)).pad(1));
        let y = norm_conv(x, "c1x1_a", Conv2d::new(width, 1));
        let y = norm_conv(y, "c3x3_b", conv.groups(groups));
        let y = norm_conv(y, "c1x1_c", Conv2d::new(residual + increment, 1));
        let dense = paths.slice(residual, paths.channels().saturating_sub(residual));
        concat([
            paths.slice(0, residual) + y.slice(0, residual),
            dense,
            y.slice(residual, increment),
        ])
    }
}

/// Normalisation and ReLU, then the convolution.
fn norm_conv<'g>(x: Var<'g>, name: &str, conv: Conv2d) -> Var<'g> {
    let _unit = x.scope(name);
    norm(x).apply(conv.no_bias()).named("conv")
}

fn norm(x: Var<'_>) -> Var<'_> {
    x.apply(BatchNorm2d { eps: 1e-3, momentum: 0.1 }).named("bn").relu()
}
