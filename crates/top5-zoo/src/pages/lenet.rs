//! LeNet as it is written today: convolution, ReLU, max-pooling. The article gives its code; the network of 1998 is
//! `lenet5`. LeCun, Bottou, Bengio & Haffner, "Gradient-Based Learning Applied to Document Recognition", Proceedings
//! of the IEEE 86(11), 1998.
//! Departures: unpadded 28×28 input, all maps of the second convolution connected, max instead of trainable pooling,
//! ReLU instead of tanh, a linear output layer.

use crate::registry::Settings;
use top5_graph::{Var, k};

pub(crate) fn lenet<'g>(x: Var<'g>, s: &Settings) -> Var<'g> {
    let x = x.conv(6, 5).relu().max_pool(k(2).stride(2));
    let x = x.conv(16, 5).relu().max_pool(k(2).stride(2));
    let x = x.flatten();
    let x = x.linear(120).relu();
    let x = x.linear(84).relu();
    x.linear(s.classes)
}
