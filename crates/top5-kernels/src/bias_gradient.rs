//! The gradient of a convolution's bias.

use crate::block::{Block, LANES, Layout};
use crate::elementwise::JOB;
use crate::isa::Isa;
use crate::simd::{Kernel, Simd};
use crate::threads::Threads;

/// The bias gradient: `db[k]` is the sum of `dy` over `n` images and all pixels, in f64 over images. `work` has a block for
/// each plane.
pub fn sum_pixels(
    isa: Isa,
    threads: &Threads,
    n: usize,
    layout: &Layout,
    dy: &[Block],
    work: &mut [Block],
    db: &mut [Block],
) {
    struct Plane<'a> {
        layout: &'a Layout,
        plane: &'a [Block],
        sum: &'a mut Block,
    }
    impl Kernel for Plane<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            // Several sums, since each addition waits for the one before.
            let mut sums = [simd.zero(); 4];
            for y in 0..self.layout.height {
                let pixels = self.layout.pixels(self.plane, y).chunks_exact(4);
                for (i, pixel) in pixels.remainder().iter().enumerate() {
                    sums[i] = simd.add(sums[i], simd.load(pixel));
                }
                for pixels in pixels {
                    for i in 0..4 {
                        sums[i] = simd.add(sums[i], simd.load(&pixels[i]));
                    }
                }
            }
            let [a, b, c, d] = sums;
            simd.store(self.sum, simd.add(simd.add(a, b), simd.add(c, d)));
        }
    }
    let blocks = layout.blocks();
    let work = &mut work[..n * blocks];
    let per_job = JOB.div_ceil((layout.height * layout.width).max(1));
    threads.chunks(work, per_job, |job, work| {
        for (i, sum) in work.iter_mut().enumerate() {
            let plane = &dy[layout.plane_at(job * per_job + i)];
            isa.run(Plane { layout, plane, sum });
        }
    });
    for (k, db) in db[..blocks].iter_mut().enumerate() {
        let mut sum = [0.0f64; LANES];
        for part in work.iter().skip(k).step_by(blocks) {
            sum.iter_mut().zip(part.0).for_each(|(sum, part)| *sum += f64::from(part));
        }
        *db = Block(sum.map(|sum| sum as f32));
    }
}
