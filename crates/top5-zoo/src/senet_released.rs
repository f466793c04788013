//! The SE networks as their authors released them: models/*.prototxt of Hu et al.'s repository, in Caffe.
//! Departures: none from those files. From the networks of `senet.rs`, whose tensors are the same: the SE-ResNets have the
//! stride on the first 1×1, and the first pooling is Caffe's, which rounds up and pads nothing. Names of networks and
//! tensors are timm's for the converted weights.

use crate::registry::{Fact, Network, Preprocessing, Published, Settings};
use crate::resnet::{Bottleneck, shortcut, stages, unit};
use crate::resnext::form_c;
use crate::senet::{BASE, REPOSITORY, TIMM, excite_named};
use top5_graph::ops::Conv2d;
use top5_graph::{Graph, GraphError, Var, k, net};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "legacy_seresnet50",
        section: "SE-ResNet-50.prototxt",
        params: 28_088_024,
        macs: 3_860_488_192,
        published: Fact::Known(&[
            Published::val(23.29, 6.62, "1 crop", "Table 2"),
            Published::val(22.37, 6.36, CROP, REPOSITORY),
            Published::val(22.35, 6.27, CROP, TIMM),
        ]),
        build: |s| released("legacy_seresnet50", [3, 4, 6, 3], stride_on_1x1, s),
        ..RELEASED
    },
    Network {
        name: "legacy_seresnet101",
        section: "SE-ResNet-101.prototxt",
        params: 49_326_872,
        macs: 7_574_937_600,
        published: Fact::Known(&[
            Published::val(22.38, 6.07, "1 crop", "Table 2"),
            Published::val(21.75, 5.72, CROP, REPOSITORY),
            Published::val(21.63, 5.74, CROP, TIMM),
        ]),
        build: |s| released("legacy_seresnet101", [3, 4, 23, 3], stride_on_1x1, s),
        ..RELEASED
    },
    Network {
        name: "legacy_seresnet152",
        section: "SE-ResNet-152.prototxt",
        params: 66_821_848,
        macs: 11_288_993_792,
        published: Fact::Known(&[
            Published::val(21.57, 5.73, "1 crop", "Table 2"),
            Published::val(21.34, 5.54, CROP, REPOSITORY),
            Published::val(21.34, 5.63, CROP, TIMM),
        ]),
        build: |s| released("legacy_seresnet152", [3, 8, 36, 3], stride_on_1x1, s),
        ..RELEASED
    },
    Network {
        name: "legacy_seresnext50_32x4d",
        section: "SE-ResNeXt-50.prototxt",
        params: 27_559_896,
        macs: 4_232_994_816,
        published: Fact::Known(&[
            Published::val(21.10, 5.49, "1 crop", "Table 2"),
            Published::val(20.97, 5.54, CROP, REPOSITORY),
            Published::val(20.92, 5.57, CROP, TIMM),
        ]),
        build: |s| released("legacy_seresnext50_32x4d", [3, 4, 6, 3], aggregated, s),
        ..RELEASED
    },
    Network {
        name: "legacy_seresnext101_32x4d",
        section: "SE-ResNeXt-101.prototxt",
        params: 48_955_416,
        macs: 7_974_739_968,
        published: Fact::Known(&[
            Published::val(20.70, 5.01, "1 crop", "Table 2"),
            Published::val(19.81, 4.96, CROP, REPOSITORY),
            Published::val(19.73, 4.97, CROP, TIMM),
        ]),
        build: |s| released("legacy_seresnext101_32x4d", [3, 4, 23, 3], aggregated, s),
        ..RELEASED
    },
    Network {
        name: "legacy_senet154",
        section: "SENet-154.prototxt",
        params: 115_088_984,
        macs: 20_688_363_520,
        published: Fact::Known(&[
            Published::val(18.68, 4.47, CROP, "Table 8"),
            Published::val(18.68, 4.50, CROP, TIMM),
        ]),
        build: senet154,
        ..RELEASED
    },
];

const CROP: &str = "1 crop, the authors' weights";

const RELEASED: Network = Network { preprocessing: Preprocessing::caffe(256), ..BASE };

/// ResNet's layers with an excitation in each block.
fn released(
    name: &str,
    depths: [usize; 4],
    branch: impl for<'g> Fn(Var<'g>, usize, usize) -> Var<'g>,
    s: &Settings,
) -> Result<Graph, GraphError> {
    net(name, s.input, |x| {
        let x = {
            let _layer0 = x.scope("layer0");
            pool(unit(x, Conv2d::new(64, k(7).stride(2).pad(3))).relu())
        };
        let x = stages(x, depths, |x, width, stride| {
            let y = excite(branch(x, width, stride));
            (y + shortcut(x, y.channels(), k(1).stride(stride))).relu()
        });
        x.global_avg_pool().linear(s.classes).named("last_linear")
    })
}

fn senet154(s: &Settings) -> Result<Graph, GraphError> {
    net("legacy_senet154", s.input, |x| {
        let x = {
            let _layer0 = x.scope("layer0");
            let x = unit(x, Conv2d::new(64, k(3).stride(2).pad(1))).relu();
            let x = unit(x, Conv2d::new(64, k(3).pad(1))).relu();
            pool(unit(x, Conv2d::new(128, k(3).pad(1))).relu())
        };
        let x = stages(x, [3, 8, 36, 3], |x, width, stride| {
            let widths = [2 * width, 4 * width, 4 * width];
            let block = Bottleneck { widths, groups: [1, 64], ..Bottleneck::new(width, stride) };
            let y = excite(block.branch(x));
            let projection = if stride == 1 { k(1) } else { k(3).stride(stride).pad(1) };
            (y + shortcut(x, y.channels(), projection)).relu()
        });
        x.global_avg_pool().dropout(0.2).linear(s.classes).named("last_linear")
    })
}

/// Caffe's first pooling.
fn pool(x: Var<'_>) -> Var<'_> {
    x.max_pool(k(3).stride(2).ceil())
}

fn excite(x: Var<'_>) -> Var<'_> {
    excite_named(x, "se_module", x.channels() / 16)
}

fn stride_on_1x1<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    Bottleneck { strides: [stride, 1], ..Bottleneck::new(width, 1) }.branch(x)
}

fn aggregated<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    form_c(x, width, stride, [32, 4])
}
