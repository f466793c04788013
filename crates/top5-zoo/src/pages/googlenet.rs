//! GoogLeNet. Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke & Rabinovich, "Going Deeper with
//! Convolutions", CVPR 2015, arXiv:1409.4842, Table 1 and Figure 3. ILSVRC-2014: first in classification.
//! Departures: none in `googlenet`, whose response normalisation has AlexNet's constants in Caffe's convention.
//! `googlenet_bn` is torchvision's: batch normalisation, 3×3 where the paper has 5×5, a 2×2 fourth pooling; its
//! auxiliary heads pool as the paper says (5×5, stride 3), torchvision's adaptively to the same 4×4.
//! `googlenet_cifar` is the article's: two 3×3 for the 5×5; its code has `BatchNorm2d(n5x5, n5x5)`,
//! which sets eps to the number of channels; that is taken for the slip it is (eps 1e-5), and `googlenet_cifar_n5x5` keeps
//! it, for weights that were trained with that code. Their stem is that of the code the article took it from, three
//! convolutions and a pooling, of which the article prints one convolution.

use super::bn_inception::{Unit, unit};
use crate::registry::Settings;
use top5_graph::ops::{AlphaOver, BatchNorm2d};
use top5_graph::{Family, Fans, Init, Spec, Var, Window, concat, k};

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

pub(crate) fn googlenet<'g>(mut x: Var<'g>, s: &Settings) -> Var<'g> {
    let pool = k(3).stride(2).ceil();
    x = normalise(biased(x.init_by(glorot), "conv1", 64, k(7).stride(2).pad(3)).max_pool(pool));
    x = biased(x, "conv2", 64, k(1));
    x = normalise(biased(x, "conv3", 192, k(3).pad(1))).max_pool(pool);
    modules(x, k(5).pad(2), biased, pool, s)
}

pub(crate) fn googlenet_bn<'g>(mut x: Var<'g>, s: &Settings) -> Var<'g> {
    let pool = k(3).stride(2).ceil();
    x = unit(x, "conv1", 64, k(7).stride(2).pad(3)).max_pool(pool);
    x = unit(x, "conv2", 64, k(1));
    x = unit(x, "conv3", 192, k(3).pad(1)).max_pool(pool);
    modules(x, k(3).pad(1), unit, k(2).stride(2).ceil(), s)
}

/// Modules 3a to 5b, the auxiliary heads and the classifier. `five` is the window of Table 1's "5×5".
fn modules<'g>(
    mut x: Var<'g>,
    five: Window,
    unit: Unit,
    last_pool: Window,
    s: &Settings,
) -> Var<'g> {
    for (name, widths) in TABLE_1 {
        x = inception(x, name, widths, five, unit);
        match name {
            "3b" => x = x.max_pool(k(3).stride(2).ceil()),
            "4a" if s.auxiliary => auxiliary(x, "aux1", unit, s.classes),
            "4d" if s.auxiliary => auxiliary(x, "aux2", unit, s.classes),
            "4e" => x = x.max_pool(last_pool),
            _ => {}
        }
    }
    x.global_avg_pool().dropout(0.4).linear(s.classes).named("fc")
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
    x.conv(filters, window).named("conv").relu()
}

/// Glorot & Bengio's for convolutions, as BVLC's replication.
fn glorot(layer: &Spec, fans: Fans) -> Option<(Init, f32)> {
    let is_convolution = layer.family == Family::Convolution;
    is_convolution.then(|| (Init::xavier_uniform(fans.input, fans.output), 0.2))
}

fn normalise(x: Var<'_>) -> Var<'_> {
    x.lrn(5, 1e-4, 0.75, 1.0, AlphaOver::Mean)
}

/// `eps` gives that of the first 3×3 in place of a 5×5, from its number of channels.
pub(crate) fn googlenet_cifar<'g>(mut x: Var<'g>, eps: fn(usize) -> f32, s: &Settings) -> Var<'g> {
    {
        let _prelayer = x.sequential("prelayer");
        x = x.conv_bn(64, k(3).pad(1)).relu();
        x = x.conv_bn(64, k(3).pad(1)).relu();
        x = x.conv_bn(192, k(3).pad(1)).relu();
    }
    x = x.max_pool(k(3).stride(2).pad(1));
    for (name, widths) in TABLE_1 {
        x = inception_cifar(x, name, widths, eps);
        if matches!(name, "3b" | "4e") {
            x = x.max_pool(k(3).stride(2).pad(1));
        }
    }
    x.global_avg_pool().dropout(0.4).linear(s.classes).named("linear")
}

/// The article's module `3a` is called `a3`; its convolutions have biases although normalisation follows.
fn inception_cifar<'g>(
    x: Var<'g>,
    name: &str,
    [n1, r3, n3, r5, n5, np]: [usize; 6],
    eps: fn(usize) -> f32,
) -> Var<'g> {
    let (stage, letter) = name.split_at(1);
    let _module = x.scope(format!("{letter}{stage}"));
    let unit = |x: Var<'g>, filters, window: Window, eps| {
        x.conv(filters, window).apply(BatchNorm2d { eps, momentum: 0.1 }).relu()
    };
    let branch = |name: &str, layers: &[(usize, Window, f32)]| {
        let _branch = x.sequential(name);
        let x = if name == "b4" { x.max_pool(k(3).pad(1)) } else { x };
        layers.iter().fold(x, |x, &(filters, window, eps)| unit(x, filters, window, eps))
    };
    let (one, three, usual) = (k(1), k(3).pad(1), 1e-5);
    concat([
        branch("b1", &[(n1, one, usual)]),
        branch("b2", &[(r3, one, usual), (n3, three, usual)]),
        branch("b3", &[(r5, one, usual), (n5, three, eps(n5)), (n5, three, usual)]),
        branch("b4", &[(np, one, usual)]),
    ])
}
