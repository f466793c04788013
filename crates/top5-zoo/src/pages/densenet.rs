//! DenseNet. Huang, Liu, van der Maaten & Weinberger, "Densely Connected Convolutional Networks", CVPR 2017,
//! arXiv:1608.06993, Table 1. Not in a contest; of the article's further reading.
//! Departures: none. Layers and names are torchvision's.

use crate::registry::Settings;
use top5_graph::ops::Conv2d;
use top5_graph::{Family, Fans, Init, Spec, Var, concat, k};

/// Table 1: four dense blocks of these depths, whose layers add `growth` channels each; between them the channels and
/// the map are halved.
pub(crate) fn densenet<'g>(
    mut x: Var<'g>,
    growth: usize,
    depths: [usize; 4],
    s: &Settings,
) -> Var<'g> {
    x = x.init_by(he);
    {
        let _features = x.scope("features");
        x = conv(x, Conv2d::new(2 * growth, k(7).stride(2).pad(3))).named("conv0");
        x = norm(x, "norm0", "relu0").max_pool(k(3).stride(2).pad(1)).named("pool0");
        for (index, depth) in depths.into_iter().enumerate() {
            x = dense_block(x, index + 1, depth, growth);
            if index < 3 {
                x = transition(x, index + 1);
            }
        }
        x = norm(x, "norm5", "relu5");
    }
    x.global_avg_pool().linear(s.classes).named("classifier")
}

/// Figure 1: each layer reads what came into the block and what all layers before it have added.
fn dense_block(x: Var<'_>, index: usize, depth: usize, growth: usize) -> Var<'_> {
    let _block = x.scope(format!("denseblock{index}"));
    (1..=depth).fold(x, |x, layer| {
        let _layer = x.scope(format!("denselayer{layer}"));
        let y = conv(norm(x, "norm1", "relu1"), Conv2d::new(4 * growth, 1)).named("conv1");
        let y = conv(norm(y, "norm2", "relu2"), Conv2d::new(growth, k(3).pad(1))).named("conv2");
        concat([x, y])
    })
}

/// Section 3: half of the channels, then half of the map.
fn transition(x: Var<'_>, index: usize) -> Var<'_> {
    let _transition = x.scope(format!("transition{index}"));
    let y = conv(norm(x, "norm", "relu"), Conv2d::new(x.channels() / 2, 1)).named("conv");
    y.avg_pool(k(2).stride(2)).named("pool")
}

fn norm<'g>(x: Var<'g>, norm: &str, relu: &str) -> Var<'g> {
    x.batch_norm().named(norm).relu().named(relu)
}

fn conv(x: Var<'_>, conv: Conv2d) -> Var<'_> {
    x.apply(conv.no_bias())
}

/// He et al.'s for convolutions; the classifier's bias is zero.
fn he(layer: &Spec, fans: Fans) -> Option<(Init, f32)> {
    let is_linear = layer.family == Family::Linear;
    let init = if is_linear { Init::pytorch } else { Init::kaiming_normal };
    Some((init(fans.input), 0.0))
}
