//! ResNet. He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385,
//! Table 1, Figure 5 and section 4.2. ILSVRC-2015: first in classification.
//! Departures: the stride of `resnet50` and deeper is on the 3×3, as torchvision, timm and the article have it;
//! `resnet50_v1` and deeper are the paper's as its authors released them in Caffe, with the stride on the first 1×1 and
//! Caffe's first pooling, which rounds up and pads nothing. `resnet200` is timm's, post-activation. `resnet18_cifar` to
//! `resnet152_cifar` are the article's for CIFAR-100; `resnet20_cifar` to `resnet110_cifar` are those of section 4.2
//! (parameter-free shortcuts, option A) with the tensor names of akamaster's replication.

use crate::registry::Settings;
use top5_graph::ops::Conv2d;
use top5_graph::{Family, Fans, Init, Spec, Var, Window, k};

/// Table 1: blocks of conv2_x to conv5_x.
pub(crate) const RESNET_18: [usize; 4] = [2, 2, 2, 2];
pub(crate) const RESNET_34: [usize; 4] = [3, 4, 6, 3];
pub(crate) const RESNET_50: [usize; 4] = [3, 4, 6, 3];
pub(crate) const RESNET_101: [usize; 4] = [3, 4, 23, 3];
pub(crate) const RESNET_152: [usize; 4] = [3, 8, 36, 3];
/// ResNet-200 of the paper on identity mappings.
pub(crate) const RESNET_200: [usize; 4] = [3, 24, 36, 3];

/// A convolution and the batch normalisation after it.
pub(crate) type Unit = for<'g> fn(Var<'g>, Conv2d) -> Var<'g>;

/// The network of Table 1 with this residual branch of (input, stage's width, stride).
pub(crate) fn resnet<'g>(
    x: Var<'g>,
    depths: [usize; 4],
    branch: impl for<'v> Fn(Var<'v>, usize, usize) -> Var<'v>,
    s: &Settings,
) -> Var<'g> {
    table_1(stem(x.init_by(he)), depths, branch, s)
}

/// The authors' own, in Caffe.
pub(crate) fn released<'g>(x: Var<'g>, depths: [usize; 4], s: &Settings) -> Var<'g> {
    let x = unit(x.init_by(he), Conv2d::new(64, k(7).stride(2).pad(3))).relu();
    table_1(x.max_pool(k(3).stride(2).ceil()), depths, stride_on_1x1, s)
}

/// All that follows the first pooling.
fn table_1<'g>(
    x: Var<'g>,
    depths: [usize; 4],
    branch: impl for<'v> Fn(Var<'v>, usize, usize) -> Var<'v>,
    s: &Settings,
) -> Var<'g> {
    let x = stages(x, depths, |x, width, stride| {
        let y = branch(x, width, stride);
        (y + shortcut(x, y.channels(), k(1).stride(stride))).relu()
    });
    x.global_avg_pool().linear(s.classes).named("fc")
}

pub(crate) fn stem(x: Var<'_>) -> Var<'_> {
    let x = unit(x, Conv2d::new(64, k(7).stride(2).pad(3))).relu();
    x.max_pool(k(3).stride(2).pad(1))
}

/// conv2_x to conv5_x; `block` gets the input, the stage's width and the stride.
pub(crate) fn stages<'g>(
    mut x: Var<'g>,
    depths: [usize; 4],
    block: impl Fn(Var<'g>, usize, usize) -> Var<'g>,
) -> Var<'g> {
    for (stage, depth) in depths.into_iter().enumerate() {
        let _stage = x.scope(format!("layer{}", stage + 1));
        x = blocks(x, depth, if stage == 0 { 1 } else { 2 }, |x, stride| {
            block(x, 64 << stage, stride)
        });
    }
    x
}

/// `depth` blocks, numbered from 0, of which the first has the stride.
pub(crate) fn blocks<'g>(
    x: Var<'g>,
    depth: usize,
    stride: usize,
    block: impl Fn(Var<'g>, usize) -> Var<'g>,
) -> Var<'g> {
    (0..depth).fold(x, |x, index| {
        let _block = x.scope(index.to_string());
        block(x, if index == 0 { stride } else { 1 })
    })
}

/// Figure 5, left: two 3×3.
pub(crate) fn basic<'g>(x: Var<'g>, width: usize, stride: usize, unit: Unit) -> Var<'g> {
    let y = unit(x, Conv2d::new(width, k(3).stride(stride).pad(1))).relu();
    unit(y, Conv2d::new(width, k(3).pad(1)))
}

/// Figure 5, right: 1×1 reduce, 3×3, 1×1 restore.
#[derive(Clone, Copy)]
pub(crate) struct Bottleneck {
    /// Filters of the three convolutions.
    pub(crate) widths: [usize; 3],
    /// Strides of the first two.
    pub(crate) strides: [usize; 2],
    /// Groups of the first two.
    pub(crate) groups: [usize; 2],
    pub(crate) unit: Unit,
}

impl Bottleneck {
    /// One group, the stride on the 3×3, four times as many channels at the end.
    pub(crate) fn new(width: usize, stride: usize) -> Self {
        Self { widths: [width, width, 4 * width], strides: [1, stride], groups: [1, 1], unit }
    }

    pub(crate) fn branch(self, x: Var<'_>) -> Var<'_> {
        let Self { widths: [reduce, inner, restore], strides: [s1, s3], groups: [g1, g3], unit } =
            self;
        let y = unit(x, Conv2d::new(reduce, k(1).stride(s1)).groups(g1)).relu();
        let y = unit(y, Conv2d::new(inner, k(3).stride(s3).pad(1)).groups(g3)).relu();
        unit(y, Conv2d::new(restore, 1))
    }
}

/// The identity, or a projection where the shape changes (option B).
pub(crate) fn shortcut(x: Var<'_>, channels: usize, window: Window) -> Var<'_> {
    if x.channels() == channels && window.stride == [1, 1] {
        return x;
    }
    let _downsample = x.sequential("downsample");
    unit(x, Conv2d::new(channels, window))
}

/// A convolution without a bias, and batch normalisation.
pub(crate) fn unit(x: Var<'_>, conv: Conv2d) -> Var<'_> {
    x.apply(conv.no_bias()).batch_norm()
}

/// He et al., "Delving Deep into Rectifiers", with the fan of the outputs as torchvision has it, for convolutions that a
/// normalisation follows.
pub(crate) fn he(layer: &Spec, fans: Fans) -> Option<(Init, f32)> {
    let is_convolution = layer.family == Family::Convolution && layer.params.len() == 1;
    is_convolution.then(|| (Init::kaiming_normal(fans.output), 0.0))
}

pub(crate) fn two_3x3<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    basic(x, width, stride, unit)
}

pub(crate) fn stride_on_3x3<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    Bottleneck::new(width, stride).branch(x)
}

fn stride_on_1x1<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    Bottleneck { strides: [stride, 1], ..Bottleneck::new(width, 1) }.branch(x)
}

pub(crate) type Branch = for<'v> fn(Var<'v>, usize, usize) -> Var<'v>;

/// The article's: a 3×3 for the stem, no pooling, and a branch and a projection with names of its own.
pub(crate) fn article<'g>(x: Var<'g>, depths: [usize; 4], branch: Branch, s: &Settings) -> Var<'g> {
    let x = article_stem(x, "conv1", unit);
    let names = ["conv2_x", "conv3_x", "conv4_x", "conv5_x"];
    let x = article_stages(x, names, depths, |x, width, stride| {
        let y = {
            let _residual_function = x.sequential("residual_function");
            branch(x, width, stride)
        };
        (y + article_shortcut(x, y.channels(), stride, unit)).relu()
    });
    x.global_avg_pool().linear(s.classes).named("fc")
}

pub(crate) fn article_stem<'g>(x: Var<'g>, name: &str, unit: Unit) -> Var<'g> {
    let _stem = x.sequential(name);
    unit(x, Conv2d::new(64, k(3).pad(1))).relu()
}

/// As [`stages`], under the article's names.
pub(crate) fn article_stages<'g>(
    mut x: Var<'g>,
    names: [&str; 4],
    depths: [usize; 4],
    block: impl Fn(Var<'g>, usize, usize) -> Var<'g>,
) -> Var<'g> {
    for (stage, (name, depth)) in names.into_iter().zip(depths).enumerate() {
        let _stage = x.scope(name);
        x = blocks(x, depth, if stage == 0 { 1 } else { 2 }, |x, stride| {
            block(x, 64 << stage, stride)
        });
    }
    x
}

/// As [`shortcut`], under the article's name.
pub(crate) fn article_shortcut(x: Var<'_>, channels: usize, stride: usize, unit: Unit) -> Var<'_> {
    if x.channels() == channels && stride == 1 {
        return x;
    }
    let _shortcut = x.sequential("shortcut");
    unit(x, Conv2d::new(channels, k(1).stride(stride)))
}

/// Section 4.2: 6n + 2 layers, n blocks of 16, 32 and 64 channels each.
pub(crate) fn cifar<'g>(mut x: Var<'g>, n: usize, s: &Settings) -> Var<'g> {
    x = x.init_by(|_, fans| Some((Init::kaiming_normal(fans.input), 0.0)));
    x = conv_3x3(x, 16, 1).relu();
    for stage in 0..3 {
        let _stage = x.scope(format!("layer{}", stage + 1));
        x = blocks(x, n, if stage == 0 { 1 } else { 2 }, |x, stride| {
            let y = conv_3x3(x, 16 << stage, stride).relu();
            (conv_3x3(y, 16 << stage, 1) + option_a(x, 16 << stage, stride)).relu()
        });
    }
    x.global_avg_pool().linear(s.classes).named("linear")
}

/// The identity with a stride and zeros for the new channels, half of them on each side.
fn option_a(x: Var<'_>, channels: usize, stride: usize) -> Var<'_> {
    if stride == 1 {
        return x;
    }
    let zeros = channels - x.channels();
    x.subsample(stride).pad_channels(zeros / 2, zeros - zeros / 2)
}

fn conv_3x3(x: Var<'_>, filters: usize, stride: usize) -> Var<'_> {
    unit(x, Conv2d::new(filters, k(3).stride(stride).pad(1)))
}
