//! Runs of the kernels of a table, each in its own form of operands, with scratch memory that nobody has written to.

use crate::packing::assert_same;
use std::sync::Arc;
use top5_kernels::conv::Algorithm;
use top5_kernels::conv::{
    Bound, ConvGeom, Epilogue, Forward, Input, InputGradient, Output, Problem, Transposed,
    WeightGradient,
};
use top5_kernels::convert::narrow;
use top5_kernels::{Block, BlockBf16, Isa, LANES, Precision, Threads};
use top5_testkit::close::assert_close_abs;

/// Not a number that a kernel may take for one.
const UNWRITTEN: Block = Block([f32::NAN; LANES]);

/// The kernels of a table that this machine can run and that solve the problem.
pub(crate) fn solvers<K: ?Sized>(
    table: &[Algorithm<K>],
    isa: Isa,
    geom: &ConvGeom,
    images: usize,
    training: bool,
) -> Vec<Arc<K>> {
    let problem = Problem::new(geom.clone(), images, training).expect("a small problem");
    let there = table.iter().filter(|algorithm| isa.can_multiply(algorithm.precision));
    there.filter_map(|algorithm| (algorithm.make)(isa, &problem)).collect()
}

/// Rounded to bf16, by the instruction set's own means or portable ones.
pub(crate) fn narrowed(isa: Isa, x: &[Block]) -> Vec<BlockBf16> {
    let isa = if isa.can_multiply(Precision::Bf16) { isa } else { Isa::Scalar };
    let mut y = vec![BlockBf16::ZERO; x.len()];
    narrow(isa, &Threads::new(1), x, &mut y);
    y
}

/// What a kernel writes, from packed weights, over `y`.
pub(crate) fn convolve(
    kernel: &dyn Forward,
    threads: &Threads,
    n: usize,
    x: &[Block],
    weights: &[Block],
    epilogue: Epilogue<'_>,
    mut y: Vec<Block>,
) -> Vec<Block> {
    let mut own = vec![UNWRITTEN; if kernel.packs() { kernel.packed_len() } else { 0 }];
    if kernel.packs() {
        kernel.pack(threads, weights, &mut own);
    }
    let weights = if kernel.packs() { &own } else { weights };
    let rounded = if kernel.reads(Precision::F32) { Vec::new() } else { narrowed(kernel.isa(), x) };
    let x = if kernel.reads(Precision::F32) { Input::F32(x) } else { Input::Bf16(&rounded) };
    let mut work = vec![UNWRITTEN; kernel.workspace(threads.count())];
    kernel.run(threads, n, x, weights, &mut work, Output::F32(&mut y, epilogue));
    y
}

/// The gradient of an input, over or added to `dx`.
pub(crate) fn input_gradient(
    kernel: &dyn InputGradient,
    threads: &Threads,
    n: usize,
    dy: &[Block],
    weights: &Transposed<'_>,
    accumulate: bool,
    mut dx: Vec<Block>,
) -> Vec<Block> {
    let floats = kernel.reads() == Precision::F32;
    let rounded = if floats { Vec::new() } else { narrowed(kernel.isa(), dy) };
    let dy = if floats { Input::F32(dy) } else { Input::Bf16(&rounded) };
    let mut work = vec![UNWRITTEN; kernel.workspace(threads.count())];
    let mut transposed = vec![UNWRITTEN; kernel.transposed_len(threads.count())];
    kernel.run(threads, n, dy, weights, accumulate, &mut work, &mut transposed, &mut dx);
    dx
}

/// The packed gradient of weights, of which all places are written.
pub(crate) fn weight_gradient(
    kernel: &dyn WeightGradient,
    threads: &Threads,
    n: usize,
    x: &[Block],
    dy: &[Block],
) -> Vec<Block> {
    let mut work = vec![UNWRITTEN; kernel.workspace(threads.count())];
    let mut dw = vec![UNWRITTEN; kernel.problem().geom().packed_len()];
    kernel.run(threads, n, x, dy, &mut work, &mut dw);
    let written = dw.iter().all(|block| block.0.iter().all(|v| v.is_finite()));
    assert!(written, "{}, {n} images: not all written", kernel.name());
    dw
}

/// Asserts that results from integers are exact, or those of a transform within a few units of the largest one's last place.
pub(crate) fn assert_right(what: &str, bound: Bound, got: &[f32], want: &[f32]) {
    match bound {
        Bound::Sum | Bound::RoundedSum => assert_same(what, got, want),
        Bound::Transforms { .. } => {
            let largest = want.iter().fold(1.0, |most: f32, v| most.max(v.abs()));
            assert_close_abs(what, got, want, 2e-6 * f64::from(largest));
        }
    }
}
