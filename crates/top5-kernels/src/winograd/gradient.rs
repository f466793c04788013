//! The weight gradient in Winograd's domain, for convolutions with a 3×3 kernel and stride 1.
//!
//! `Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A` is linear in the kernel g, so that with the gradient of the output tile
//!
//! ```text
//! V[T²] = Bᵀ d B           of the input tiles, as in the forward pass   [position][input block][tile][16]
//! Z[T²] = A dY Aᵀ          of the tiles of the output's gradient        [position][output block][tile][16]
//! M[T²] = Σ_tiles V·Z      a matrix product                             [position][output block][input block][16][16]
//! dg    = Gᵀ M G
//! ```
//!
//! (Lavin & Gray, CVPR 2016, section 4; the points are those of the forward pass). With N tiles a weight differs from the
//! exact one by at most `(N + R)·2⁻²⁴·|G|ᵀ[Σ_tiles (|B|ᵀ|d||B|) ⊙ (|A||dY||A|ᵀ)]|G|`. M is 4 times as large as the
//! weights, or 16/9 times with the smaller tile. Where it is small beside V and Z, the tiles are split into parts, each with
//! an M of its own, which are summed in order; where it is large, V and Z of all tiles are kept, and each job makes the M of
//! a few pairs of blocks and transforms it while it is in the cache. Either way the split depends on the geometry and the
//! number of images alone.

use super::cost::cost;
use super::filter::{F2, F4, Filter, Tile};
use super::inputs::Inputs;
use super::places::{Places, apart, taps};
use crate::block::{Block, LANES};
use crate::conv::{Algorithm, Bound, ConvGeom, Convolution, Identity, Problem, WeightGradient};
use crate::isa::Isa;
use crate::precision::Precision;
use crate::simd::{Kernel, Simd};
use crate::threads::{SharedMut, Threads, share};
use std::ops::Range;
use std::sync::Arc;

/// Blocks of V and Z of one chunk of tiles, less than half of a second-level cache.
const CHUNK_BLOCKS: usize = 7 << 10;
/// Blocks that all copies of M may take together.
const PARTS_BLOCKS: usize = 1 << 19;
/// Blocks of M that stay in a second-level cache beside a chunk.
const SMALL_M: usize = 3 << 12;
/// Most copies of M.
const PARTS: usize = 8;
/// Jobs that are enough to share among threads.
const JOBS: usize = 16;

/// F(2×2, 3×3).
pub(crate) const WEIGHT_GRADIENT_2: Algorithm<dyn WeightGradient> = Algorithm {
    name: "winograd_2x3_weight_gradient",
    precision: Precision::F32,
    serves: "dense 3×3 of stride 1",
    memory: "tiles in transit, or all of them",
    bound: Tile::Two.bound(),
    make: |isa, problem| Some(Arc::new(WinogradGradient::new(isa, problem, Tile::Two)?)),
};

/// F(4×4, 3×3).
pub(crate) const WEIGHT_GRADIENT_4: Algorithm<dyn WeightGradient> = Algorithm {
    name: "winograd_4x3_weight_gradient",
    bound: Tile::Four.bound(),
    make: |isa, problem| Some(Arc::new(WinogradGradient::new(isa, problem, Tile::Four)?)),
    ..WEIGHT_GRADIENT_2
};

/// The weight gradient of one convolution, for one largest batch.
#[derive(Debug)]
struct WinogradGradient {
    identity: Identity,
    tile: Tile,
    /// For each kernel element, in row-major order, its tap.
    taps: [usize; 9],
    /// Tiles per image: rows, columns.
    tiles: [usize; 2],
    sharing: Sharing,
    /// Accumulators: input lanes × output blocks.
    shape: [usize; 2],
}

/// How the work is split.
#[derive(Clone, Copy, Debug)]
enum Sharing {
    /// By tiles: this many parts, each in chunks of so many tiles.
    Tiles { parts: usize, chunk: usize },
    /// By pairs of blocks: a job has so many input blocks and output blocks.
    Pairs { inputs: usize, outputs: usize },
}

impl WinogradGradient {
    /// The kernel for a dense 3×3 convolution of stride 1 over channel blocks; `None` for others.
    fn new(isa: Isa, problem: &Problem, tile: Tile) -> Option<Self> {
        let (geom, images) = (problem.geom(), problem.images());
        let taps = taps(geom).filter(|_| geom.first.iter().all(|&first| first == 0))?;
        let (inputs, outputs) = (geom.blocks, geom.out_blocks());
        let tiles = [geom.rows, geom.cols].map(|size| size.div_ceil(tile.side()));
        let total = (tiles[0] * tiles[1] * images).max(1);
        let positions = tile.positions();
        let m = positions * inputs * outputs * LANES;
        // A large M is read and written once per chunk, which then has to be worth it.
        let (least, most) = if m <= SMALL_M { (24, PARTS) } else { (96, PARTS / 2) };
        let chunk = (CHUNK_BLOCKS / (positions * (inputs + outputs))).clamp(least, 128).min(total);
        let parts = most.min(PARTS_BLOCKS / m).min(total / chunk);
        let sharing = if parts >= PARTS / 2 {
            Sharing::Tiles { parts, chunk }
        } else {
            let outputs_per_job = 2.min(outputs);
            let rows = outputs.div_ceil(outputs_per_job);
            Sharing::Pairs { inputs: (inputs * rows / JOBS).clamp(1, 4), outputs: outputs_per_job }
        };
        let shape = match isa.tiles().gradient {
            16 if outputs > 1 => [8, 2],
            lanes => [lanes, 1],
        };
        let identity = Identity {
            name: format!("f32_conv_winograd_{}x3_weight_gradient_{isa}", tile.side()),
            method: tile.method(),
            isa,
            precision: Precision::F32,
            problem: problem.clone(),
        };
        Some(Self { identity, tile, taps, tiles, sharing, shape })
    }

    fn geom(&self) -> &ConvGeom {
        self.problem().geom()
    }

    /// Blocks of V and of Z for so many tiles.
    fn lengths(&self, tiles: usize) -> [usize; 2] {
        let positions = self.tile.positions();
        [self.geom().blocks, self.geom().out_blocks()]
            .map(|blocks| positions * apart(blocks * tiles))
    }

    /// Blocks of M.
    fn m_len(&self) -> usize {
        self.tile.positions() * self.geom().blocks * self.geom().out_blocks() * LANES
    }

    /// What makes the tiles `at` of `len` from tile `first` on of V of input block `b`.
    fn inputs<'a>(
        &'a self,
        x: &'a [Block],
        [first, len]: [usize; 2],
        at: Range<usize>,
        b: usize,
        v: SharedMut,
    ) -> Inputs<'a, Block> {
        let (geom, tile, tiles) = (self.geom(), self.tile, self.tiles);
        let blocks = geom.blocks;
        Inputs { geom, tile, tiles, x, first, at, len, b, to: b, blocks, v }
    }

    /// M of some tiles, chunk by chunk.
    fn part(
        &self,
        x: &[Block],
        dy: &[Block],
        tiles: Range<usize>,
        chunk: usize,
        scratch: &mut [Block],
        m: &mut [Block],
    ) {
        let (inputs, outputs) = (self.geom().blocks, self.geom().out_blocks());
        if tiles.is_empty() {
            m.fill(Block::ZERO);
        }
        let first = tiles.start;
        for start in tiles.clone().step_by(chunk) {
            let tiles = start..(start + chunk).min(tiles.end);
            let (v, z) = scratch.split_at_mut(self.lengths(tiles.len())[0]);
            let all = 0..tiles.len();
            let [to_v, to_z] = [&mut *v, &mut *z].map(|part| SharedMut(part.as_mut_ptr()));
            for b in 0..inputs {
                let (first, at, len) = (tiles.start, all.clone(), tiles.len());
                self.isa().run(self.inputs(x, [first, len], at, b, to_v));
            }
            for k in 0..outputs {
                let (first, at, len) = (tiles.start, all.clone(), tiles.len());
                self.isa().run(Outputs { kernel: self, dy, first, at, len, k, z: to_z });
            }
            let (ks, bs) = (0..outputs, 0..inputs);
            let (v, z, m, add) = (&*v, &*z, &mut *m, start > first);
            self.isa().run(Product { kernel: self, v, z, tiles: tiles.len(), ks, bs, m, add });
        }
    }

    /// Sums the copies of M and transforms it.
    fn gather(&self, threads: &Threads, copies: &[Block], dw: &mut [Block]) {
        threads.chunks(dw, 9 * LANES, |pair, dw| {
            let (step, at) = (self.m_len() / self.tile.positions(), pair * LANES);
            self.isa().run(Kernels { kernel: self, copies, len: self.m_len(), step, at, dw });
        });
    }

    /// V and Z of all tiles, then M and its transform for a few pairs of blocks at a time.
    fn pairs(
        &self,
        threads: &Threads,
        x: &[Block],
        dy: &[Block],
        total: usize,
        [wide, high]: [usize; 2],
        (vz, m): (&mut [Block], &mut [Block]),
        dw: &mut [Block],
    ) {
        let (inputs, outputs) = (self.geom().blocks, self.geom().out_blocks());
        let (v, z) = vz.split_at_mut(self.lengths(total)[0]);
        let [to_v, to_z] = [&mut *v, &mut *z].map(|part| SharedMut(part.as_mut_ptr()));
        // Jobs: some tiles of a block.
        let pieces = JOBS.div_ceil(inputs + outputs).min(total.div_ceil(16)).max(1);
        threads.run((inputs + outputs) * pieces, |job| {
            let (block, piece) = (job / pieces, job % pieces);
            let at = share(total, pieces, piece);
            if block < inputs {
                self.isa().run(self.inputs(x, [0, total], at, block, to_v));
            } else {
                let k = block - inputs;
                self.isa().run(Outputs { kernel: self, dy, first: 0, at, len: total, k, z: to_z });
            }
        });
        let (v, z) = (&*v, &*z);
        let (columns, rows) = (inputs.div_ceil(wide), outputs.div_ceil(high));
        let out = SharedMut(dw.as_mut_ptr());
        let positions = self.tile.positions();
        let len = positions * wide * high * LANES;
        threads.run_with_scratch(rows * columns, m, len, |job, m| {
            let (row, column) = (job / columns, job % columns);
            let ks = row * high..((row + 1) * high).min(outputs);
            let bs = column * wide..((column + 1) * wide).min(inputs);
            let m = &mut m[..positions * ks.len() * bs.len() * LANES];
            let (tiles, step) = (total, m.len() / positions);
            let (these, those) = (ks.clone(), bs.clone());
            let (product, add) = (&mut *m, false);
            self.isa().run(Product {
                kernel: self,
                v,
                z,
                tiles,
                ks: these,
                bs: those,
                m: product,
                add,
            });
            for (i, k) in ks.enumerate() {
                for (j, b) in bs.clone().enumerate() {
                    // SAFETY: k and b are blocks of the geometry, so the pair is within `dw` (`packed_len`, asserted in
                    // `run`), and it is this job's alone.
                    let dw = unsafe {
                        let at = out.pointer().add((k * inputs + b) * 9 * LANES);
                        std::slice::from_raw_parts_mut(at, 9 * LANES)
                    };
                    let (copies, len, at) = (&*m, m.len(), (i * bs.len() + j) * LANES);
                    self.isa().run(Kernels { kernel: self, copies, len, step, at, dw });
                }
            }
        });
    }
}

impl Convolution for WinogradGradient {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn cost(&self) -> f64 {
        cost(self.problem(), self.tile)
    }

    fn bound(&self) -> Bound {
        self.tile.bound()
    }

    fn workspace(&self, threads: usize) -> usize {
        match self.sharing {
            Sharing::Tiles { parts, chunk } => {
                let [v, z] = self.lengths(chunk);
                threads.saturating_mul(v + z).saturating_add(parts * self.m_len())
            }
            Sharing::Pairs { inputs, outputs } => {
                let [v, z] = self.lengths(self.problem().images() * self.tiles[0] * self.tiles[1]);
                let m = self.tile.positions() * inputs * outputs * LANES;
                threads.saturating_mul(m).saturating_add(v + z)
            }
        }
    }
}

impl WeightGradient for WinogradGradient {
    fn run(
        &self,
        threads: &Threads,
        n: usize,
        x: &[Block],
        dy: &[Block],
        work: &mut [Block],
        dw: &mut [Block],
    ) {
        let geom = self.geom();
        geom.check(n, x.len() * LANES, dy.len());
        assert_eq!(dw.len(), geom.packed_len(), "the gradient is packed for another geometry");
        assert!(n <= self.problem().images(), "more images than planned");
        let total = n * self.tiles[0] * self.tiles[1];
        match self.sharing {
            Sharing::Tiles { parts, chunk } => {
                let (m, scratch) = work.split_at_mut(parts * self.m_len());
                let copies = SharedMut(m.as_mut_ptr());
                let len = self.lengths(chunk).iter().sum();
                threads.run_with_scratch(parts, scratch, len, |part, scratch| {
                    // SAFETY: part < parts, so the copy is within `m`, and it is this job's alone.
                    let m = unsafe {
                        let at = copies.pointer().add(part * self.m_len());
                        std::slice::from_raw_parts_mut(at, self.m_len())
                    };
                    let tiles = share(total, parts, part);
                    self.part(x, dy, tiles, chunk, scratch, m);
                });
                self.gather(threads, m, dw);
            }
            Sharing::Pairs { inputs, outputs } => {
                let (vz, m) = work.split_at_mut(self.lengths(total).iter().sum());
                self.pairs(threads, x, dy, total, [inputs, outputs], (vz, m), dw);
            }
        }
    }
}

/// Z of one output block, for the tiles `at` of `len` from tile `first` on.
struct Outputs<'a> {
    kernel: &'a WinogradGradient,
    dy: &'a [Block],
    first: usize,
    at: Range<usize>,
    len: usize,
    k: usize,
    z: SharedMut,
}

impl Kernel for Outputs<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.kernel.tile {
            Tile::Two => self.tiles::<F2, S, 2, 4>(s),
            Tile::Four => self.tiles::<F4, S, 4, 6>(s),
        }
    }
}

impl Outputs<'_> {
    #[inline(always)]
    fn tiles<F: Filter<M, T>, S: Simd, const M: usize, const T: usize>(&self, s: S) {
        let geom = self.kernel.geom();
        let at = geom.y;
        let mut places = Places::new(self.kernel.tiles, self.first + self.at.start);
        for t in self.at.clone() {
            let [n, down, across] = places.at;
            places.advance();
            let size = [geom.rows - down * M, geom.cols - across * M];
            let from =
                at.offset + n * at.image + self.k * at.block + down * M * at.row + across * M;
            // SAFETY: rows and columns below `size` are outputs of the image, so they are within `dy` (`geom.check` in
            // `WinogradGradient::run`). k is a block and t a tile of Z, which has T²·apart(out_blocks·len) blocks;
            // these tiles of block k are this job's alone.
            unsafe {
                if size[0] >= M && size[1] >= M {
                    self.transform::<F, S, M, T>(s, from, [M; 2], t);
                } else {
                    self.transform::<F, S, M, T>(s, from, size, t);
                }
            }
        }
    }

    /// `A dY Aᵀ` of the tile whose first pixel is block `from` of dy.
    ///
    /// # Safety
    /// The first `rows` rows and `cols` columns of the tile are within dy; `t` is a tile of Z, and nothing else accesses
    /// that tile of the output block.
    #[inline(always)]
    unsafe fn transform<F: Filter<M, T>, S: Simd, const M: usize, const T: usize>(
        &self,
        s: S,
        from: usize,
        [rows, cols]: [usize; 2],
        t: usize,
    ) {
        let geom = self.kernel.geom();
        let mut half = [[s.zero(); M]; T];
        for c in 0..M {
            let mut column = [s.zero(); M];
            for r in 0..M {
                if r < rows && c < cols {
                    // SAFETY: within dy, by the caller's first promise.
                    let pixel = unsafe { self.dy.get_unchecked(from + r * geom.y.row + c) };
                    column[r] = s.load(pixel);
                }
            }
            let column = F::output_gradient(s, column);
            for r in 0..T {
                half[r][c] = column[r];
            }
        }
        let (to, step) = (self.k * self.len + t, apart(geom.out_blocks() * self.len));
        for r in 0..T {
            let line = F::output_gradient(s, half[r]);
            for c in 0..T {
                // SAFETY: within Z and ours alone, by the caller's second promise.
                s.store(unsafe { &mut *self.z.pointer().add(to + (r * T + c) * step) }, line[c]);
            }
        }
    }
}

/// V·Z over all tiles as M of some pairs of blocks, or added to it.
struct Product<'a> {
    kernel: &'a WinogradGradient,
    v: &'a [Block],
    z: &'a [Block],
    tiles: usize,
    ks: Range<usize>,
    bs: Range<usize>,
    m: &'a mut [Block],
    add: bool,
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (inputs, outputs) = (self.kernel.geom().blocks, self.kernel.geom().out_blocks());
        let pairs = self.ks.len() * self.bs.len();
        let tiles = self.tiles;
        assert!(self.ks.end <= outputs && self.bs.end <= inputs);
        let [v_step, z_step] = [inputs, outputs].map(|blocks| apart(blocks * tiles));
        let positions = self.kernel.tile.positions();
        assert!(self.v.len() >= positions * v_step && self.z.len() >= positions * z_step);
        assert!(self.m.len() >= positions * pairs * LANES);
        let [lanes, high] = self.kernel.shape;
        for position in 0..positions {
            let mut i = 0;
            while i < self.ks.len() {
                let taken = high.min(self.ks.len() - i);
                let z = position * z_step + (self.ks.start + i) * tiles;
                for j in 0..self.bs.len() {
                    let v = position * v_step + (self.bs.start + j) * tiles;
                    let m = (position * pairs + i * self.bs.len() + j) * LANES;
                    let mut lane = 0;
                    while lane < LANES {
                        // One block alone has the accumulators of both.
                        let width = (lanes * high / taken).min(LANES - lane);
                        macro_rules! by_shape {
                            ($(($l:literal, $ob:literal))*) => {
                                match (width, taken) {
                                    // SAFETY: the blocks and lanes are those of the geometry, so that all reads are within
                                    // V and Z and all writes within M (asserted above).
                                    $(($l, $ob) if const { $l * $ob <= S::GRADIENT_TILE } => unsafe {
                                        self.tile::<S, $l, $ob>(s, v, z, m + lane, lane);
                                    },)*
                                    _ => unreachable!("the shapes are those of the instruction sets"),
                                }
                            };
                        }
                        by_shape!((16, 1)(8, 2)(6, 1)(5, 1)(4, 1)(2, 1)(1, 1));
                        lane += width;
                    }
                }
                i += taken;
            }
        }
    }
}

impl Product<'_> {
    /// L input lanes from `lane` on of the input block whose tiles begin at block `v`, for OB output blocks whose tiles
    /// begin at `z`, into M at `m`.
    ///
    /// # Safety
    /// V has `tiles` blocks from `v` on, Z has OB·`tiles` from `z` on, and M has L from `m` on, and again after each
    /// further row of input blocks; `lane + L` is at most 16.
    #[inline(always)]
    unsafe fn tile<S: Simd, const L: usize, const OB: usize>(
        &mut self,
        s: S,
        v: usize,
        z: usize,
        m: usize,
        lane: usize,
    ) {
        let (tiles, row) = (self.tiles, self.bs.len() * LANES);
        let mut acc = [[s.zero(); OB]; L];
        // SAFETY: the caller's promise.
        unsafe {
            let mut v = self.v.as_ptr().add(v).cast::<f32>().add(lane);
            let mut z = self.z.as_ptr().add(z);
            for _ in 0..tiles {
                let mut gradient = [s.zero(); OB];
                for ob in 0..OB {
                    gradient[ob] = s.load(&*z.add(ob * tiles));
                }
                for l in 0..L {
                    let value = s.splat(*v.add(l));
                    for ob in 0..OB {
                        acc[l][ob] = s.mul_add(value, gradient[ob], acc[l][ob]);
                    }
                }
                v = v.wrapping_add(LANES);
                z = z.wrapping_add(1);
            }
            for ob in 0..OB {
                for l in 0..L {
                    let m = self.m.get_unchecked_mut(m + ob * row + l);
                    let sum = if self.add { s.add(s.load(m), acc[l][ob]) } else { acc[l][ob] };
                    s.store(m, sum);
                }
            }
        }
    }
}

/// `Gᵀ M G` for the sixteen lanes of a pair of blocks, M being the sum of copies.
struct Kernels<'a> {
    kernel: &'a WinogradGradient,
    copies: &'a [Block],
    /// Blocks of a copy.
    len: usize,
    /// Blocks from one position to the next.
    step: usize,
    /// Place of the pair within a position.
    at: usize,
    dw: &'a mut [Block],
}

impl Kernel for Kernels<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.kernel.tile {
            Tile::Two => self.transform::<F2, S, 2, 4>(s),
            Tile::Four => self.transform::<F4, S, 4, 6>(s),
        }
    }
}

impl Kernels<'_> {
    #[inline(always)]
    fn transform<F: Filter<M, T>, S: Simd, const M: usize, const T: usize>(self, s: S) {
        for lane in 0..LANES {
            let mut half = [[s.zero(); T]; 3];
            for c in 0..T {
                let mut column = [s.zero(); T];
                for r in 0..T {
                    let at = (r * T + c) * self.step + self.at + lane;
                    for copy in self.copies.chunks_exact(self.len) {
                        column[r] = s.add(column[r], s.load(&copy[at]));
                    }
                }
                let column = F::weight_gradient(s, column);
                for r in 0..3 {
                    half[r][c] = column[r];
                }
            }
            for r in 0..3 {
                let line = F::weight_gradient(s, half[r]);
                for c in 0..3 {
                    s.store(&mut self.dw[self.kernel.taps[r * 3 + c] * LANES + lane], line[c]);
                }
            }
        }
    }
}
