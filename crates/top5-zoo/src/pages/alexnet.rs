//! AlexNet. Krizhevsky, Sutskever & Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
//! NIPS 2012, section 3.5 and Figure 2. ILSVRC-2012: first in classification.
//! Departures: the input is 227×227, since 55×55 maps do not come from the printed 224. `alexnet_owt` is the network
//! of Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997, as torchvision
//! ships it; `alexnet_28` is the article's, for digits; `alexnet_caffe` is Caffe's replication, which normalises
//! otherwise.

use crate::registry::Settings;
use top5_graph::ops::{AlphaOver, Conv2d};
use top5_graph::{Init, Var, k};

/// Response normalisation with the constants of section 3.3, where α multiplies the sum of the squares.
pub(crate) fn normalise(x: Var<'_>) -> Var<'_> {
    x.lrn(5, 1e-4, 0.75, 2.0, AlphaOver::Sum)
}

/// A hidden linear layer's name and width.
pub(crate) type Hidden = (&'static str, usize);

/// What is chosen about the network of Figure 2.
struct Form {
    normalise: for<'v> fn(Var<'v>) -> Var<'v>,
    /// The standard deviation that weights start with, and that of the hidden linear layers.
    deviations: [f32; 2],
    /// Where the biases start that are not zero.
    bias: f32,
    /// Whether there are layers 3 and 4.
    middle: bool,
    hidden: &'static [Hidden],
}

const FIGURE_2: Form = Form {
    normalise,
    deviations: [0.01, 0.01],
    bias: 1.0,
    middle: true,
    hidden: &[("fc6", 4096), ("fc7", 4096)],
};

pub(crate) fn alexnet<'g>(x: Var<'g>, s: &Settings) -> Var<'g> {
    two_gpus(x, &FIGURE_2, s)
}

/// With other hidden layers, and without layers 3 and 4 if `middle` is false: what Table 3 of ZFNet's paper tries.
pub(crate) fn alexnet_changed<'g>(
    x: Var<'g>,
    middle: bool,
    hidden: &'static [Hidden],
    s: &Settings,
) -> Var<'g> {
    two_gpus(x, &Form { middle, hidden, ..FIGURE_2 }, s)
}

/// As Caffe's replication has it: α multiplies the mean of the squares, which is added to 1.
pub(crate) fn alexnet_caffe<'g>(x: Var<'g>, s: &Settings) -> Var<'g> {
    let normalise = normalise_by_mean;
    two_gpus(x, &Form { normalise, deviations: [0.01, 0.005], bias: 0.1, ..FIGURE_2 }, s)
}

fn normalise_by_mean(x: Var<'_>) -> Var<'_> {
    x.lrn(5, 1e-4, 0.75, 1.0, AlphaOver::Mean)
}

/// Figure 2.
fn two_gpus<'g>(x: Var<'g>, form: &Form, s: &Settings) -> Var<'g> {
    let &Form { normalise, deviations: [deviation, hidden], bias, middle, .. } = form;
    let normal = || Init::Normal(deviation);
    let x = x.init_by(move |_, _| Some((Init::Normal(deviation), 0.0)));
    let grouped = |filters, window| Conv2d::new(filters, window).groups(2);
    let x = x.conv(96, k(11).stride(4)).relu();
    let x = normalise(x).max_pool(k(3).stride(2));
    let x = x.apply(grouped(256, k(5).pad(2))).init(normal(), bias).relu();
    let mut x = normalise(x).max_pool(k(3).stride(2));
    if middle {
        x = x.conv(384, k(3).pad(1)).relu();
        x = x.apply(grouped(384, k(3).pad(1))).init(normal(), bias).relu();
    }
    x = x.apply(grouped(256, k(3).pad(1))).named("conv5").init(normal(), bias).relu();
    x = x.max_pool(k(3).stride(2)).adaptive_avg_pool([6, 6]).flatten();
    for &(name, width) in form.hidden {
        x = x.linear(width).named(name).init(Init::Normal(hidden), bias).relu().dropout(0.5);
    }
    x.linear(s.classes).named("fc8")
}

pub(crate) fn alexnet_owt<'g>(mut x: Var<'g>, s: &Settings) -> Var<'g> {
    {
        let _features = x.sequential("features");
        x = x.conv(64, k(11).stride(4).pad(2)).relu().max_pool(k(3).stride(2));
        x = x.conv(192, k(5).pad(2)).relu().max_pool(k(3).stride(2));
        x = x.conv(384, k(3).pad(1)).relu();
        x = x.conv(256, k(3).pad(1)).relu();
        x = x.conv(256, k(3).pad(1)).relu().max_pool(k(3).stride(2));
    }
    x = x.adaptive_avg_pool([6, 6]).flatten();
    classifier(x, s.classes)
}

pub(crate) fn alexnet_28<'g>(mut x: Var<'g>, s: &Settings) -> Var<'g> {
    {
        let _features = x.sequential("features");
        x = x.conv(96, k(11).pad(1)).relu().max_pool(k(2).stride(2));
        x = x.conv(256, k(3).pad(1)).relu().max_pool(k(2).stride(2));
        x = x.conv(384, k(3).pad(1)).relu();
        x = x.conv(384, k(3).pad(1)).relu();
        x = x.conv(256, k(3).pad(1)).relu().max_pool(k(2).stride(2));
    }
    classifier(x.flatten(), s.classes)
}

fn classifier(x: Var<'_>, classes: usize) -> Var<'_> {
    let _classifier = x.sequential("classifier");
    let x = x.dropout(0.5).linear(4096).relu();
    let x = x.dropout(0.5).linear(4096).relu();
    x.linear(classes)
}
