//! ResNeXt. Xie, Girshick, Dollár, Tu & He, "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017,
//! arXiv:1611.05431, Table 1 and Figure 3. ILSVRC-2016: second in classification.
//! Departures: none in the networks for ImageNet, which are form (c) with torchvision's names. `resnext50_32x4d_a` and
//! `resnext50_32x4d_b` are the same network in forms (a) and (b), for the weights of [`crate::forms`]. The article's
//! networks for CIFAR-100 group the first 1×1 of each block, too, which makes them another network.

use super::resnet::{Bottleneck, article_shortcut, article_stages, article_stem, resnet, unit};
use crate::registry::Settings;
use top5_graph::ops::Conv2d;
use top5_graph::{Init, Var, concat, k, sum};

/// `cardinality` paths, each `width` channels wide in the first stage.
pub(crate) fn grouped<'g>(
    x: Var<'g>,
    depths: [usize; 4],
    [cardinality, width]: [usize; 2],
    s: &Settings,
) -> Var<'g> {
    resnet(x, depths, |x, out, stride| form_c(x, out, stride, [cardinality, width]), s)
}

/// Figure 3(c): the paths are the groups of one convolution. `stage` is the width of ResNet's block, 64 in the first
/// stage.
pub(crate) fn form_c(
    x: Var<'_>,
    stage: usize,
    stride: usize,
    [cardinality, width]: [usize; 2],
) -> Var<'_> {
    let inner = cardinality * width * stage / 64;
    let widths = [inner, inner, 4 * stage];
    let groups = [1, cardinality];
    Bottleneck { widths, groups, ..Bottleneck::new(stage, stride) }.branch(x)
}

/// Figure 3(a): every path ends in a 1×1 of its own, and their outputs are added. Normalisation follows the sum.
pub(crate) fn form_a<'g>(x: Var<'g>, stage: usize, stride: usize) -> Var<'g> {
    let paths = paths(x, stage, stride, |y| y.apply(Conv2d::new(4 * stage, 1).no_bias()));
    sum(paths).named("sum").batch_norm().named("bn3")
}

/// Figure 3(b): the paths are concatenated, and one 1×1 restores the width.
pub(crate) fn form_b<'g>(x: Var<'g>, stage: usize, stride: usize) -> Var<'g> {
    let paths = concat(paths(x, stage, stride, |y| y));
    let y = paths.apply(Conv2d::new(4 * stage, 1).no_bias()).named("conv3");
    y.batch_norm().named("bn3")
}

/// The 32 paths of 32×4d up to their last 1×1, which is `last`.
fn paths<'g>(
    x: Var<'g>,
    stage: usize,
    stride: usize,
    last: impl Fn(Var<'g>) -> Var<'g>,
) -> Vec<Var<'g>> {
    let width = stage / 16;
    let path = |index: usize| {
        let _path = x.scope(format!("paths.{index}"));
        let y = whole(x, Conv2d::new(width, 1)).batch_norm().relu();
        let y = whole(y, Conv2d::new(width, k(3).stride(stride).pad(1))).batch_norm().relu();
        last(y)
    };
    (0..32).map(path).collect()
}

/// A convolution of one of 32 paths, which starts as its rows of the grouped convolution start.
fn whole(x: Var<'_>, conv: Conv2d) -> Var<'_> {
    let [height, width] = conv.window.kernel;
    let init = Init::kaiming_normal(32 * conv.out_channels * height * width);
    x.apply(conv.no_bias()).init(init, 0.0)
}

/// The article's: 32 groups, in the first 1×1 of a block as well as in the 3×3.
pub(crate) fn article<'g>(x: Var<'g>, depths: [usize; 4], s: &Settings) -> Var<'g> {
    let x = article_stem(x, "conv1", unit);
    let names = ["conv2", "conv3", "conv4", "conv5"];
    let x = article_stages(x, names, depths, |x, stage, stride| {
        let y = {
            let _split_transforms = x.sequential("split_transforms");
            let block = Bottleneck {
                widths: [2 * stage, 2 * stage, 4 * stage],
                groups: [32, 32],
                ..Bottleneck::new(stage, stride)
            };
            block.branch(x)
        };
        (y + article_shortcut(x, y.channels(), stride, unit)).relu()
    });
    x.global_avg_pool().linear(s.classes).named("fc")
}
