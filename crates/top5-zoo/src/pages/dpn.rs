//! Dual path networks. Chen, Li, Xiao, Jin, Yan & Feng, "Dual Path Networks", NIPS 2017, arXiv:1707.01629, Table 1 and
//! Figure 2(d). ILSVRC-2017: first in object localisation, third in classification. Of the article's further reading.
//! Departures: none. Layers and names are timm's, whose weights are the authors'; the classifier is a 1×1 convolution.

use crate::registry::Settings;
use top5_graph::ops::{BatchNorm2d, Conv2d};
use top5_graph::{Var, concat, k};

/// A column of Table 1, or of the authors' repository.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    /// Filters and side of the first convolution.
    first: [usize; 2],
    /// Channels and groups of the 3×3 of the first stage; the channels double with every stage.
    inner: [usize; 2],
    /// Of each stage: blocks, channels that each adds to the dense path, channels of the residual path.
    stages: [[usize; 3]; 4],
}

pub(crate) const DPN_68: Column = Column {
    first: [10, 3],
    inner: [128, 32],
    stages: [[3, 16, 64], [4, 32, 128], [12, 32, 256], [3, 64, 512]],
};

pub(crate) const DPN_92: Column = Column {
    first: [64, 7],
    inner: [96, 32],
    stages: [[3, 16, 256], [4, 32, 512], [20, 24, 1024], [3, 128, 2048]],
};

pub(crate) const DPN_98: Column = Column {
    first: [96, 7],
    inner: [160, 40],
    stages: [[3, 16, 256], [6, 32, 512], [20, 32, 1024], [3, 128, 2048]],
};

pub(crate) const DPN_107: Column = Column {
    first: [128, 7],
    inner: [200, 50],
    stages: [[4, 20, 256], [8, 64, 512], [20, 64, 1024], [3, 128, 2048]],
};

pub(crate) const DPN_131: Column = Column {
    first: [128, 7],
    inner: [160, 40],
    stages: [[4, 16, 256], [8, 32, 512], [28, 32, 1024], [3, 128, 2048]],
};

pub(crate) fn dpn<'g>(x: Var<'g>, column: Column, s: &Settings) -> Var<'g> {
    let Column { first: [filters, side], inner: [width, groups], stages } = column;
    let x = {
        let _features = x.scope("features");
        let x = {
            let _conv = x.scope("conv1_1");
            let x = x
                .apply(Conv2d::new(filters, k(side).stride(2).pad(side / 2)).no_bias())
                .named("conv");
            norm(x)
        };
        let mut x = x.max_pool(k(3).stride(2).pad(1)).named("conv1_pool");
        for (index, [depth, increment, residual]) in stages.into_iter().enumerate() {
            let stride = if index == 0 { 1 } else { 2 };
            let block = Block { residual, increment, width: width << index, groups };
            for i in 0..depth {
                let _block = x.scope(format!("conv{}_{}", index + 2, i + 1));
                x = block.apply(x, (i == 0).then_some(stride));
            }
        }
        let _last = x.scope("conv5_bn_ac");
        norm(x)
    };
    x.global_avg_pool().conv(s.classes, 1).named("classifier").flatten()
}

struct Block {
    /// Channels of the residual path, which come first.
    residual: usize,
    /// Channels that the block adds to the dense path.
    increment: usize,
    width: usize,
    groups: usize,
}

impl Block {
    /// Figure 2(d): a bottleneck reads both paths; a part of its output is added to one, the rest is appended to the
    /// other. The first block of a stage projects both paths first, with its stride.
    fn apply<'g>(&self, x: Var<'g>, projection: Option<usize>) -> Var<'g> {
        let &Self { residual, increment, width, groups } = self;
        let paths = match projection {
            None => x,
            Some(stride) => {
                let conv = Conv2d::new(residual + 2 * increment, k(1).stride(stride));
                norm_conv(x, &format!("c1x1_w_s{stride}"), conv)
            }
        };
        let conv = Conv2d::new(width, k(3).stride(projection.unwrap_or(1)).pad(1));
        let y = norm_conv(x, "c1x1_a", Conv2d::new(width, 1));
        let y = norm_conv(y, "c3x3_b", conv.groups(groups));
        let y = norm_conv(y, "c1x1_c", Conv2d::new(residual + increment, 1));
        let dense = paths.slice(residual, paths.channels().saturating_sub(residual));
        concat([
            paths.slice(0, residual) + y.slice(0, residual),
            dense,
            y.slice(residual, increment),
        ])
    }
}

/// Normalisation and ReLU, then the convolution.
fn norm_conv<'g>(x: Var<'g>, name: &str, conv: Conv2d) -> Var<'g> {
    let _unit = x.scope(name);
    norm(x).apply(conv.no_bias()).named("conv")
}

fn norm(x: Var<'_>) -> Var<'_> {
    x.apply(BatchNorm2d { eps: 1e-3, momentum: 0.1 }).named("bn").relu()
}
