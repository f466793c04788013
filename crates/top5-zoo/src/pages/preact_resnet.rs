//! ResNets with the activation in front. He, Zhang, Ren & Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016,
//! arXiv:1603.05027, Figure 4(e) and Table 5. Not in a contest; ResNet-200 is one of the five networks of the winner of
//! ILSVRC-2016.
//! Departures: layers and names are timm's (`resnetv2`). The first normalisation follows the max-pooling, where the
//! paper's appendix has it right after the first convolution; the stride is on the 3×3; the classifier is a 1×1
//! convolution. `resnetv2_50` has a depth that the paper does not.

use super::resnet::{blocks, he};
use crate::registry::Settings;
use top5_graph::ops::Conv2d;
use top5_graph::{Init, Var, k};

pub(crate) fn preact<'g>(x: Var<'g>, depths: [usize; 4], s: &Settings) -> Var<'g> {
    let x = conv(x.init_by(he), Conv2d::new(64, k(7).stride(2).pad(3))).named("stem.conv");
    let mut x = x.max_pool(k(3).stride(2).pad(1)).named("stem.pool");
    for (stage, depth) in depths.into_iter().enumerate() {
        let _stage = x.scope(format!("stages.{stage}.blocks"));
        let stride = if stage == 0 { 1 } else { 2 };
        x = blocks(x, depth, stride, |x, stride| unit(x, 64 << stage, stride));
    }
    let x = x.batch_norm().named("norm").relu().global_avg_pool();
    x.conv(s.classes, 1).named("head.fc").init(Init::Normal(0.01), 0.0).flatten()
}

/// Figure 4(e) with three convolutions: normalisation and ReLU before each. Nothing follows the sum. A projection reads
/// what the branch reads, after the first ReLU.
fn unit(x: Var<'_>, width: usize, stride: usize) -> Var<'_> {
    let out = 4 * width;
    let y = x.batch_norm().named("norm1").relu();
    let shortcut = if x.channels() == out && stride == 1 {
        x
    } else {
        conv(y, Conv2d::new(out, k(1).stride(stride))).named("downsample.conv")
    };
    let y = conv(y, Conv2d::new(width, 1)).named("conv1").batch_norm().named("norm2").relu();
    let y = conv(y, Conv2d::new(width, k(3).stride(stride).pad(1))).named("conv2");
    let y = y.batch_norm().named("norm3").relu();
    conv(y, Conv2d::new(out, 1)).named("conv3") + shortcut
}

fn conv(x: Var<'_>, conv: Conv2d) -> Var<'_> {
    x.apply(conv.no_bias())
}
