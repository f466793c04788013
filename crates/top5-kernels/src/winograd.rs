//! Winograd's minimal filtering F(4×4, 3×3) and F(2×2, 3×3) for convolutions with a 3×3 kernel and stride 1.
//!
//! An output tile of m×m pixels is `Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A` of the kernel g and the input tile d of T×T pixels,
//! T = m + 2 (Winograd 1980; Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016; the matrices are
//! in filter.rs): with m = 4, 36 multiplications per channel instead of 144. Summed over channels, the products at each
//! of the T² positions are a matrix product:
//!
//! ```text
//! U[T²] = G g Gᵀ           once per weights            [position][input channel][16 outputs]
//! V[T²] = Bᵀ d B           for a chunk of tiles        [position][input block][tile][16]
//! M[T²] = Σ_channels U·V   for a group of outputs      [position][output block][tile][16]
//! Y     = Aᵀ M A           and the epilogue
//! ```
//!
//! With C input channels, an output differs from the exact one by at most
//! `(C + R)·2⁻²⁴·|Aᵀ|[Σ_channels (|G||g||G|ᵀ) ⊙ (|B|ᵀ|d||B|)]|A|`, where `|·|` is the size of every entry: R roundings in the
//! transforms ([`Tile::roundings`]) and C in the sum.
//!
//! F(2×2, 3×3) multiplies 4 times per output and channel pair where F(4×4, 3×3) multiplies 2.25 times. It pays where the
//! larger tile does not fit the map, as in maps of 2×2 pixels, and where there are so few tiles that most of the time goes
//! into reading U, which has 16 positions instead of 36.

mod filter;
mod gradient;
mod inputs;
mod weights;

pub use filter::Tile;
pub use gradient::WinogradGradient;
pub use weights::Source;

use crate::block::{Block, LANES};
use crate::conv::{AHEAD, ConvGeom, Epilogue, Strides};
use crate::isa::{Isa, Kernel};
use crate::pixel::Pixel;
use crate::simd::Simd;
use crate::threads::{Shore, Threads};
use filter::{F2, F4, Filter};
use inputs::Inputs;
use std::array::from_fn;
use std::ops::Range;

/// Blocks from one position to the next where a position has `len`: an odd number, so that the lines that a tile's
/// transform writes do not compete for one place of the cache.
const fn apart(len: usize) -> usize {
    len | 1
}

/// Image, row and column of a tile and those after it.
#[derive(Clone, Copy)]
struct Places {
    /// Rows and columns of tiles in an image.
    tiles: [usize; 2],
    at: [usize; 3],
}

impl Places {
    #[inline(always)]
    fn new(tiles: [usize; 2], first: usize) -> Self {
        let [down, across] = tiles;
        let at = [first / (down * across), first / across % down, first % across];
        Self { tiles, at }
    }

    #[inline(always)]
    fn advance(&mut self) {
        let [n, down, across] = &mut self.at;
        *across += 1;
        if *across == self.tiles[1] {
            *across = 0;
            *down += 1;
            if *down == self.tiles[0] {
                *down = 0;
                *n += 1;
            }
        }
    }
}

/// Blocks of V that a job may fill, so that M and U stay in a second-level cache beside it.
const V_BLOCKS: usize = 1 << 13;
/// Most tiles of a chunk of one job, and of a chunk that all jobs share.
const CHUNK: [usize; 2] = [28, 64];
/// Tiles that threads share.
const SHARED: usize = 128;

/// The kernel for one geometry and largest batch.
#[derive(Clone, Debug)]
pub struct Winograd {
    isa: Isa,
    name: String,
    geom: ConvGeom,
    tile: Tile,
    /// For each kernel element, in row-major order, its tap.
    taps: [usize; 9],
    /// Tiles per image: rows, columns.
    tiles: [usize; 2],
    /// Output blocks of a group.
    group: usize,
    /// Tiles of a chunk.
    chunk: usize,
    /// Most chunks.
    chunks: usize,
    /// The transform of all chunks is shared, the groups are the jobs. Otherwise the chunks are.
    split: bool,
}

/// For each kernel element, in row-major order, its tap; `None` if the geometry is not a dense 3×3 convolution of stride
/// 1 over channel blocks.
fn taps(geom: &ConvGeom) -> Option<[usize; 9]> {
    let dense = geom.first.iter().all(|&first| first == 0) && geom.lanes == LANES;
    // Every block that is read exists: the products do not stop at the depth.
    let whole_depth = geom.blocks > 0 && geom.depth.div_ceil(LANES) >= geom.blocks;
    let unit = geom.x.pixel == LANES && geom.y.pixel == 1 && !geom.batch_is_row;
    let whole = [geom.x.offset, geom.x.image, geom.x.block, geom.x.row];
    if !dense || !whole_depth || !unit || whole.iter().any(|at| !at.is_multiple_of(LANES)) {
        return None;
    }
    let tap = |i: usize| {
        let place = i / 3 * geom.x.row + i % 3 * LANES;
        geom.taps.iter().position(|&tap| tap == place)
    };
    let found: Option<Vec<usize>> = (0..9).map(tap).collect();
    found.filter(|_| geom.taps.len() == 9)?.try_into().ok()
}

impl Winograd {
    /// The kernel for this geometry and up to `images` images at once; `None` if it is not a dense 3×3 convolution of
    /// stride 1 over channel blocks.
    pub fn new(isa: Isa, geom: ConvGeom, images: usize, tile: Tile) -> Option<Self> {
        let taps = taps(&geom)?;
        let group = if isa.tile()[1] > 0 { 2 } else { 1 };
        let tiles = [geom.rows, geom.cols].map(|size| size.div_ceil(tile.side()));
        let total = (tiles[0] * tiles[1] * images).max(1);
        let most = (V_BLOCKS / (tile.positions() * geom.blocks)).clamp(8, CHUNK[0]);
        // Few tiles: the threads share them, so that each reads a part of U only, and once.
        let split = total <= SHARED;
        let chunk = if split {
            total.div_ceil(total.div_ceil(CHUNK[1]))
        } else {
            total.div_ceil((total.div_ceil(most)).next_multiple_of(4))
        };
        let chunks = total.div_ceil(chunk);
        let name = format!("f32_conv_winograd_{}x3_{isa}", tile.side());
        Some(Self { isa, name, geom, tile, taps, tiles, group, chunk, chunks, split })
    }

    /// Its name: `f32_conv_winograd_4x3_avx512`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its filtering.
    pub fn tile(&self) -> Tile {
        self.tile
    }

    /// The geometry that it was made for.
    pub fn geom(&self) -> &ConvGeom {
        &self.geom
    }

    /// Blocks of the transformed weights.
    pub fn packed_len(&self) -> usize {
        let last = self.group_range(self.groups() - 1).len();
        (self.groups() - 1) * self.group_len()
            + self.tile.positions() * apart(self.geom.blocks * LANES * last)
    }

    /// Blocks of V for one chunk.
    fn v_len(&self) -> usize {
        self.tile.positions() * self.v_step()
    }

    fn v_step(&self) -> usize {
        apart(self.geom.blocks * self.chunk)
    }

    /// Blocks of M for one chunk and group.
    fn m_len(&self) -> usize {
        self.tile.positions() * apart(self.group * self.chunk)
    }

    /// Blocks of scratch memory for this many threads.
    pub fn workspace(&self, threads: usize) -> usize {
        if self.split {
            self.split_workspace(threads, 1, 0)
        } else {
            threads * (self.v_len() + self.m_len())
        }
    }

    /// Output blocks of group `g`.
    fn group_range(&self, g: usize) -> Range<usize> {
        g * self.group..((g + 1) * self.group).min(self.geom.out_blocks())
    }

    fn groups(&self) -> usize {
        self.geom.out_blocks().div_ceil(self.group)
    }

    /// Computes `n` images: `x` with the packed weights `u` to `y`.
    pub fn run<X: Pixel, Y: Pixel>(
        &self,
        threads: &Threads,
        n: usize,
        x: &[X],
        u: &[Block],
        epilogue: &Epilogue<'_, Y>,
        work: &mut [Block],
        y: &mut [Y],
    ) {
        assert_eq!(u.len(), self.packed_len(), "the weights are packed for another geometry");
        let len = self.group_len();
        let group = |g: usize| &u[g * len..][..len.min(u.len() - g * len)];
        self.check(n, x.len(), epilogue, y.len());
        if self.split {
            let shape = [self.geom.blocks, 1, 0];
            return self.run_split(threads, n, x, epilogue, shape, work, y, |g, _, _, each| {
                each(group(g));
            });
        }
        let out = Shore(y.as_mut_ptr());
        let total = n * self.tiles[0] * self.tiles[1];
        let range = |c: usize| c * self.chunk..((c + 1) * self.chunk).min(total);
        let chunks = total.div_ceil(self.chunk);
        threads.run_with_scratch(chunks, work, self.v_len() + self.m_len(), |c, scratch| {
            let (v, m) = scratch.split_at_mut(self.v_len());
            for b in 0..self.geom.blocks {
                let v = Shore(v.as_mut_ptr());
                self.isa.run(self.inputs(x, range(c), b, v));
            }
            for g in 0..self.groups() {
                let (v, u, bs, tiles) = (&*v, group(g), 0..self.geom.blocks, range(c));
                self.isa.run(Products { kernel: self, v, u, bs, m, tiles: tiles.len(), g });
                self.isa.run(Outputs { kernel: self, m, tiles, g, epilogue, y: out });
            }
        });
    }

    /// What makes V of input block `b` of a chunk.
    fn inputs<'a, X: Pixel>(
        &'a self,
        x: &'a [X],
        tiles: Range<usize>,
        b: usize,
        v: Shore,
    ) -> Inputs<'a, X> {
        let (geom, first, at) = (&self.geom, tiles.start, 0..tiles.len());
        Inputs { geom, tile: self.tile, tiles: self.tiles, x, first, at, len: self.chunk, b, v }
    }

    /// Asserts that a run reads and writes nothing but `x` and `y` pixels, and the epilogue's operands.
    fn check<Y>(&self, n: usize, x: usize, epilogue: &Epilogue<'_, Y>, y: usize) {
        self.geom.check(n, x.saturating_mul(LANES), y);
        self.geom.check_epilogue(n, x.saturating_mul(LANES), epilogue);
    }

    /// A run whose threads share V, `piece` input blocks and `wide` groups at a time. `weights` gives the part of U that
    /// belongs to a group and some input blocks to what it is given, with `own` blocks of scratch memory of its own.
    /// `work` has [`Winograd::split_workspace`] blocks.
    fn run_split<X: Pixel, Y: Pixel>(
        &self,
        threads: &Threads,
        n: usize,
        x: &[X],
        epilogue: &Epilogue<'_, Y>,
        [piece, wide, own]: [usize; 3],
        work: &mut [Block],
        y: &mut [Y],
        weights: impl Fn(usize, Range<usize>, &mut [Block], &mut dyn FnMut(&[Block])) + Sync,
    ) {
        let blocks = self.geom.blocks;
        let total = n * self.tiles[0] * self.tiles[1];
        let chunks = total.div_ceil(self.chunk);
        let range = |c: usize| c * self.chunk..((c + 1) * self.chunk).min(total);
        let (v, scratch) = work.split_at_mut(chunks * self.v_len());
        let shared = Shore(v.as_mut_ptr());
        // Jobs: input blocks of a chunk. V is written in pieces that interleave, one per position.
        threads.run(chunks * blocks, |job| {
            let (c, b) = (job / blocks, job % blocks);
            let v = Shore(shared.pointer().wrapping_add(c * self.v_len()));
            self.isa.run(self.inputs(x, range(c), b, v));
        });
        let (v, out) = (&*v, Shore(y.as_mut_ptr()));
        let of_group = chunks * self.m_len();
        let len = wide * of_group + own;
        threads.run_with_scratch(self.groups().div_ceil(wide), scratch, len, |job, scratch| {
            let (m, own) = scratch.split_at_mut(wide * of_group);
            let groups = job * wide..((job + 1) * wide).min(self.groups());
            for start in (0..blocks).step_by(piece) {
                let bs = start..(start + piece).min(blocks);
                for (g, m) in groups.clone().zip(m.chunks_exact_mut(of_group)) {
                    weights(g, bs.clone(), own, &mut |u| {
                        let vs = v.chunks_exact(self.v_len());
                        for (c, (v, m)) in vs.zip(m.chunks_exact_mut(self.m_len())).enumerate() {
                            let (kernel, bs, tiles, y) = (self, bs.clone(), range(c), out);
                            let complete = bs.end == blocks;
                            self.isa.run(Products { kernel, v, u, bs, m, tiles: tiles.len(), g });
                            if complete {
                                self.isa.run(Outputs { kernel, m, tiles, g, epilogue, y });
                            }
                        }
                    });
                }
            }
        });
    }

    /// Blocks of scratch memory of [`Winograd::run_split`], where `wide` groups and `own` blocks belong to a job.
    fn split_workspace(&self, threads: usize, wide: usize, own: usize) -> usize {
        self.chunks * self.v_len() + threads * (wide * self.chunks * self.m_len() + own)
    }

    /// Blocks of U of a whole group.
    fn group_len(&self) -> usize {
        self.tile.positions() * apart(self.geom.blocks * LANES * self.group)
    }
}

/// The products of one group for a chunk.
struct Products<'a> {
    kernel: &'a Winograd,
    v: &'a [Block],
    /// The group's own, of some input blocks; M is made when they are the first, and complete when they are the last.
    u: &'a [Block],
    bs: Range<usize>,
    m: &'a mut [Block],
    /// Number of tiles.
    tiles: usize,
    g: usize,
}

impl Kernel for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        match self.kernel.group_range(self.g).len() {
            1 => self.multiply::<S, 1>(s, S::TILE[0]),
            _ => self.multiply::<S, 2>(s, S::TILE[1]),
        }
    }
}

impl Products<'_> {
    /// M of all positions.
    #[inline(always)]
    fn multiply<S: Simd, const OB: usize>(&mut self, s: S, widest: usize) {
        let kernel = self.kernel;
        let count = self.tiles;
        let passes = count.div_ceil(widest);
        let positions = kernel.tile.positions();
        assert!(
            self.bs.end <= kernel.geom.blocks
                && self.m.len() >= positions * apart(OB * kernel.chunk)
        );
        assert!(self.v.len() >= kernel.v_len());
        let len = self.bs.len() * LANES * OB;
        for position in 0..positions {
            let u = &self.u[position * apart(len)..][..len];
            let mut t = 0;
            for pass in 0..passes {
                let width = (count - t).div_ceil(passes - pass);
                macro_rules! by_width {
                    ($($p:literal)*) => {
                        match width {
                            // SAFETY: tiles t .. t + p are within the chunk, so all reads are within V (`v_len`, asserted
                            // above) and U (sliced above); all writes are within M (asserted above).
                            $($p => unsafe { self.product::<S, OB, $p>(s, u, position, t) },)*
                            _ => unreachable!("tiles are at most 14 wide"),
                        }
                    };
                }
                by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                t += width;
            }
        }
    }

    /// M of P tiles at one position.
    ///
    /// # Safety
    /// V has `v_len` blocks, M `apart(OB·chunk)` for each position, `u` `OB·16` for each of bs, bs are blocks of the
    /// geometry, and `t + P` is at most `chunk`.
    #[inline(always)]
    unsafe fn product<S: Simd, const OB: usize, const P: usize>(
        &mut self,
        s: S,
        u: &[Block],
        position: usize,
        t: usize,
    ) {
        let (blocks, chunk, bs) = (self.kernel.geom.blocks, self.kernel.chunk, self.bs.clone());
        let mut acc = [[s.zero(); P]; OB];
        if bs.start > 0 {
            for ob in 0..OB {
                let m = &self.m[position * apart(OB * chunk) + ob * chunk + t..][..P];
                for p in 0..P {
                    acc[ob][p] = s.load(&m[p]);
                }
            }
        }
        // SAFETY: position is one of the tile's, b < blocks for the b of bs, and t + p < chunk, so
        // position·apart(blocks·chunk) + b·chunk + t + p < v_len; the weights are read in order, OB·16 for each b.
        unsafe {
            let from = position * apart(blocks * chunk) + bs.start * chunk + t;
            let mut v = self.v.as_ptr().add(from).cast::<f32>();
            let mut u = u.as_ptr();
            for _ in bs {
                for lane in 0..LANES {
                    let weights: [S::V; OB] = from_fn(|ob| s.load(&*u.add(ob)));
                    for ob in 0..OB {
                        s.prefetch(u.wrapping_add(ob + AHEAD * OB));
                    }
                    for p in 0..P {
                        let value = s.splat(*v.add(p * LANES + lane));
                        for ob in 0..OB {
                            acc[ob][p] = s.mul_add(value, weights[ob], acc[ob][p]);
                        }
                    }
                    u = u.add(OB);
                }
                v = v.wrapping_add(chunk * LANES);
            }
        }
        for ob in 0..OB {
            let m = &mut self.m[position * apart(OB * chunk) + ob * chunk + t..][..P];
            m.iter_mut().zip(acc[ob]).for_each(|(m, acc)| s.store(m, acc));
        }
    }
}

/// The outputs of one group for a chunk.
struct Outputs<'a, Y> {
    kernel: &'a Winograd,
    m: &'a [Block],
    tiles: Range<usize>,
    g: usize,
    epilogue: &'a Epilogue<'a, Y>,
    y: Shore<Y>,
}

impl<Y: Pixel> Kernel for Outputs<'_, Y> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.kernel.tile {
            Tile::Two => self.tiles::<F2, S, 2, 4>(s),
            Tile::Four => self.tiles::<F4, S, 4, 6>(s),
        }
    }
}

impl<Y: Pixel> Outputs<'_, Y> {
    #[inline(always)]
    fn tiles<F: Filter<M, T>, S: Simd, const M: usize, const T: usize>(&self, s: S) {
        for (i, k) in self.kernel.group_range(self.g).enumerate() {
            let mut places = Places::new(self.kernel.tiles, self.tiles.start);
            for t in 0..self.tiles.len() {
                self.output::<F, S, M, T>(s, i, k, t, places.at);
                places.advance();
            }
        }
    }

    /// `Aᵀ M A` and the epilogue for one tile of output block `k`, the group's `i`-th.
    #[inline(always)]
    fn output<F: Filter<M, T>, S: Simd, const M: usize, const T: usize>(
        &self,
        s: S,
        i: usize,
        k: usize,
        t: usize,
        [n, down, across]: [usize; 3],
    ) {
        let geom = &self.kernel.geom;
        let size = [geom.rows - down * M, geom.cols - across * M];
        let place =
            |at: &Strides| at.offset + n * at.image + k * at.block + down * M * at.row + across * M;
        let group = self.kernel.group_range(self.g).len();
        let from = i * self.kernel.chunk + t;
        assert!(
            from < group * self.kernel.chunk
                && self.m.len() >= T * T * apart(group * self.kernel.chunk)
        );
        let step = apart(group * self.kernel.chunk);
        let mut half = [[s.zero(); T]; M];
        for c in 0..T {
            let mut column = [s.zero(); T];
            for r in 0..T {
                // SAFETY: (r·T + c)·step + from is below T²·step, which M has (asserted above).
                column[r] = s.load(unsafe { self.m.get_unchecked((r * T + c) * step + from) });
            }
            let column = F::output(s, column);
            for r in 0..M {
                half[r][c] = column[r];
            }
        }
        let y = place(&geom.y);
        let add = self.epilogue.add.map(|(add, at)| (&add[place(&at)..], at.row));
        let bias = self.epilogue.bias.map_or(s.zero(), |bias| s.load(&bias[k]));
        // SAFETY: the rows and columns below `size` are outputs of the image, so they are within `y` (`geom.check` in
        // `Winograd::run`), and only this job writes these tiles of k.
        unsafe {
            if size[0] >= M && size[1] >= M {
                self.finish::<F, S, M, T>(s, &half, bias, y, add, [M; 2]);
            } else {
                self.finish::<F, S, M, T>(s, &half, bias, y, add, size);
            }
        }
    }

    /// The second half of the transform, the epilogue, and the pixels of the tile at block `y` of the output.
    ///
    /// # Safety
    /// The first `rows` rows and `cols` columns (at most M) from there on are within y, and this job's alone.
    #[inline(always)]
    unsafe fn finish<F: Filter<M, T>, S: Simd, const M: usize, const T: usize>(
        &self,
        s: S,
        half: &[[S::V; T]; M],
        bias: S::V,
        y: usize,
        add: Option<(&[Y], usize)>,
        [rows, cols]: [usize; 2],
    ) {
        for r in 0..rows.min(M) {
            let line = F::output(s, half[r]);
            let add = add.map(|(add, row)| &add[r * row..][..cols.min(M)]);
            for c in 0..cols.min(M) {
                // SAFETY: the caller's promise.
                let y = unsafe { &mut *self.y.pointer().add(y + r * self.kernel.geom.y.row + c) };
                let mut value = s.add(line[c], bias);
                if let Some(add) = add {
                    value = s.add(value, add[c].load(s));
                }
                if self.epilogue.accumulate {
                    value = s.add(value, y.load(s));
                }
                y.store(s, if self.epilogue.relu { s.relu(value) } else { value });
            }
        }
    }
}
