//! Inception-v3. Szegedy, Vanhoucke, Ioffe, Shlens & Wojna, "Rethinking the Inception Architecture for Computer
//! Vision", CVPR 2016, arXiv:1512.00567, Table 1 and Figures 5, 6, 7 and 10.
//! Not in a contest; one of the five networks of the winner of ILSVRC-2016.
//! Departures: layers, widths and names are those of torchvision, which follow the released network; its mean pooling
//! counts the padding, where TF-slim's does not. The auxiliary loss counts 0.4 times, as in TF-slim.

use super::bn_inception::unit;
use crate::registry::Settings;
use top5_graph::{Var, Window, concat, k};

pub(crate) fn inception_v3<'g>(mut x: Var<'g>, s: &Settings) -> Var<'g> {
    let pool = k(3).stride(2);
    x = unit(x, "Conv2d_1a_3x3", 32, k(3).stride(2));
    x = unit(x, "Conv2d_2a_3x3", 32, k(3));
    x = unit(x, "Conv2d_2b_3x3", 64, k(3).pad(1)).max_pool(pool);
    x = unit(x, "Conv2d_3b_1x1", 80, k(1));
    x = unit(x, "Conv2d_4a_3x3", 192, k(3)).max_pool(pool);
    x = figure_5(x, "Mixed_5b", 32);
    x = figure_5(x, "Mixed_5c", 64);
    x = figure_5(x, "Mixed_5d", 64);
    x = reduce_35(x, "Mixed_6a");
    x = figure_6(x, "Mixed_6b", 128);
    x = figure_6(x, "Mixed_6c", 160);
    x = figure_6(x, "Mixed_6d", 160);
    x = figure_6(x, "Mixed_6e", 192);
    if s.auxiliary {
        auxiliary(x, s.classes);
    }
    x = reduce_17(x, "Mixed_7a");
    x = figure_7(x, "Mixed_7b");
    x = figure_7(x, "Mixed_7c");
    x.global_avg_pool().dropout(0.5).linear(s.classes).named("fc")
}

/// Figure 5, on maps of 35×35, with its first 3×3 still a 5×5.
fn figure_5<'g>(x: Var<'g>, name: &str, pooled: usize) -> Var<'g> {
    let _module = x.scope(name);
    let a = unit(x, "branch1x1", 64, k(1));
    let b = unit(unit(x, "branch5x5_1", 48, k(1)), "branch5x5_2", 64, k(5).pad(2));
    let c = unit(x, "branch3x3dbl_1", 64, k(1));
    let c = unit(c, "branch3x3dbl_2", 96, k(3).pad(1));
    let c = unit(c, "branch3x3dbl_3", 96, k(3).pad(1));
    let d = unit(x.avg_pool(k(3).pad(1)), "branch_pool", pooled, k(1));
    concat([a, b, c, d])
}

/// Figure 10, from 35×35 to 17×17.
fn reduce_35<'g>(x: Var<'g>, name: &str) -> Var<'g> {
    let _module = x.scope(name);
    let a = unit(x, "branch3x3", 384, k(3).stride(2));
    let b = unit(x, "branch3x3dbl_1", 64, k(1));
    let b = unit(b, "branch3x3dbl_2", 96, k(3).pad(1));
    let b = unit(b, "branch3x3dbl_3", 96, k(3).stride(2));
    concat([a, b, x.max_pool(k(3).stride(2))])
}

/// Figure 6, on maps of 17×17: 7×7 convolutions as 1×7 and 7×1.
fn figure_6<'g>(x: Var<'g>, name: &str, width: usize) -> Var<'g> {
    let _module = x.scope(name);
    let a = unit(x, "branch1x1", 192, k(1));
    let b = unit(x, "branch7x7_1", width, k(1));
    let b = unit(b, "branch7x7_2", width, row(7));
    let b = unit(b, "branch7x7_3", 192, column(7));
    let c = unit(x, "branch7x7dbl_1", width, k(1));
    let c = unit(c, "branch7x7dbl_2", width, column(7));
    let c = unit(c, "branch7x7dbl_3", width, row(7));
    let c = unit(c, "branch7x7dbl_4", width, column(7));
    let c = unit(c, "branch7x7dbl_5", 192, row(7));
    let d = unit(x.avg_pool(k(3).pad(1)), "branch_pool", 192, k(1));
    concat([a, b, c, d])
}

/// Figure 10, from 17×17 to 8×8.
fn reduce_17<'g>(x: Var<'g>, name: &str) -> Var<'g> {
    let _module = x.scope(name);
    let a = unit(unit(x, "branch3x3_1", 192, k(1)), "branch3x3_2", 320, k(3).stride(2));
    let b = unit(x, "branch7x7x3_1", 192, k(1));
    let b = unit(b, "branch7x7x3_2", 192, row(7));
    let b = unit(b, "branch7x7x3_3", 192, column(7));
    let b = unit(b, "branch7x7x3_4", 192, k(3).stride(2));
    concat([a, b, x.max_pool(k(3).stride(2))])
}

/// Figure 7, on maps of 8×8: the last convolutions side by side.
fn figure_7<'g>(x: Var<'g>, name: &str) -> Var<'g> {
    let _module = x.scope(name);
    let a = unit(x, "branch1x1", 320, k(1));
    let b = unit(x, "branch3x3_1", 384, k(1));
    let b1 = unit(b, "branch3x3_2a", 384, row(3));
    let b2 = unit(b, "branch3x3_2b", 384, column(3));
    let c = unit(x, "branch3x3dbl_1", 448, k(1));
    let c = unit(c, "branch3x3dbl_2", 384, k(3).pad(1));
    let c1 = unit(c, "branch3x3dbl_3a", 384, row(3));
    let c2 = unit(c, "branch3x3dbl_3b", 384, column(3));
    let d = unit(x.avg_pool(k(3).pad(1)), "branch_pool", 192, k(1));
    concat([a, b1, b2, c1, c2, d])
}

/// Section 4's side head, with batch normalisation.
fn auxiliary(x: Var<'_>, classes: usize) {
    let _head = x.scope("AuxLogits");
    let x = unit(x.avg_pool(k(5).stride(3)), "conv0", 128, k(1));
    let x = unit(x, "conv1", 768, k(5)).global_avg_pool();
    x.linear(classes).named("fc").output("aux", 0.4);
}

/// 1×n, as wide as its input.
pub(crate) fn row(n: usize) -> Window {
    k([1, n]).pad([0, n / 2])
}

/// n×1, as high as its input.
pub(crate) fn column(n: usize) -> Window {
    k([n, 1]).pad([n / 2, 0])
}
