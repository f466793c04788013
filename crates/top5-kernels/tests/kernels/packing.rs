//! Tensors in `[n, c, h, w]` order to blocks and back, and the runs that every kernel is tested in.

use top5_kernels::{Block, Isa, LANES, Layout, Precision, Threads};

/// Every instruction set with one thread, and the best with two and three.
pub(crate) fn runs() -> Vec<(Isa, Threads)> {
    let mut runs: Vec<_> = Isa::available().into_iter().map(|isa| (isa, Threads::new(1))).collect();
    runs.extend(
        [2, 3].map(|threads| (Isa::detect(Precision::Bf16), Threads::oversubscribed(threads))),
    );
    runs
}

/// A map of these channels and size, with a halo.
pub(crate) fn layout(channels: usize, [height, width]: [usize; 2], halo: [usize; 2]) -> Layout {
    Layout { halo, ..Layout::new(channels, height, width) }
}

/// The layout as that of some channels of a map with more of them.
pub(crate) fn part(layout: Layout) -> Layout {
    Layout { channels: layout.channels + 2 * LANES, ..layout }.part(layout.channels)
}

/// Elements of `n` images.
pub(crate) fn elements(n: usize, layout: &Layout) -> usize {
    n * layout.channels * layout.height * layout.width
}

/// Calls `visit` with (index in `[n, c, h, w]`, block, lane) of every element.
fn each(n: usize, layout: &Layout, mut visit: impl FnMut(usize, usize, usize)) {
    let &Layout { channels, height, width, halo, .. } = layout;
    let row = width + 2 * halo[1];
    let plane = (height + 2 * halo[0]) * row;
    let stride = channels.div_ceil(LANES) * plane + layout.gap;
    for i in 0..elements(n, layout) {
        let (x, y) = (i % width, i / width % height);
        let (c, image) = (i / (width * height) % channels, i / (width * height * channels));
        let block = image * stride + c / LANES * plane;
        visit(i, block + (y + halo[0]) * row + x + halo[1], c % LANES);
    }
}

/// Blocks that hold `values`; halo and unused lanes are zero.
pub(crate) fn pack(n: usize, layout: &Layout, values: &[f32]) -> Vec<Block> {
    let mut blocks = vec![Block::ZERO; n * layout.image()];
    each(n, layout, |i, block, lane| blocks[block].0[lane] = values[i]);
    blocks
}

/// Blocks whose every pixel is NaN, to be overwritten; the halo is zero.
pub(crate) fn unwritten(n: usize, layout: &Layout) -> Vec<Block> {
    let mut blocks = vec![Block::ZERO; n * layout.image()];
    each(n, layout, |_, block, _| blocks[block] = Block([f32::NAN; LANES]));
    blocks
}

/// The values in `blocks`; asserts that the halo and the unused lanes are zero.
pub(crate) fn unpack(what: &str, n: usize, layout: &Layout, blocks: &[Block]) -> Vec<f32> {
    let mut values = vec![0.0; elements(n, layout)];
    let mut rest = blocks.to_vec();
    each(n, layout, |i, block, lane| {
        values[i] = blocks[block].0[lane];
        rest[block].0[lane] = 0.0;
    });
    let clean = rest.iter().all(|block| block.0.iter().all(|&v| v == 0.0));
    assert!(clean, "{what}: halo or unused lanes are not zero");
    values
}

/// One value per channel as blocks.
pub(crate) fn pack_vector(values: &[f32]) -> Vec<Block> {
    pack(1, &Layout::new(values.len(), 1, 1), values)
}

/// Asserts equality, naming the first element that differs.
#[track_caller]
pub(crate) fn assert_same(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(got == want, "{what}: element {i} is {got}, expected {want}");
    }
}
