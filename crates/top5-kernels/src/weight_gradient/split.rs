//! How the work of a weight gradient is split: into jobs of some pairs of blocks, and where these are few also into parts,
//! runs of strips. It depends on the geometry and the number of images alone.

use super::Job;
use crate::block::Block;
use crate::conv::ConvGeom;
use crate::threads::{Shore, Threads};
use std::ops::Range;

/// How the work is split, for every precision.
#[derive(Clone, Debug)]
pub(crate) struct Split {
    pub(crate) geom: ConvGeom,
    /// Runs of output blocks that read the same input blocks, cut to the length of a job's.
    rows: Vec<Range<usize>>,
    /// Input blocks of a job.
    columns: usize,
}

/// Jobs that are enough to share among threads.
const JOBS: usize = 16;
/// Pixels of a strip.
const STRIP: usize = 160;
/// Blocks that the parts' gradients may take together.
const PARTS_BLOCKS: usize = 1 << 17;

impl Split {
    /// For this geometry, with at most so many output and input blocks to a job.
    pub(crate) fn new(geom: ConvGeom, [mut high, mut wide]: [usize; 2]) -> Self {
        loop {
            let rows = runs(&geom, high);
            let jobs = rows.len() * geom.blocks.div_ceil(wide);
            let parts = JOBS.div_ceil(jobs.max(1));
            let splits = !geom.batch_is_row && parts * geom.packed_len() <= PARTS_BLOCKS;
            if parts == 1 || splits || high * wide == 1 {
                return Self { geom, rows, columns: wide };
            }
            if wide > 1 {
                wide /= 2;
            } else {
                high /= 2;
            }
        }
    }

    fn jobs(&self) -> usize {
        self.rows.len() * self.geom.blocks.div_ceil(self.columns)
    }

    /// Most output and input blocks of a job.
    pub(crate) fn largest(&self) -> [usize; 2] {
        let high = self.rows.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        [high, self.columns.min(self.geom.blocks)]
    }

    /// Into how many parts the strips are split.
    fn parts(&self, strips: &Strips) -> usize {
        JOBS.div_ceil(self.jobs()).min(strips.count()).max(1)
    }

    /// Blocks of the copies of the gradient for its parts.
    pub(crate) fn copies(&self, strips: &Strips) -> usize {
        match self.parts(strips) {
            1 => 0,
            parts => parts * self.geom.packed_len(),
        }
    }

    /// Lets `add` add all strips to `dw`. `work` are the copies, and after them the scratch memory of each thread, of which
    /// the length is given.
    pub(crate) fn run(
        &self,
        threads: &Threads,
        strips: &Strips,
        (work, scratch): (&mut [Block], usize),
        dw: &mut [Block],
        add: impl Fn(&Job<'_>, &mut [Block]) + Sync,
    ) {
        let geom = &self.geom;
        assert_eq!(dw.len(), geom.packed_len(), "the gradient is packed for another geometry");
        let (parts, jobs) = (self.parts(strips), self.jobs());
        let (copies, work) = work.split_at_mut(self.copies(strips));
        let (count, len) = (strips.count(), dw.len());
        let sums = if parts == 1 { dw.as_mut_ptr() } else { copies.as_mut_ptr() };
        let sums = Shore(sums);
        let per_row = geom.blocks.div_ceil(self.columns);
        threads.run_with_scratch(parts * jobs, work, scratch, |i, scratch| {
            let (part, i) = (i / jobs, i % jobs);
            let first = i % per_row * self.columns;
            let job = Job {
                geom,
                // A copy of its own for each part; there are as many.
                dw: Shore(sums.pointer().wrapping_add(part * len)),
                ks: self.rows[i / per_row].clone(),
                bs: first..(first + self.columns).min(geom.blocks),
                strips,
                part: part * count / parts..(part + 1) * count / parts,
            };
            job.clear();
            add(&job, scratch);
        });
        if parts == 1 {
            return;
        }
        let copies = &*copies;
        let piece = geom.taps.len() * geom.lanes;
        threads.chunks(dw, piece, |job, dw| {
            for (i, sum) in dw.iter_mut().enumerate() {
                let at = job * piece + i;
                *sum = copies[at];
                for part in 1..parts {
                    let more = &copies[part * len + at];
                    sum.0.iter_mut().zip(&more.0).for_each(|(a, b)| *a += b);
                }
            }
        });
    }
}

/// The output blocks in runs of at most `most` that read the same input blocks.
fn runs(geom: &ConvGeom, most: usize) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut k = 0;
    while k < geom.out_blocks() {
        let same = geom.first[k..].iter().take_while(|&&first| first == geom.first[k]).count();
        runs.push(k..k + same.min(most));
        k += same.min(most);
    }
    runs
}

/// Some pixels of some images: a part of one, or several as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Strip {
    pub(crate) images: Range<usize>,
    pub(crate) rows: Range<usize>,
    pub(crate) cols: Range<usize>,
}

/// The pixels of some images, as strips.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strips {
    /// Images, rows, columns.
    size: [usize; 3],
    /// Those of a strip.
    step: [usize; 3],
    /// What a strip may have at most, which unlike `step` is no less for fewer images.
    most: [usize; 3],
}

impl Strips {
    /// Of the geometry's rows.
    pub(crate) fn new(geom: &ConvGeom, images: usize, cols: usize) -> Self {
        let linear = geom.x.row == cols * geom.x.pixel && geom.y.row == cols * geom.y.pixel;
        let (rows, cols) = if linear { (1, geom.rows * cols) } else { (geom.rows, cols) };
        let (down, across) =
            if rows == 1 { (1, STRIP) } else { (STRIP.div_ceil(cols.max(1)), cols) };
        let most = [STRIP / (rows * cols).max(1), down, across].map(|most| most.max(1));
        let size = [images, rows, cols];
        // As few as possible, of the same size.
        let step = |i: usize| size[i].div_ceil(size[i].div_ceil(most[i]).max(1)).max(1);
        Self { size, step: [0, 1, 2].map(step), most }
    }

    fn counts(&self) -> [usize; 3] {
        [0, 1, 2].map(|i| self.size[i].div_ceil(self.step[i]))
    }

    fn count(&self) -> usize {
        self.counts().into_iter().product()
    }

    /// No strip of as many or of fewer images has more images, rows or columns.
    pub(crate) fn largest(&self) -> [usize; 3] {
        [0, 1, 2].map(|i| self.most[i].min(self.size[i]))
    }

    /// The strip with this number.
    pub(crate) fn at(&self, number: usize) -> Strip {
        let [_, rows, cols] = self.counts();
        let range =
            |i: usize, at: usize| at * self.step[i]..((at + 1) * self.step[i]).min(self.size[i]);
        Strip {
            images: range(0, number / cols / rows),
            rows: range(1, number / cols % rows),
            cols: range(2, number % cols),
        }
    }
}
