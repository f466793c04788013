//! How the loop nest of a direct convolution is split into jobs.

use crate::block::Block;
use crate::conv::{ConvGeom, Epilogue, Group};
use crate::isa::TileSizes;
use crate::threads::{Threads, share};
use std::ops::Range;

/// Fewest jobs before groups of output blocks share one.
const JOBS: usize = 32;

/// Most groups of output blocks in a job.
const TOGETHER: usize = 8;

/// The pieces of one geometry.
#[derive(Clone, Debug)]
pub(crate) struct Pieces {
    /// (first output block, number of output blocks) of every group that shares its reads.
    groups: Vec<(usize, usize)>,
    /// Pixels that make a job.
    pixels_per_job: usize,
    /// The largest tile: output blocks, pixels.
    tile: [usize; 2],
    /// [`ConvGeom::grouped`].
    grouped: Option<Group>,
}

/// Some rows and columns of one image, for a group of output blocks.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) image: usize,
    /// The first output block.
    pub(crate) k: usize,
    /// The number of output blocks.
    pub(crate) ob: usize,
    pub(crate) rows: Range<usize>,
    pub(crate) cols: Range<usize>,
}

impl Pieces {
    /// For tiles of these sizes, in jobs of at least `job` multiply-accumulates.
    pub(crate) fn new(geom: &ConvGeom, tiles: TileSizes, job: u64) -> Self {
        // What groups read is one output block's.
        let widest = if tiles.dense[1] > 0 && geom.grouped().is_none() { 2 } else { 1 };
        let mut groups = Vec::new();
        let mut k = 0;
        while k < geom.out_blocks() {
            let same = geom.first[k..].iter().take_while(|&&f| f == geom.first[k]).count();
            let taken = same.min(widest);
            groups.push((k, taken));
            k += taken;
        }
        let pixels = (geom.rows * geom.cols).max(1) as u64;
        let job = (geom.macs() / 16).clamp(job, 4 * job);
        let of_pixel = geom.macs() / pixels / groups.len() as u64;
        let blocks = groups.iter().map(|&(_, ob)| ob).max().unwrap_or(1);
        // As many pixels for the weights of two blocks as for those of one: they come from memory once for each job.
        let job = if tiles.scarce { job * blocks as u64 } else { job };
        let pixels_per_job = job.div_ceil(of_pixel.max(1));
        let pixels_per_job = usize::try_from(pixels_per_job).unwrap_or(usize::MAX);
        let grouped = geom.grouped();
        let tile =
            [blocks, if grouped.is_some() { tiles.grouped } else { tiles.dense[blocks - 1] }];
        Self { groups, pixels_per_job, tile, grouped }
    }

    /// The method and the largest tile, as names have them: `direct_2x14`, `grouped_4x14`, `amx_2x32`.
    pub(crate) fn method(&self, dense: &str) -> String {
        let [blocks, pixels] = self.tile;
        match self.grouped {
            Some(group) if dense == "direct" => format!("grouped_{}x{pixels}", group.inputs),
            _ => format!("{dense}_{blocks}x{pixels}"),
        }
    }

    /// Calls `compute` with every piece of a run with `n` images, and some of `work` if it is given how much. Pieces have no output
    /// in common.
    pub(crate) fn run<P>(
        &self,
        threads: &Threads,
        n: usize,
        geom: &ConvGeom,
        epilogue: &Epilogue<'_, P>,
        (work, len): (&mut [Block], usize),
        compute: impl Fn(Piece, &mut [Block]) + Sync,
    ) {
        let (images, cols) = geom.extent(n);
        if [images, geom.rows, cols].contains(&0) {
            return;
        }
        let linear = geom.is_one_row(&geom.x)
            && geom.is_one_row(&geom.y)
            && epilogue.add.is_none_or(|(_, at)| geom.is_one_row(&at));
        // Pixels are split by columns of the one row, or by whole rows.
        let (rows, cols) = if linear { (1, geom.rows * cols) } else { (geom.rows, cols) };
        let splits = match (linear, geom.batch_is_row) {
            (true, _) => cols.div_ceil(self.pixels_per_job),
            (false, false) => rows.div_ceil(self.pixels_per_job.div_ceil(cols)),
            (false, true) => 1,
        };
        // Groups that read the same pixels one after the other, as many as leave enough jobs.
        let together = (images * splits * self.groups.len() / JOBS).clamp(1, TOGETHER);
        let runs = self.groups.len().div_ceil(together);
        threads.run_with_scratch(images * splits * runs, work, len, |job, scratch| {
            let (rest, run) = (job / runs, job % runs);
            let (image, i) = (rest / splits, rest % splits);
            let (rows, cols) = if linear {
                (0..1, share(cols, splits, i))
            } else {
                (share(rows, splits, i), 0..cols)
            };
            for &(k, ob) in self.groups.iter().skip(run * together).take(together) {
                let piece = Piece { image, k, ob, rows: rows.clone(), cols: cols.clone() };
                compute(piece, scratch);
            }
        });
    }
}
