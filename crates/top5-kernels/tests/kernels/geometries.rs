//! Random loop nests, possible ones and impossible ones, with operands that fit and others: from safe code no kernel touches
//! what is not its own. A kernel gives the result of plain loops, or it refuses.

use crate::solve::narrowed;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use top5_graph::random::Stream;
use top5_kernels::conv::{
    self, Algorithm, Bound, ConvGeom, ConvNest, Epilogue, GeomError, Group, Input, Output, Strides,
};
use top5_kernels::table::{FORWARD, WEIGHT_GRADIENT};
use top5_kernels::{Block, Isa, LANES, Precision, Threads};

/// Most blocks of inputs, of weights or outputs, and of scratch memory: no more are allocated.
const MOST: [usize; 3] = [1 << 13, 1 << 11, 1 << 18];

/// A loop nest with operands.
struct Problem {
    geom: ConvGeom,
    n: usize,
    x: Vec<Block>,
    w: Vec<Block>,
    dy: Vec<Block>,
}

/// One of these.
fn pick<T: Copy>(random: &mut Stream, choices: &[T]) -> T {
    choices[random.below(choices.len())]
}

/// Numbers that are likely to overflow, alone or in products.
fn absurd(random: &mut Stream) -> usize {
    let power = 1usize << random.below(usize::BITS as usize);
    pick(random, &[power, power.wrapping_sub(1), power.wrapping_neg(), usize::MAX / 3])
}

/// What several groups read.
struct Groups {
    first: Vec<usize>,
    /// Blocks that an output block reads.
    reads: usize,
    /// Blocks of inputs.
    inputs: usize,
    depth: usize,
    out_channels: usize,
    group: Option<Group>,
}

impl Groups {
    /// Groups with outputs in about so many blocks.
    fn new(random: &mut Stream, outputs: usize) -> Self {
        let sizes = [[4, 4], [8, 8], [1, 1], [3, 3], [2, 4], [6, 6], [12, 12], [24, 24], [5, 7]];
        let [inputs, outs] = pick(random, &sizes);
        let groups = (outputs * LANES).div_ceil(outs);
        let (depth, out_channels) = (groups * inputs, groups * outs);
        let range = |k: usize| {
            let last = ((k + 1) * LANES).min(out_channels) - 1;
            k * LANES / outs * inputs / LANES..((last / outs + 1) * inputs).div_ceil(LANES)
        };
        let ranges: Vec<_> = (0..out_channels.div_ceil(LANES)).map(range).collect();
        let reads = ranges.iter().map(ExactSizeIterator::len).max().unwrap_or(1);
        let first: Vec<usize> = ranges.iter().map(|range| range.start).collect();
        let inputs_read = first.iter().max().map_or(0, |first| first + reads);
        let group = Some(Group { inputs, outputs: outs });
        Self { first, reads, inputs: inputs_read, depth, out_channels, group }
    }
}

/// A loop nest as a plan would make it, for some channels, kernel and stride.
fn possible(random: &mut Stream) -> ConvNest {
    let mut upto = |most: usize| 1 + random.below(most);
    let (rows, cols, blocks, outputs) = (upto(9), upto(17), upto(3), upto(3));
    let (side, step, cut) = (upto(3), upto(2), upto(LANES) - 1);
    let plain = random.below(4) == 0;
    let (few, out_channels) = (random.below(3) == 0, outputs * LANES - random.below(LANES));
    let groups = (few && !plain).then(|| Groups::new(random, outputs));
    let (lanes, unit) = if plain { (side, 1) } else { (LANES, LANES) };
    let depth = blocks * lanes - if plain { 0 } else { cut };
    let row = (cols - 1) * step + side + random.below(2);
    let plane = ((rows - 1) * step + side) * row * unit;
    let tap = |r: usize, s: usize| (r * row + s) * unit;
    let taps = (0..side).flat_map(|r| (0..if plain { 1 } else { side }).map(move |s| tap(r, s)));
    let Groups { first, reads, inputs, depth, out_channels, group } = groups.unwrap_or(Groups {
        first: vec![0; outputs],
        reads: blocks,
        inputs: blocks,
        depth,
        out_channels,
        group: None,
    });
    let outputs = first.len();
    ConvNest {
        rows,
        cols,
        batch_is_row: false,
        out_channels,
        first,
        blocks: reads,
        lanes,
        depth,
        group,
        taps: taps.collect(),
        x: Strides {
            offset: 0,
            image: inputs * plane,
            block: plane,
            row: step * row * unit,
            pixel: step * unit,
        },
        y: Strides {
            offset: 0,
            image: outputs * rows * cols,
            block: rows * cols,
            row: cols,
            pixel: 1,
        },
    }
}

/// Changes some numbers.
fn spoil(random: &mut Stream, nest: &mut ConvNest) {
    for _ in 0..1 + random.below(3) {
        let value = match random.below(4) {
            0 => absurd(random),
            1 => random.below(3),
            2 => LANES * random.below(9),
            _ => random.below(300),
        };
        let at = random.below(nest.first.len().max(1));
        let tap = random.below(nest.taps.len().max(1));
        match random.below(20) {
            0 => nest.rows = value,
            1 => nest.cols = value,
            2 => nest.batch_is_row = true,
            3 => nest.out_channels = value,
            4 => nest.first.iter_mut().skip(at).for_each(|first| *first = value),
            5 => nest.blocks = value,
            6 => nest.lanes = value,
            7 => nest.depth = value,
            8 => nest.group = Some(Group { inputs: value, outputs: 1 + random.below(20) }),
            9 => nest.taps.iter_mut().skip(tap).take(1).for_each(|tap| *tap = value),
            10 => nest.x.offset = value,
            11 => nest.x.image = value,
            12 => nest.x.block = value,
            13 => nest.x.row = value,
            14 => nest.x.pixel = value,
            15 => nest.y.offset = value,
            16 => nest.y.image = value,
            17 => nest.y.block = value,
            18 => nest.y.row = value,
            _ => nest.y.pixel = value,
        }
    }
}

/// The position of a pixel, if there is such a number.
fn place(s: &Strides, geom: &ConvGeom, [image, block, row, col]: [usize; 4]) -> Option<usize> {
    let image = if geom.batch_is_row { 0 } else { image };
    [(s.image, image), (s.block, block), (s.row, row), (s.pixel, col)]
        .into_iter()
        .try_fold(s.offset, |at, (step, count)| at.checked_add(step.checked_mul(count)?))
}

impl Problem {
    fn new(random: &mut Stream, geom: ConvGeom) -> Self {
        let n = random.below(4);
        let integers = |n: usize, random: &mut Stream| -> Vec<Block> {
            let mut block = || Block(std::array::from_fn(|_| random.below(9) as f32 - 4.0));
            (0..n).map(|_| block()).collect()
        };
        let fit = |end: Option<usize>, most: usize, random: &mut Stream| {
            let needed = end.filter(|&end| end <= most).unwrap_or_else(|| random.below(64));
            match random.below(8) {
                0 => needed.saturating_sub(1),
                1 => random.below(needed + 1),
                _ => needed,
            }
        };
        let (rows, cols) = (geom.rows, if geom.batch_is_row { n } else { geom.cols });
        let last = |s: &Strides, blocks: usize| {
            let last = [n, blocks, rows, cols].map(|count| count.saturating_sub(1));
            place(s, &geom, last)
        };
        let inputs = geom.first.iter().max().map_or(0, |first| first + geom.blocks);
        let inputs = inputs.min(geom.depth.div_ceil(geom.lanes));
        let tap = geom.taps.iter().max().copied().unwrap_or(0);
        let end = last(&geom.x, inputs)
            .and_then(|end| end.checked_add(tap)?.checked_add(geom.lanes.next_multiple_of(2)));
        let x = fit(end.map(|end| end.div_ceil(LANES)), MOST[0], random);
        let dy = fit(
            last(&geom.y, geom.out_blocks()).and_then(|end| end.checked_add(1)),
            MOST[1],
            random,
        );
        let w = fit(Some(geom.packed_len()), MOST[1], random);
        let (x, dy) = (integers(x, random), integers(dy, random));
        let w = integers(w, random);
        let mut problem = Self { geom, n, x, w, dy };
        if problem.w.len() == problem.geom.packed_len() {
            let mut w = std::mem::take(&mut problem.w);
            problem.each_weight(|at, _, has| {
                w[at].0.iter_mut().zip(has).filter(|(_, has)| !has).for_each(|(w, _)| *w = 0.0);
            });
            problem.w = w;
        }
        problem
    }

    /// Calls `visit` with every packed block, whether its lane is beyond the depth, and for each output whether it has a
    /// weight there.
    fn each_weight(&self, mut visit: impl FnMut(usize, bool, [bool; LANES])) {
        let geom = &self.geom;
        for (k, &first) in geom.first.iter().enumerate() {
            for b in first..first + geom.blocks {
                for i in 0..geom.taps.len() * geom.lanes {
                    let (t, l) = (i / geom.lanes, i % geom.lanes);
                    let at = geom.packed_index(k, b, t, l).expect("it is read");
                    let beyond = l >= geom.lanes_of(b);
                    let has = |o: usize| {
                        let inside = geom.group.is_none_or(|group| {
                            (k * LANES + o) / group.outputs == (b * LANES + l) / group.inputs
                        });
                        !beyond && inside && k * LANES + o < geom.out_channels
                    };
                    visit(at, beyond, std::array::from_fn(has));
                }
            }
        }
    }

    /// Calls `visit` with the positions in x, in floats, in w and in y, in blocks, of all vectors of products.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let geom = &self.geom;
        let (images, cols) = if geom.batch_is_row { (1, self.n) } else { (self.n, geom.cols) };
        for at in 0..images * geom.rows * cols {
            let (image, row, col) = (at / cols / geom.rows, at / cols % geom.rows, at % cols);
            for (k, &first) in geom.first.iter().enumerate() {
                let y = place(&geom.y, geom, [image, k, row, col]).expect("it was checked");
                for b in first..first + geom.blocks {
                    for (t, tap) in geom.taps.iter().enumerate() {
                        for l in 0..geom.lanes_of(b) {
                            let x = place(&geom.x, geom, [image, b, row, col]);
                            let x = x.expect("it was checked") + tap + l;
                            visit(x, geom.packed_index(k, b, t, l).expect("it is read"), y);
                        }
                    }
                }
            }
        }
    }

    /// What plain loops make of `y`.
    fn convolved(&self, y: &[Block]) -> Vec<Block> {
        let (x, mut sums) = (Block::flat(&self.x), y.to_vec());
        let mut fresh = vec![true; y.len()];
        self.products(|xi, wi, yi| {
            if std::mem::take(&mut fresh[yi]) {
                sums[yi] = Block::ZERO;
            }
            (0..LANES).for_each(|o| sums[yi].0[o] += x[xi] * self.w[wi].0[o]);
        });
        // Outputs without products are zero.
        sums
    }

    /// Clears the places of weights between groups, where a kernel may leave anything.
    fn mask(&self, dw: &mut [Block]) {
        if self.geom.group.is_some() {
            self.each_weight(|at, _, has| {
                dw[at].0.iter_mut().zip(has).filter(|(_, has)| !has).for_each(|(dw, _)| *dw = 0.0);
            });
        }
    }

    /// The gradient of the weights as plain loops compute it.
    fn gradient(&self) -> Vec<Block> {
        let (x, mut sums) = (Block::flat(&self.x), vec![Block::ZERO; self.geom.packed_len()]);
        self.products(|xi, wi, yi| {
            (0..LANES).for_each(|o| sums[wi].0[o] += x[xi] * self.dy[yi].0[o]);
        });
        sums
    }
}

thread_local! {
    /// Panics of this thread are expected.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What it returns, or `None` if it panics.
fn unless_refused<T>(call: impl FnOnce() -> T) -> Option<T> {
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(call));
    QUIET.set(false);
    outcome.ok()
}

/// So much scratch memory, if it is little.
fn scratch(blocks: usize) -> Vec<Block> {
    vec![Block([f32::NAN; LANES]); if blocks <= MOST[2] { blocks } else { 7 }]
}

/// Asserts that a result, if there is one, is that of plain loops, but for what a transform may be off by.
fn check(
    what: &str,
    problem: &Problem,
    got: Option<&Vec<Block>>,
    want: &dyn Fn() -> Vec<Block>,
    transform: bool,
) -> bool {
    let Some(got) = got else { return false };
    let want = want();
    let allowed = if transform { 1e-2 } else { 0.0 };
    for (i, (got, want)) in Block::flat(got).iter().zip(Block::flat(&want)).enumerate() {
        let off = (got - want).abs();
        assert!(
            off <= allowed,
            "{what}: {i} is {got}, expected {want}: {} {:?}",
            problem.n,
            problem.geom
        );
    }
    true
}

/// The kernels of a table that can be run here.
fn kernels<K: ?Sized>(
    table: &[Algorithm<K>],
    isa: Isa,
    problem: &Problem,
    training: bool,
) -> Vec<Arc<K>> {
    let solved = conv::Problem::new(problem.geom.clone(), problem.n, training);
    let there = table.iter().filter(|algorithm| isa.can_multiply(algorithm.precision));
    let make =
        |of: conv::Problem| there.filter_map(|algorithm| (algorithm.make)(isa, &of)).collect();
    solved.map(make).unwrap_or_default()
}

/// Runs all kernels; returns how many ran and how many there are.
fn run_all(problem: &Problem, isa: Isa, threads: &Threads, training: bool) -> [usize; 2] {
    let Problem { geom, n, x, w, dy } = problem;
    let blank = vec![Block::ZERO; dy.len()];
    let rounded = narrowed(isa, x);
    let mut counts = [0, 0];
    let mut count =
        |what: &str, bound: Bound, got: Option<&Vec<Block>>, want: &dyn Fn() -> Vec<Block>| {
            let transforms = matches!(bound, Bound::Transforms { .. });
            counts[0] += usize::from(check(what, problem, got, want, transforms));
            counts[1] += 1;
        };
    for kernel in kernels(&FORWARD, isa, problem, training) {
        let input = |floats| if floats { Input::F32(x) } else { Input::Bf16(&rounded) };
        let y = unless_refused(|| {
            let mut own = if kernel.packs() { scratch(kernel.packed_len()) } else { Vec::new() };
            if kernel.packs() {
                kernel.pack(threads, w, &mut own);
            }
            let weights = if kernel.packs() { &own } else { w };
            let (mut y, mut work) = (blank.clone(), scratch(kernel.workspace(threads.count())));
            let output = Output::F32(&mut y, Epilogue::default());
            let input = input(kernel.reads(Precision::F32));
            kernel.run(threads, *n, input, weights, &mut work, output);
            y
        });
        count(kernel.name(), kernel.bound(), y.as_ref(), &|| problem.convolved(&blank));
    }
    for kernel in kernels(&WEIGHT_GRADIENT, isa, problem, true) {
        let dw = unless_refused(|| {
            let mut work = scratch(kernel.workspace(threads.count()));
            let mut dw = scratch(geom.packed_len());
            kernel.run(threads, *n, x, dy, &mut work, &mut dw);
            if matches!(kernel.bound(), Bound::Transforms { .. }) {
                // Lanes beyond the depth, which are zero in an activation, are multiplied too.
                problem.each_weight(|at, beyond, _| {
                    if beyond {
                        dw[at] = Block::ZERO;
                    }
                });
            }
            problem.mask(&mut dw);
            dw
        });
        let want = || {
            let mut dw = problem.gradient();
            problem.mask(&mut dw);
            dw
        };
        count(kernel.name(), kernel.bound(), dw.as_ref(), &want);
    }
    counts
}

#[test]
fn exhaustive_random_geometries_are_computed_or_refused() {
    let cases = if std::env::var_os("TOP5_EXHAUSTIVE").is_some() { 400_000 } else { 4_000 };
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !QUIET.get() {
            report(panic);
        }
    }));
    let isas = Isa::available();
    let pools = [1, 3].map(Threads::oversubscribed);
    let (mut nests, mut runs) = ([0, 0], [0, 0]);
    for case in 0..cases {
        let random = &mut Stream::new(0x5afe, case);
        let mut nest = possible(random);
        if random.below(3) > 0 {
            spoil(random, &mut nest);
        }
        nests[1] += 1;
        let Ok(geom) = ConvGeom::new(nest) else { continue };
        nests[0] += 1;
        let problem = Problem::new(random, geom);
        let counts =
            run_all(&problem, pick(random, &isas), &pools[random.below(2)], random.below(2) == 0);
        (0..2).for_each(|i| runs[i] += counts[i]);
    }
    // Much is possible and much is not, of nests and of runs.
    for [good, all] in [nests, runs] {
        assert!(good > all / 5 && good < all - all / 10, "{good} of {all}");
    }
}

/// A first block so far away that the product with its lanes wraps to a small number.
#[test]
fn a_wrapping_first_block_is_refused() {
    let nest = ConvNest { first: vec![1 << (usize::BITS - 4)], ..one_pixel() };
    assert_eq!(ConvGeom::new(nest), Err(GeomError::TooLarge("input blocks")));
}

/// So many lanes that the length of the packed weights wraps to zero.
#[test]
fn a_wrapping_packed_length_is_refused() {
    let lanes = 1 << (usize::BITS - 1);
    let nest = ConvNest { lanes, depth: 2, taps: vec![0, 1, 2, 3], ..one_pixel() };
    assert_eq!(ConvGeom::new(nest), Err(GeomError::TooLarge("input blocks")));
}

/// One output from one input.
fn one_pixel() -> ConvNest {
    ConvNest {
        rows: 1,
        cols: 1,
        batch_is_row: false,
        out_channels: 16,
        first: vec![0],
        blocks: 1,
        lanes: 16,
        depth: 16,
        group: None,
        taps: vec![0],
        x: Strides { offset: 0, image: 0, block: 1, row: 0, pixel: 0 },
        y: Strides { offset: 0, image: 1, block: 1, row: 1, pixel: 1 },
    }
}
