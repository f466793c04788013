//! The SE networks as their authors released them: models/*.prototxt of Hu et al.'s repository, in Caffe.
//! Departures: none from those files. From the networks of `senet.rs`, whose tensors are the same: the SE-ResNets have the
//! stride on the first 1×1, and the first pooling is Caffe's, which rounds up and pads nothing. Names of networks and
//! tensors are timm's for the converted weights.

use super::resnet::{Bottleneck, he, shortcut, stages, unit};
use super::resnext::form_c;
use super::senet::excite_named;
use crate::registry::Settings;
use top5_graph::ops::Conv2d;
use top5_graph::{Var, k};

/// ResNet's layers with an excitation in each block.
pub(crate) fn released<'g>(
    x: Var<'g>,
    depths: [usize; 4],
    branch: impl for<'v> Fn(Var<'v>, usize, usize) -> Var<'v>,
    s: &Settings,
) -> Var<'g> {
    let x = x.init_by(he);
    let x = {
        let _layer0 = x.scope("layer0");
        pool(unit(x, Conv2d::new(64, k(7).stride(2).pad(3))).relu())
    };
    let x = stages(x, depths, |x, width, stride| {
        let y = excite(branch(x, width, stride));
        (y + shortcut(x, y.channels(), k(1).stride(stride))).relu()
    });
    x.global_avg_pool().linear(s.classes).named("last_linear")
}

pub(crate) fn senet154<'g>(x: Var<'g>, s: &Settings) -> Var<'g> {
    let x = x.init_by(he);
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
}

/// Caffe's first pooling.
fn pool(x: Var<'_>) -> Var<'_> {
    x.max_pool(k(3).stride(2).ceil())
}

fn excite(x: Var<'_>) -> Var<'_> {
    excite_named(x, "se_module", x.channels() / 16)
}

pub(crate) fn stride_on_1x1<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    Bottleneck { strides: [stride, 1], ..Bottleneck::new(width, 1) }.branch(x)
}

pub(crate) fn aggregated<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    form_c(x, width, stride, [32, 4])
}
