//! Wide residual networks. Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016, arXiv:1605.07146, section 3.4.
//! Not in a contest; one of the five networks of the winner of ILSVRC-2016.
//! Departures: none in the bottleneck networks, which have torchvision's names. `wrn_68_2` is a reconstruction: the
//! winner's slides name a WRN-68-2 (elsewhere WRN-68-3) and no layers; 68 layers are the blocks of ResNet-101 with two
//! 3×3 in each, here twice as wide.

use super::resnet::{Bottleneck, basic, unit};
use top5_graph::Var;

pub(crate) fn wide_bottleneck<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    let widths = [2 * width, 2 * width, 4 * width];
    Bottleneck { widths, ..Bottleneck::new(width, stride) }.branch(x)
}

pub(crate) fn wide_basic<'g>(x: Var<'g>, width: usize, stride: usize) -> Var<'g> {
    basic(x, 2 * width, stride, unit)
}
