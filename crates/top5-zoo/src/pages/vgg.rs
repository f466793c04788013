//! VGG. Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
//! arXiv:1409.1556, Table 1. ILSVRC-2014: first in localisation, second in classification.
//! Departures: none. `_bn` networks are torchvision's, with batch normalisation after each convolution; `_bn_cifar`
//! networks are the article's, for CIFAR-100.

use super::alexnet::normalise;
use crate::registry::Settings;
use top5_graph::{Fans, Init, Spec, Var, k};

/// A column of Table 1: the filters of each stage, which a max-pooling closes.
pub(crate) type Column = [&'static [usize]; 5];

pub(crate) const A: Column = [&[64], &[128], &[256; 2], &[512; 2], &[512; 2]];
pub(crate) const B: Column = [&[64; 2], &[128; 2], &[256; 2], &[512; 2], &[512; 2]];
pub(crate) const D: Column = [&[64; 2], &[128; 2], &[256; 3], &[512; 3], &[512; 3]];
pub(crate) const E: Column = [&[64; 2], &[128; 2], &[256; 4], &[512; 4], &[512; 4]];

/// What distinguishes networks of one column.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// The paper's.
    Plain,
    /// Column A-LRN: response normalisation after the first layer.
    Normalised,
    /// Column C: the third convolution of a stage is 1×1.
    PointwiseThird,
    /// Batch normalisation after each convolution.
    BatchNorm,
}

pub(crate) fn vgg<'g>(x: Var<'g>, column: Column, kind: Kind, s: &Settings) -> Var<'g> {
    let x = features(x.init_by(glorot), column, kind).adaptive_avg_pool([7, 7]).flatten();
    classifier(x, s.classes)
}

/// The article's networks for CIFAR: 32×32 pixels leave one position before the classifier.
pub(crate) fn vgg_cifar<'g>(x: Var<'g>, column: Column, s: &Settings) -> Var<'g> {
    classifier(features(x.init_by(glorot), column, Kind::BatchNorm), s.classes)
}

/// Glorot & Bengio, which section 3.1 recommends in place of its pre-training.
fn glorot(_: &Spec, fans: Fans) -> Option<(Init, f32)> {
    Some((Init::xavier_uniform(fans.input, fans.output), 0.0))
}

fn features(mut x: Var<'_>, column: Column, kind: Kind) -> Var<'_> {
    let _features = x.sequential("features");
    for (stage, filters) in column.into_iter().enumerate() {
        for (layer, &filters) in filters.iter().enumerate() {
            let pointwise = kind == Kind::PointwiseThird && layer == 2;
            let side = if pointwise { 1 } else { 3 };
            x = x.conv(filters, k(side).pad(side / 2));
            if kind == Kind::BatchNorm {
                x = x.batch_norm();
            }
            x = x.relu();
            if kind == Kind::Normalised && stage == 0 {
                x = normalise(x);
            }
        }
        x = x.max_pool(k(2).stride(2));
    }
    x
}

fn classifier(x: Var<'_>, classes: usize) -> Var<'_> {
    let _classifier = x.sequential("classifier");
    let x = x.linear(4096).relu().dropout(0.5);
    let x = x.linear(4096).relu().dropout(0.5);
    x.linear(classes)
}
