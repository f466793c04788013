//! Inception-v4 and Inception-ResNet-v2. Szegedy, Ioffe, Vanhoucke & Alemi, "Inception-v4, Inception-ResNet and the
//! Impact of Residual Connections on Learning", AAAI 2017, arXiv:1602.07261; Figures 3 to 9 and 15 to 19.
//! Not in a contest; two of the five networks of the winner of ILSVRC-2016.
//! Departures: none in `inception_v4`. `inception_resnet_v2` is the network that was released, not the printed one:
//! Inception-v3's stem, 10, 20 and 10 residual modules, scales 0.17, 0.10 and 0.20 (the last module: 1, no ReLU).
//! Names are timm's.

use super::bn_inception::unit;
use super::inception_v3::{column, row};
use crate::registry::Settings;
use top5_graph::{Var, Window, concat, k};

pub(crate) fn inception_v4<'g>(mut x: Var<'g>, s: &Settings) -> Var<'g> {
    {
        let _features = x.scope("features");
        x = stem(x);
        x = (6..10).fold(x, inception_a);
        x = reduction_a(x, "10", [192, 224, 256, 384]);
        x = (11..18).fold(x, inception_b);
        x = reduction_b(x, "18");
        x = (19..22).fold(x, inception_c);
    }
    x.global_avg_pool().dropout(0.2).linear(s.classes).named("last_linear")
}

/// Figure 3: 299×299 to 384 maps of 35×35.
fn stem(x: Var<'_>) -> Var<'_> {
    let x = unit(x, "0", 32, half());
    let x = unit(x, "1", 32, k(3));
    let x = unit(x, "2", 64, k(3).pad(1));
    let x = concat([x.max_pool(half()), unit(x, "3.conv", 96, half())]);
    let a = chain(x, "4.branch0", &[(64, k(1)), (96, k(3))]);
    let b = chain(x, "4.branch1", &[(64, k(1)), (64, row(7)), (64, column(7)), (96, k(3))]);
    let x = concat([a, b]);
    concat([unit(x, "5.conv", 192, half()), x.max_pool(half())])
}

/// Figure 4, on maps of 35×35.
fn inception_a(x: Var<'_>, index: usize) -> Var<'_> {
    let _module = x.scope(index.to_string());
    let same = k(3).pad(1);
    let a = unit(x, "branch0", 96, k(1));
    let b = chain(x, "branch1", &[(64, k(1)), (96, same)]);
    let c = chain(x, "branch2", &[(64, k(1)), (96, same), (96, same)]);
    concat([a, b, c, pooled(x, 96)])
}

/// Figure 7, from 35×35 to 17×17, with the widths that Table 1 gives each network.
fn reduction_a<'g>(x: Var<'g>, name: &str, [first, second, third, alone]: [usize; 4]) -> Var<'g> {
    let _module = x.scope(name);
    let a = unit(x, "branch0", alone, half());
    let b = chain(x, "branch1", &[(first, k(1)), (second, k(3).pad(1)), (third, half())]);
    concat([a, b, x.max_pool(half())])
}

/// Figure 5, on maps of 17×17.
fn inception_b(x: Var<'_>, index: usize) -> Var<'_> {
    let _module = x.scope(index.to_string());
    let a = unit(x, "branch0", 384, k(1));
    let b = chain(x, "branch1", &[(192, k(1)), (224, row(7)), (256, column(7))]);
    let c = [(192, k(1)), (192, column(7)), (224, row(7)), (224, column(7)), (256, row(7))];
    concat([a, b, chain(x, "branch2", &c), pooled(x, 128)])
}

/// Figure 8, from 17×17 to 8×8.
fn reduction_b<'g>(x: Var<'g>, name: &str) -> Var<'g> {
    let _module = x.scope(name);
    let a = chain(x, "branch0", &[(192, k(1)), (192, half())]);
    let b = chain(x, "branch1", &[(256, k(1)), (256, row(7)), (320, column(7)), (320, half())]);
    concat([a, b, x.max_pool(half())])
}

/// Figure 6, on maps of 8×8: the last convolutions side by side.
fn inception_c(x: Var<'_>, index: usize) -> Var<'_> {
    let _module = x.scope(index.to_string());
    let a = unit(x, "branch0", 256, k(1));
    let b = unit(x, "branch1_0", 384, k(1));
    let b1 = unit(b, "branch1_1a", 256, row(3));
    let b2 = unit(b, "branch1_1b", 256, column(3));
    let c = unit(x, "branch2_0", 384, k(1));
    let c = unit(c, "branch2_1", 448, column(3));
    let c = unit(c, "branch2_2", 512, row(3));
    let c1 = unit(c, "branch2_3a", 256, row(3));
    let c2 = unit(c, "branch2_3b", 256, column(3));
    concat([a, b1, b2, c1, c2, pooled(x, 256)])
}

pub(crate) fn inception_resnet_v2<'g>(mut x: Var<'g>, s: &Settings) -> Var<'g> {
    x = unit(x, "conv2d_1a", 32, half());
    x = unit(x, "conv2d_2a", 32, k(3));
    x = unit(x, "conv2d_2b", 64, k(3).pad(1)).max_pool(half());
    x = unit(x, "conv2d_3b", 80, k(1));
    x = unit(x, "conv2d_4a", 192, k(3)).max_pool(half());
    x = mixed_5b(x);
    x = (0..10).fold(x, |x, i| block_35(x, &format!("repeat.{i}")));
    x = reduction_a(x, "mixed_6a", [256, 256, 384, 384]);
    x = (0..20).fold(x, |x, i| block_17(x, &format!("repeat_1.{i}")));
    x = mixed_7a(x);
    x = (0..9).fold(x, |x, i| block_8(x, &format!("repeat_2.{i}"), 0.2).relu());
    x = block_8(x, "block8", 1.0);
    x = unit(x, "conv2d_7b", 1536, k(1));
    x.global_avg_pool().dropout(0.2).linear(s.classes).named("classif")
}

/// Inception-v3's first module with the released widths, to 320 maps of 35×35.
fn mixed_5b(x: Var<'_>) -> Var<'_> {
    let _module = x.scope("mixed_5b");
    let same = k(3).pad(1);
    let a = unit(x, "branch0", 96, k(1));
    let b = chain(x, "branch1", &[(48, k(1)), (64, k(5).pad(2))]);
    let c = chain(x, "branch2", &[(64, k(1)), (96, same), (96, same)]);
    concat([a, b, c, pooled(x, 64)])
}

/// Figure 16, on maps of 35×35.
fn block_35<'g>(x: Var<'g>, name: &str) -> Var<'g> {
    let _module = x.scope(name);
    let same = k(3).pad(1);
    let a = unit(x, "branch0", 32, k(1));
    let b = chain(x, "branch1", &[(32, k(1)), (32, same)]);
    let c = chain(x, "branch2", &[(32, k(1)), (48, same), (64, same)]);
    residual(x, concat([a, b, c]), 0.17).relu()
}

/// Figure 17, on maps of 17×17.
fn block_17<'g>(x: Var<'g>, name: &str) -> Var<'g> {
    let _module = x.scope(name);
    let a = unit(x, "branch0", 192, k(1));
    let b = chain(x, "branch1", &[(128, k(1)), (160, row(7)), (192, column(7))]);
    residual(x, concat([a, b]), 0.1).relu()
}

/// Figure 18, from 17×17 to 8×8.
fn mixed_7a(x: Var<'_>) -> Var<'_> {
    let _module = x.scope("mixed_7a");
    let a = chain(x, "branch0", &[(256, k(1)), (384, half())]);
    let b = chain(x, "branch1", &[(256, k(1)), (288, half())]);
    let c = chain(x, "branch2", &[(256, k(1)), (288, k(3).pad(1)), (320, half())]);
    concat([a, b, c, x.max_pool(half())])
}

/// Figure 19, on maps of 8×8, without its ReLU.
fn block_8<'g>(x: Var<'g>, name: &str, scale: f32) -> Var<'g> {
    let _module = x.scope(name);
    let a = unit(x, "branch0", 192, k(1));
    let b = chain(x, "branch1", &[(192, k(1)), (224, row(3)), (256, column(3))]);
    residual(x, concat([a, b]), scale)
}

/// Section 3.3: the branches, without an activation, scaled down before they are added.
fn residual<'g>(x: Var<'g>, branches: Var<'g>, scale: f32) -> Var<'g> {
    x + branches.conv(x.channels(), 1).named("conv2d").times(scale)
}

fn pooled(x: Var<'_>, width: usize) -> Var<'_> {
    unit(x.avg_pool_no_pad(k(3).pad(1)), "branch3.1", width, k(1))
}

/// Units called `NAME.0`, `NAME.1`, …
fn chain<'g>(x: Var<'g>, name: &str, layers: &[(usize, Window)]) -> Var<'g> {
    let layers = layers.iter().enumerate();
    layers.fold(x, |x, (i, &(width, window))| unit(x, &format!("{name}.{i}"), width, window))
}

/// Windows of 3×3 that halve the map.
fn half() -> Window {
    k(3).stride(2)
}
