//! Updates of weights by their gradients, on flat buffers: one pass over weights, gradients and what the optimiser keeps.
//!
//! A buffer is cut into [`Segment`]s, each with numbers of its own; what lies in none is left alone. Every element is
//! computed by itself and sums are taken in a fixed order, so results do not depend on the number of threads, nor on how
//! elements of equal numbers are cut into segments.

use crate::block::{Block, LANES};
use crate::isa::Isa;
use crate::simd::{Kernel, Simd};
use crate::threads::Threads;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Blocks that make a job.
const PIECE: usize = 1024;

/// Most tensors that a rule keeps.
pub const STATES: usize = 3;

/// What happens to the elements of a part of the buffers.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// The blocks.
    pub blocks: Range<usize>,
    /// What the rule is given as the gradient.
    pub gradient: Gradient,
    /// How it changes the weights.
    pub rule: Rule,
}

/// `g ← trust·(factor·clamp(g) + decay·w)`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gradient {
    /// The largest magnitude that is left of a gradient.
    pub bound: Option<f32>,
    /// Its factor.
    pub factor: f32,
    /// Weight decay.
    pub decay: f32,
    /// The factor of both.
    pub trust: f32,
}

impl Gradient {
    /// The gradient as it is.
    pub const PLAIN: Self = Self { bound: None, factor: 1.0, decay: 0.0, trust: 1.0 };
}

/// A rule, with the tensors that it keeps in their order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// `w ← w − lr·g`
    Descent {
        /// Learning rate.
        lr: f32,
    },
    /// Keeps v: `v ← momentum·v + intake·g; w ← w − lr·v`, or with Nesterov's momentum `w ← w − lr·(g + momentum·v)`
    Momentum {
        /// Learning rate.
        lr: f32,
        /// Momentum.
        momentum: f32,
        /// Share of the gradient that it takes up.
        intake: f32,
        /// Nesterov's momentum.
        nesterov: bool,
    },
    /// See [`RmsProp`].
    RmsProp(RmsProp),
    /// Keeps m and v: `m ← beta1·m + (1 − beta1)·g; v ← beta2·v + (1 − beta2)·g²; w ← keep·w − rate·m / (root·√v + eps)`
    Adam {
        /// `beta1` and what is missing to 1.
        mean: [f32; 2],
        /// `beta2` and what is missing to 1.
        square: [f32; 2],
        /// Share of the weight that stays.
        keep: f32,
        /// Learning rate over the mean's share of what it will be.
        rate: f32,
        /// One over the root of the square's share of what it will be.
        root: f32,
        /// Added to the divisor.
        eps: f32,
    },
}

/// Keeps the mean square s, then the mean a if centred, then the momentum b if there is one:
/// `s ← alpha·s + (1 − alpha)·g²; a ← alpha·a + (1 − alpha)·g; d = s − a²`, and with `inside`
/// `b ← momentum·b + lr·g/√(d + eps); w ← w − b`, else `b ← momentum·b + g/(√d + eps); w ← w − lr·b`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// Learning rate.
    pub lr: f32,
    /// `alpha` and what is missing to 1.
    pub alpha: [f32; 2],
    /// Added to the divisor.
    pub eps: f32,
    /// Momentum, if there is one.
    pub momentum: Option<f32>,
    /// The mean is kept.
    pub centered: bool,
    /// TensorFlow's form.
    pub inside: bool,
}

impl Rule {
    /// How many tensors it keeps.
    pub fn states(&self) -> usize {
        match self {
            Self::Descent { .. } => 0,
            Self::Momentum { .. } => 1,
            Self::RmsProp(rms) => {
                1 + usize::from(rms.centered) + usize::from(rms.momentum.is_some())
            }
            Self::Adam { .. } => 2,
        }
    }
}

/// One element's rule, on vectors: from the weight, its gradient and N kept values to the weight.
trait Law<const N: usize>: Copy {
    fn apply<S: Simd>(self, s: S, w: S::V, g: S::V, kept: &mut [S::V; N]) -> S::V;
}

#[derive(Clone, Copy)]
struct Descent(f32);

impl Law<0> for Descent {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, w: S::V, g: S::V, []: &mut [S::V; 0]) -> S::V {
        s.mul_add(s.splat(-self.0), g, w)
    }
}

#[derive(Clone, Copy)]
struct Momentum {
    lr: f32,
    momentum: f32,
    intake: f32,
    nesterov: bool,
}

impl Law<1> for Momentum {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, w: S::V, g: S::V, [v]: &mut [S::V; 1]) -> S::V {
        let momentum = s.splat(self.momentum);
        *v = s.mul_add(momentum, *v, s.mul(s.splat(self.intake), g));
        let step = if self.nesterov { s.mul_add(momentum, *v, g) } else { *v };
        s.mul_add(s.splat(-self.lr), step, w)
    }
}

/// Adam's numbers, in the order of [`Rule::Adam`].
#[derive(Clone, Copy)]
struct Adam {
    mean: [f32; 2],
    square: [f32; 2],
    keep: f32,
    rate: f32,
    root: f32,
    eps: f32,
}

impl Law<2> for Adam {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, w: S::V, g: S::V, [m, v]: &mut [S::V; 2]) -> S::V {
        *m = average(s, self.mean, *m, g);
        *v = average(s, self.square, *v, s.mul(g, g));
        let divisor = s.mul_add(s.splat(self.root), s.sqrt(*v), s.splat(self.eps));
        let step = s.div(*m, divisor);
        s.mul_add(s.splat(-self.rate), step, s.mul(s.splat(self.keep), w))
    }
}

/// `stay·x + intake·y`
#[inline(always)]
fn average<S: Simd>(s: S, [stay, intake]: [f32; 2], x: S::V, y: S::V) -> S::V {
    s.mul_add(s.splat(intake), y, s.mul(s.splat(stay), x))
}

impl RmsProp {
    #[inline(always)]
    fn step<S: Simd>(
        self,
        s: S,
        (w, g): (S::V, S::V),
        square: &mut S::V,
        mean: Option<&mut S::V>,
        buffer: Option<&mut S::V>,
    ) -> S::V {
        let (lr, eps) = (s.splat(self.lr), s.splat(self.eps));
        *square = average(s, self.alpha, *square, s.mul(g, g));
        let mut spread = *square;
        if let Some(mean) = mean {
            *mean = average(s, self.alpha, *mean, g);
            // Rounding may take it below zero.
            spread = s.relu(s.sub(spread, s.mul(*mean, *mean)));
        }
        let divisor =
            if self.inside { s.sqrt(s.add(spread, eps)) } else { s.add(s.sqrt(spread), eps) };
        let scaled = s.div(if self.inside { s.mul(lr, g) } else { g }, divisor);
        let step = match (buffer, self.momentum) {
            (Some(buffer), Some(momentum)) => {
                *buffer = s.mul_add(s.splat(momentum), *buffer, scaled);
                *buffer
            }
            _ => scaled,
        };
        if self.inside { s.sub(w, step) } else { s.mul_add(s.sub(s.zero(), lr), step, w) }
    }
}

impl Law<1> for RmsProp {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, w: S::V, g: S::V, [square]: &mut [S::V; 1]) -> S::V {
        self.step(s, (w, g), square, None, None)
    }
}

impl Law<2> for RmsProp {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, w: S::V, g: S::V, [square, other]: &mut [S::V; 2]) -> S::V {
        if self.centered {
            self.step(s, (w, g), square, Some(other), None)
        } else {
            self.step(s, (w, g), square, None, Some(other))
        }
    }
}

impl Law<3> for RmsProp {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, w: S::V, g: S::V, kept: &mut [S::V; 3]) -> S::V {
        let [square, mean, buffer] = kept;
        self.step(s, (w, g), square, Some(mean), Some(buffer))
    }
}

/// A law on a part of the buffers, all of one length.
struct Part<'a, L, const N: usize> {
    law: L,
    gradient: Gradient,
    w: &'a mut [Block],
    g: &'a [Block],
    kept: [&'a mut [Block]; N],
}

impl<L: Law<N>, const N: usize> Kernel for Part<'_, L, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { law, gradient, w, g, kept } = self;
        let Gradient { bound, factor, decay, trust } = gradient;
        let [factor, decay, trust] = [factor, decay, trust].map(|x| s.splat(x));
        let mut kept = kept.map(|kept| &mut kept[..w.len()]);
        for (i, (w, g)) in w.iter_mut().zip(g).enumerate() {
            let weight = s.load(w);
            let mut g = s.mul(factor, clamp(s, bound, s.load(g)));
            g = s.mul(trust, s.mul_add(decay, weight, g));
            let mut values = [s.zero(); N];
            for (value, kept) in values.iter_mut().zip(&kept) {
                *value = s.load(&kept[i]);
            }
            s.store(w, law.apply(s, weight, g, &mut values));
            for (kept, value) in kept.iter_mut().zip(values) {
                s.store(&mut kept[i], value);
            }
        }
    }
}

/// `x` brought into `−bound…bound`; NaN stays.
#[inline(always)]
fn clamp<S: Simd>(s: S, bound: Option<f32>, x: S::V) -> S::V {
    let Some(bound) = bound else { return x };
    let low = s.splat(-bound);
    let negative = s.sub(s.zero(), s.max(low, x));
    s.sub(s.zero(), s.max(low, negative))
}

/// A job's part of the buffers; each is taken out once.
struct Piece<'a> {
    w: &'a mut [Block],
    g: &'a [Block],
    kept: [&'a mut [Block]; STATES],
}

/// Changes `w` by the gradients `g`. Segments are in ascending order and apart. `kept` are the tensors of the rules, as long
/// as `w`, which all keep equally many.
///
/// # Panics
/// If lengths differ, a rule keeps another number of tensors, or segments are not as said.
pub fn update(
    isa: Isa,
    threads: &Threads,
    segments: &[Segment],
    w: &mut [Block],
    g: &[Block],
    kept: &mut [&mut [Block]],
) {
    let len = w.len();
    assert!(g.len() == len && kept.iter().all(|kept| kept.len() == len), "buffers of one length");
    let fits = |segment: &Segment| segment.rule.states() == kept.len();
    assert!(kept.len() <= STATES && segments.iter().all(fits), "the tensors of the rules");
    let ends = segments.iter().map(|s| &s.blocks).try_fold(0, |end, blocks| {
        (end <= blocks.start && blocks.start <= blocks.end).then_some(blocks.end)
    });
    assert!(ends.is_some_and(|end| end <= len), "segments in ascending order, within the buffers");

    let mut states = kept.iter_mut().map(|kept| kept.chunks_mut(PIECE));
    let mut states: [_; STATES] = std::array::from_fn(|_| states.next());
    let pieces: Vec<Mutex<Piece<'_>>> = w
        .chunks_mut(PIECE)
        .zip(g.chunks(PIECE))
        .map(|(w, g)| {
            let mut next =
                |i: usize| states[i].as_mut().and_then(Iterator::next).unwrap_or_default();
            Mutex::new(Piece { w, g, kept: std::array::from_fn(&mut next) })
        })
        .collect();
    threads.run(pieces.len(), |i| {
        let mut piece = pieces[i].lock().expect("each piece is locked once");
        let start = i * PIECE;
        let end = start + piece.w.len();
        let first = segments.partition_point(|segment| segment.blocks.end <= start);
        for segment in segments[first..].iter().take_while(|segment| segment.blocks.start < end) {
            let within =
                segment.blocks.start.max(start) - start..segment.blocks.end.min(end) - start;
            piece.apply(isa, segment, within);
        }
    });
}

impl Piece<'_> {
    fn apply(&mut self, isa: Isa, segment: &Segment, within: Range<usize>) {
        let &Segment { gradient, rule, .. } = segment;
        match rule {
            Rule::Descent { lr } => self.run(isa, gradient, Descent(lr), within),
            Rule::Momentum { lr, momentum, intake, nesterov } => {
                self.run(isa, gradient, Momentum { lr, momentum, intake, nesterov }, within);
            }
            Rule::Adam { mean, square, keep, rate, root, eps } => {
                self.run(isa, gradient, Adam { mean, square, keep, rate, root, eps }, within);
            }
            Rule::RmsProp(rms) => match rule.states() {
                1 => self.run::<_, 1>(isa, gradient, rms, within),
                2 => self.run::<_, 2>(isa, gradient, rms, within),
                _ => self.run::<_, 3>(isa, gradient, rms, within),
            },
        }
    }

    fn run<L: Law<N>, const N: usize>(
        &mut self,
        isa: Isa,
        gradient: Gradient,
        law: L,
        within: Range<usize>,
    ) {
        let mut kept = self.kept.iter_mut().map(|kept| &mut kept[within.clone()]);
        let kept = std::array::from_fn(|_| kept.next().expect("a rule keeps at most STATES"));
        let (w, g) = (&mut self.w[within.clone()], &self.g[within]);
        isa.run(Part { law, gradient, w, g, kept });
    }
}

/// Of each range, the sum of the squares of `x` brought into `−bound…bound`; in f64.
///
/// # Panics
/// If a range is not within `x`.
pub fn squares(
    isa: Isa,
    threads: &Threads,
    ranges: &[Range<usize>],
    bound: Option<f32>,
    x: &[Block],
) -> Vec<f64> {
    let pieces: Vec<&[Block]> =
        ranges.iter().flat_map(|range| x[range.clone()].chunks(PIECE)).collect();
    let sums: Vec<AtomicU64> = pieces.iter().map(|_| AtomicU64::new(0)).collect();
    threads.run(pieces.len(), |i| {
        let sum = isa.run(Squares { bound, x: pieces[i] });
        sums[i].store(sum.to_bits(), Relaxed);
    });
    let mut sums = sums.iter().map(|sum| f64::from_bits(sum.load(Relaxed)));
    let of_range = |range: &Range<usize>| sums.by_ref().take(range.len().div_ceil(PIECE)).sum();
    ranges.iter().map(of_range).collect()
}

struct Squares<'a> {
    bound: Option<f32>,
    x: &'a [Block],
}

impl Kernel for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let mut sums = [0.0; LANES];
        for x in self.x {
            let mut values = Block::ZERO;
            s.store(&mut values, clamp(s, self.bound, s.load(x)));
            for (sum, x) in sums.iter_mut().zip(values.0) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
        sums.iter().sum()
    }
}

/// `average ← average + share·(x − average)`, or a copy of x where the share is 1.
///
/// # Panics
/// If the lengths differ.
pub fn follow(isa: Isa, threads: &Threads, average: &mut [Block], x: &[Block], share: f32) {
    struct Follow<'a>(&'a mut [Block], &'a [Block], f32);
    impl Kernel for Follow<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let share = s.splat(self.2);
            for (average, x) in self.0.iter_mut().zip(self.1) {
                let old = s.load(average);
                s.store(average, s.mul_add(share, s.sub(s.load(x), old), old));
            }
        }
    }
    assert_eq!(average.len(), x.len(), "buffers of one length");
    threads.chunks(average, PIECE, |i, average| {
        let x = &x[i * PIECE..][..average.len()];
        if share == 1.0 {
            average.copy_from_slice(x);
        } else {
            isa.run(Follow(average, x, share));
        }
    });
}
