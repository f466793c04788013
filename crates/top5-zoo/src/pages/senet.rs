//! SENet. Hu, Shen & Sun, "Squeeze-and-Excitation Networks", CVPR 2018, arXiv:1709.01507, Figures 2 and 3, Table 1 and
//! the appendix on SENet-154. ILSVRC-2017: first in classification.
//! Departures: layers and names of the networks for ImageNet are timm's, so the SE-ResNets have the stride on the 3×3
//! (the authors' have it on the first 1×1) and no excitation has fewer than 8 channels inside; fully connected layers of
//! an excitation are 1×1 convolutions. `se_bn_inception` is the authors': one excitation after each module and, unlike
//! `bn_inception`, no biases before normalisations. The networks for CIFAR-100 are the article's: their convolutions have
//! biases, and a ReLU stands before the squeeze. The article prints a last stage of 516, which `seresnet50_cifar_516` has;
//! its code has 512. Tables are numbered as in the paper's later versions at arXiv.

use super::bn_inception::{classify, modules};
use super::resnet::{
    Bottleneck, article_shortcut, article_stages, article_stem, basic, he, shortcut, stages, stem,
    unit,
};
use super::resnext::form_c;
use crate::registry::Settings;
use top5_graph::ops::Conv2d;
use top5_graph::{Var, Window, k};

/// Figure 3: in each block of a ResNet, the excitation of the branch, before the sum.
pub(crate) fn senet<'g>(
    x: Var<'g>,
    depths: [usize; 4],
    branch: impl for<'v> Fn(Var<'v>, usize, usize) -> Var<'v>,
    s: &Settings,
) -> Var<'g> {
    let x = stages(stem(x.init_by(he)), depths, |x, width, stride| {
        let y = branch(x, width, stride);
        let y = excite(y, (y.channels() / 16).max(8));
        (y + shortcut(x, y.channels(), k(1).stride(stride))).relu()
    });
    x.global_avg_pool().linear(s.classes).named("fc")
}

fn excite(x: Var<'_>, inside: usize) -> Var<'_> {
    excite_named(x, "se", inside)
}

/// Equations 2 to 4: squeeze to one value per channel, excite through `inside` values, scale.
pub(crate) fn excite_named<'g>(x: Var<'g>, name: &str, inside: usize) -> Var<'g> {
    let factors = {
        let _excitation = x.scope(name);
        let z = x.global_avg_pool().conv(inside, 1).named("fc1").relu();
        z.conv(x.channels(), 1).named("fc2").sigmoid()
    };
    x.scale(factors)
}

pub(crate) fn se_bn_inception<'g>(x: Var<'g>, s: &Settings) -> Var<'g> {
    classify(modules(x, unbiased, |module| excite(module, module.channels() / 16)), s)
}

/// BN-Inception's unit in the authors' file: no bias, PyTorch's constants.
fn unbiased<'g>(x: Var<'g>, name: &str, filters: usize, window: Window) -> Var<'g> {
    let _unit = x.scope(name);
    let x = x.apply(Conv2d::new(filters, window).no_bias()).named("conv");
    x.batch_norm().named("bn").relu()
}

pub(crate) fn two_3x3<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    basic(x, width, stride, unit)
}

pub(crate) fn bottleneck<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    Bottleneck::new(width, stride).branch(x)
}

pub(crate) fn aggregated<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    form_c(x, width, stride, [32, 4])
}

/// ResNeXt-152 (64×4d) with excitations and, as the appendix lists: half as wide a first 1×1 in each block, three 3×3
/// for the first 7×7, 3×3 projections where the map is halved, and dropout.
pub(crate) fn senet154<'g>(x: Var<'g>, s: &Settings) -> Var<'g> {
    let x = x.init_by(he);
    let x = {
        let _conv1 = x.sequential("conv1");
        let x = unit(x, Conv2d::new(64, k(3).stride(2).pad(1))).relu();
        let x = unit(x, Conv2d::new(64, k(3).pad(1))).relu();
        x.apply(Conv2d::new(128, k(3).pad(1)).no_bias())
    };
    let x = x.batch_norm().relu().max_pool(k(3).stride(2).pad(1));
    let x = stages(x, [3, 8, 36, 3], |x, width, stride| {
        let widths = [2 * width, 4 * width, 4 * width];
        let block = Bottleneck { widths, groups: [1, 64], ..Bottleneck::new(width, stride) };
        let y = excite(block.branch(x), width / 4);
        let projection = if stride == 1 { k(1) } else { k(3).stride(stride).pad(1) };
        (y + shortcut(x, y.channels(), projection)).relu()
    });
    x.global_avg_pool().dropout(0.2).linear(s.classes).named("fc")
}

/// The article's. `last` is the width of the last stage.
pub(crate) fn article<'g>(
    x: Var<'g>,
    depths: [usize; 4],
    branch: impl for<'v> Fn(Var<'v>, usize, usize) -> Var<'v>,
    last: usize,
    s: &Settings,
) -> Var<'g> {
    let x = article_stem(x, "pre", biased_unit);
    let names = ["stage1", "stage2", "stage3", "stage4"];
    let x = article_stages(x, names, depths, |x, width, stride| {
        let width = if width == 512 { last } else { width };
        let y = {
            let _residual = x.sequential("residual");
            branch(x, width, stride).relu()
        };
        let channels = y.channels();
        let z = y.global_avg_pool().named("squeeze");
        let factors = {
            let _excitation = x.sequential("excitation");
            z.linear(channels / 16).relu().linear(channels).sigmoid()
        };
        (y.scale(factors) + article_shortcut(x, channels, stride, biased_unit)).relu()
    });
    x.global_avg_pool().linear(s.classes).named("linear")
}

fn biased_unit(x: Var<'_>, conv: Conv2d) -> Var<'_> {
    x.apply(conv).batch_norm()
}

pub(crate) fn article_basic<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    basic(x, width, stride, biased_unit)
}

pub(crate) fn article_bottleneck<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    Bottleneck { unit: biased_unit, ..Bottleneck::new(width, stride) }.branch(x)
}
