//! BN-Inception. Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
//! Covariate Shift", ICML 2015, arXiv:1502.03167, section 4.2 and Figure 5 (the appendix's table).
//! Not in a contest: a network of its size surpassed the winner of ILSVRC-2014.
//! Departures: the table's columns for 4c and 4d add up to 608 channels although it prints 576. `bn_inception` follows
//! the columns and has a full first convolution, as the Caffe networks; `bn_inception_slim` follows the printed 576
//! (pool projections of 96) and has the paper's separable first convolution, as TF-slim, with TF-slim's padding;
//! unlike there, its normalisations have a scale.

use crate::registry::Settings;
use top5_graph::ops::{BatchNorm2d, Conv2d};
use top5_graph::{Var, Window, concat, k};

/// #1×1, #3×3 reduce, #3×3, double #3×3 reduce, double #3×3, pool proj; a module without 1×1 halves the map.
type Widths = [usize; 6];

const TABLE: [(&str, Widths); 10] = [
    ("3a", [64, 64, 64, 64, 96, 32]),
    ("3b", [64, 64, 96, 64, 96, 64]),
    ("3c", [0, 128, 160, 64, 96, 0]),
    ("4a", [224, 64, 96, 96, 128, 128]),
    ("4b", [192, 96, 128, 96, 128, 128]),
    ("4c", [160, 128, 160, 128, 160, 128]),
    ("4d", [96, 128, 192, 160, 192, 128]),
    ("4e", [0, 128, 192, 192, 256, 0]),
    ("5a", [352, 192, 320, 160, 224, 128]),
    ("5b", [352, 192, 320, 192, 224, 128]),
];

/// A convolution of this name and what the variant puts after it.
pub(crate) type Unit = for<'g> fn(Var<'g>, &str, usize, Window) -> Var<'g>;

pub(crate) fn bn_inception<'g>(x: Var<'g>, s: &Settings) -> Var<'g> {
    classify(modules(x, biased, |module| module), s)
}

/// Everything before the classifier, with Caffe's rounding. `after` is applied to the output of each module.
pub(crate) fn modules<'g>(
    mut x: Var<'g>,
    unit: Unit,
    after: impl Fn(Var<'g>) -> Var<'g>,
) -> Var<'g> {
    let pool = k(3).stride(2).ceil();
    x = unit(x, "conv1", 64, k(7).stride(2).pad(3)).max_pool(pool);
    x = unit(x, "conv2", 64, k(1));
    x = unit(x, "conv3", 192, k(3).pad(1)).max_pool(pool);
    for (name, widths) in TABLE {
        let _module = x.scope(format!("inception{name}"));
        x = after(inception(x, name, widths, k(3).stride(2).pad(1), pool, unit));
    }
    x
}

pub(crate) fn slim<'g>(mut x: Var<'g>, s: &Settings) -> Var<'g> {
    let half = k(3).stride(2).pad_end(1);
    let depthwise = Conv2d::new(8 * x.channels(), k(7).stride(2).pad(2).pad_end(3));
    x = x.apply(depthwise.groups(x.channels()).no_bias()).named("conv1.depthwise");
    x = unit(x, "conv1", 64, k(1)).max_pool(half);
    x = unit(x, "conv2", 64, k(1));
    x = unit(x, "conv3", 192, k(3).pad(1)).max_pool(half);
    for (name, mut widths) in TABLE {
        if matches!(name, "4c" | "4d") {
            widths[5] = 96;
        }
        let _module = x.scope(format!("inception{name}"));
        x = inception(x, name, widths, half, half, unit);
    }
    classify(x, s)
}

pub(crate) fn classify<'g>(x: Var<'g>, s: &Settings) -> Var<'g> {
    x.global_avg_pool().linear(s.classes).named("fc")
}

/// GoogLeNet's module with two 3×3 for the 5×5 and mean pooling, maximum in the last one. A module without 1×1 halves
/// the map: its convolutions by the window `half`, its pooling, which is passed on, by `pool`.
fn inception<'g>(
    x: Var<'g>,
    name: &str,
    [n1, r3, n3, rd, nd, np]: Widths,
    half: Window,
    pool: Window,
    unit: Unit,
) -> Var<'g> {
    let same = k(3).pad(1);
    let last = if n1 == 0 { half } else { same };
    let b = unit(unit(x, "branch2.0", r3, k(1)), "branch2.1", n3, last);
    let c = unit(unit(x, "branch3.0", rd, k(1)), "branch3.1", nd, same);
    let c = unit(c, "branch3.2", nd, last);
    if n1 == 0 {
        return concat([b, c, x.max_pool(pool)]);
    }
    let a = unit(x, "branch1", n1, k(1));
    let pooled = if name == "5b" { x.max_pool(same) } else { x.avg_pool(same) };
    concat([a, b, c, unit(pooled, "branch4.1", np, k(1))])
}

/// Caffe's: the convolution has a bias although normalisation follows; PyTorch's constants.
fn biased<'g>(x: Var<'g>, name: &str, filters: usize, window: Window) -> Var<'g> {
    let _unit = x.scope(name);
    x.conv(filters, window).named("conv").batch_norm().named("bn").relu()
}

/// TensorFlow's and torchvision's unit: no bias, then normalisation with eps 1e-3, then ReLU.
pub(crate) fn unit<'g>(x: Var<'g>, name: &str, filters: usize, window: Window) -> Var<'g> {
    let _unit = x.scope(name);
    let x = x.apply(Conv2d::new(filters, window).no_bias()).named("conv");
    x.apply(BatchNorm2d { eps: 1e-3, momentum: 0.1 }).named("bn").relu()
}
