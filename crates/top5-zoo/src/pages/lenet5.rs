//! LeNet-5. LeCun, Bottou, Bengio & Haffner, "Gradient-Based Learning Applied to Document Recognition", Proceedings
//! of the IEEE 86(11), 1998, section II.B, Figure 2 and Table I.
//! Departures: the outputs are minus the squared distances, so that the largest is the answer; the 7×12 codes are
//! drawn after Figure 3, not copied from it; classes beyond the ten digits have random codes, which section II.B
//! names as the alternative; biases start at zero.

use crate::registry::Settings;
use std::sync::Arc;
use top5_graph::ops::{EuclideanRbf, Subsampling, TableConv2d};
use top5_graph::random::{Stream, hash};
use top5_graph::{Family, Fans, Init, Spec, Var, k};

pub(crate) fn lenet5<'g>(x: Var<'g>, s: &Settings) -> Var<'g> {
    let codes = codes(s.classes);
    let x = x.init_by(uniform).conv(6, 5).named("c1").scaled_tanh();
    let x = subsample(x, "s2");
    let c3 = TableConv2d { table: TABLE_I.map(<[usize]>::to_vec).to_vec(), window: k(5) };
    let x = x.apply(c3).named("c3").scaled_tanh();
    let x = subsample(x, "s4");
    let x = x.conv(120, 5).named("c5").scaled_tanh();
    let x = x.linear(84).named("f6").scaled_tanh();
    x.apply(EuclideanRbf { codes, classes: s.classes }).named("output")
}

fn subsample<'g>(x: Var<'g>, name: &str) -> Var<'g> {
    x.apply(Subsampling { window: k(2).stride(2) }).named(name).scaled_tanh()
}

/// Appendix A; the subsampling layers start as PyTorch would start them.
fn uniform(layer: &Spec, fans: Fans) -> Option<(Init, f32)> {
    let is_subsampling = layer.family == Family::Pooling;
    (!is_subsampling).then(|| (Init::Uniform(2.4 / fans.input as f32), 0.0))
}

/// Table I: the maps of S2 that each map of C3 sees.
const TABLE_I: [&[usize]; 16] = [
    &[0, 1, 2],
    &[1, 2, 3],
    &[2, 3, 4],
    &[3, 4, 5],
    &[0, 4, 5],
    &[0, 1, 5],
    &[0, 1, 2, 3],
    &[1, 2, 3, 4],
    &[2, 3, 4, 5],
    &[0, 3, 4, 5],
    &[0, 1, 4, 5],
    &[0, 1, 2, 5],
    &[0, 1, 3, 4],
    &[1, 2, 4, 5],
    &[0, 2, 3, 5],
    &[0, 1, 2, 3, 4, 5],
];

/// Target activations of F6, 84 per class: +1 where a 7×12 picture of the digit has ink, −1 elsewhere.
fn codes(classes: usize) -> Arc<[f32]> {
    let ink = |on: bool| if on { 1.0 } else { -1.0 };
    let drawn = DIGITS.iter().take(classes);
    let drawn = drawn.flat_map(|rows| (0..84).map(|i| ink(rows[i / 7] >> (6 - i % 7) & 1 == 1)));
    let random = Stream::new(0, hash("lenet5.codes"));
    let beyond = (84 * DIGITS.len() as u64)..(84 * classes.min(MOST_CODES) as u64);
    drawn.chain(beyond.map(|i| ink(random.at(i) & 1 == 1))).collect()
}

/// No codes are drawn beyond this many classes: the layer then reports that they do not suffice.
const MOST_CODES: usize = 1 << 16;

/// The digits, one byte per row, its bit 6 being the left column.
const DIGITS: [[u8; 12]; 10] = [
    [0, 0x1c, 0x36, 0x63, 0x63, 0x63, 0x63, 0x63, 0x63, 0x36, 0x1c, 0],
    [0, 0x0c, 0x1c, 0x3c, 0x0c, 0x0c, 0x0c, 0x0c, 0x0c, 0x0c, 0x3f, 0],
    [0, 0x3e, 0x63, 0x03, 0x03, 0x06, 0x0c, 0x18, 0x30, 0x60, 0x7f, 0],
    [0, 0x7f, 0x03, 0x06, 0x0c, 0x1e, 0x03, 0x03, 0x03, 0x63, 0x3e, 0],
    [0, 0x06, 0x0e, 0x1e, 0x36, 0x66, 0x66, 0x7f, 0x06, 0x06, 0x06, 0],
    [0, 0x7f, 0x60, 0x60, 0x7e, 0x63, 0x03, 0x03, 0x03, 0x63, 0x3e, 0],
    [0, 0x1e, 0x30, 0x60, 0x60, 0x7e, 0x63, 0x63, 0x63, 0x63, 0x3e, 0],
    [0, 0x7f, 0x03, 0x03, 0x06, 0x06, 0x0c, 0x0c, 0x18, 0x18, 0x18, 0],
    [0, 0x3e, 0x63, 0x63, 0x63, 0x3e, 0x63, 0x63, 0x63, 0x63, 0x3e, 0],
    [0, 0x3e, 0x63, 0x63, 0x63, 0x63, 0x3f, 0x03, 0x03, 0x06, 0x3c, 0],
];
