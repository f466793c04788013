//! Large pieces of memory: one for all activations, lent out in ranges, one for all parameters.

use crate::block::Block;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;

/// A slice of blocks whose ranges can be borrowed together, some to write and some to read. Pages that are never written to are
/// never taken from the system.
#[derive(Debug)]
pub struct Arena {
    /// Zeroed by the allocator.
    allocation: NonNull<u8>,
    layout: std::alloc::Layout,
    /// The first block, at a multiple of a large page.
    base: NonNull<Block>,
    len: usize,
}

/// Bytes of a large page.
const PAGE: usize = 1 << 21;

// SAFETY: an arena owns its memory, which holds plain numbers.
unsafe impl Send for Arena {}
// SAFETY: as above, and a shared arena is only read.
unsafe impl Sync for Arena {}

impl Arena {
    /// Zeroed memory for this many blocks.
    pub fn new(blocks: usize) -> Self {
        let bytes =
            blocks.checked_mul(size_of::<Block>()).expect("an arena fits the address space");
        let align = if bytes < PAGE { align_of::<Block>() } else { PAGE };
        // Aligned by hand: allocators write the zeros of aligned memory, and so take its pages, at once.
        let layout = bytes
            .checked_add(align)
            .and_then(|bytes| std::alloc::Layout::from_size_align(bytes, 1).ok())
            .expect("an arena fits the address space");
        // SAFETY: the size is not zero.
        let allocation = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(allocation) = NonNull::new(allocation) else {
            std::alloc::handle_alloc_error(layout)
        };
        let offset = allocation.as_ptr().align_offset(align);
        assert!(offset <= align, "bytes can be aligned");
        // SAFETY: offset + bytes is at most the size of the allocation (asserted above).
        let base = unsafe { allocation.add(offset) }.cast::<Block>();
        if align == PAGE {
            advise(base.as_ptr(), bytes);
        }
        Self { allocation, layout, base, len: blocks }
    }

    /// Borrows `writes` exclusively and `reads` shared.
    ///
    /// # Panics
    /// If a range to write overlaps another range, or a range is not within the memory: the plan is wrong then.
    pub fn lend<const W: usize, const R: usize>(
        &mut self,
        writes: [Range<usize>; W],
        reads: [Range<usize>; R],
    ) -> ([&mut [Block]; W], [&[Block]; R]) {
        let len = self.len;
        let within = |r: &Range<usize>| r.start <= r.end && r.end <= len;
        assert!(writes.iter().chain(&reads).all(within), "a range is outside the arena");
        let apart = |a: &Range<usize>, b: &Range<usize>| {
            a.is_empty() || b.is_empty() || a.end <= b.start || b.end <= a.start
        };
        for (i, write) in writes.iter().enumerate() {
            let others = writes[i + 1..].iter().chain(&reads);
            assert!(
                others.into_iter().all(|other| apart(write, other)),
                "ranges overlap: {write:?}"
            );
        }
        let base = self.base.as_ptr();
        // SAFETY: every range is within the memory, the ranges to write overlap no other range (both asserted above),
        // and the returned borrows keep `self` exclusively borrowed.
        unsafe {
            (
                writes.map(|r| std::slice::from_raw_parts_mut(base.add(r.start), r.len())),
                reads.map(|r| std::slice::from_raw_parts(base.add(r.start), r.len())),
            )
        }
    }
}

impl Deref for Arena {
    type Target = [Block];

    fn deref(&self) -> &[Block] {
        // SAFETY: `base` is aligned and has `len` initialised (zeroed) blocks; `self` is borrowed as long.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }
}

impl DerefMut for Arena {
    fn deref_mut(&mut self) -> &mut [Block] {
        // SAFETY: as in `deref`, and `self` is exclusively borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`, and no borrow outlives `self`.
        unsafe { std::alloc::dealloc(self.allocation.as_ptr(), self.layout) }
    }
}

/// Asks for large pages, of which the processor's address translation remembers more memory. A wish: it may fail.
#[cfg(all(target_os = "linux", not(miri)))]
fn advise(start: *mut Block, bytes: usize) {
    unsafe extern "C" {
        fn madvise(
            start: *mut std::ffi::c_void,
            len: usize,
            advice: std::ffi::c_int,
        ) -> std::ffi::c_int;
    }
    const HUGE_PAGES: std::ffi::c_int = 14;
    // SAFETY: the range is memory that we own, and the advice does not change its contents.
    let _ = unsafe { madvise(start.cast(), bytes, HUGE_PAGES) };
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn advise(_: *mut Block, _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disjoint_ranges_are_lent_together() {
        let (left, right, part) = (0..2, 2..4, 2..3);
        let mut arena = Arena::new(4);
        let ([a], [b, c]) = arena.lend([left], [right, part]);
        a[1] = Block([1.0; 16]);
        assert_eq!((b[0], c.len()), (Block::ZERO, 1));
        assert_eq!(arena[1], Block([1.0; 16]));
    }

    #[cfg(panic = "unwind")]
    #[test]
    fn overlapping_ranges_are_refused() {
        use std::panic::catch_unwind;
        let (left, middle, beyond) = (0..2, 1..3, 2..5);
        let writes = |a: &Range<usize>, b: &Range<usize>| {
            let (a, b) = (a.clone(), b.clone());
            catch_unwind(|| Arena::new(4).lend([a, b], []).0[0].len()).is_err()
        };
        let reads = |a: &Range<usize>, b: &Range<usize>| {
            let (a, b) = (a.clone(), b.clone());
            catch_unwind(|| Arena::new(4).lend([a], [b]).1[0].len()).is_err()
        };
        assert!(writes(&left, &middle) && reads(&left, &middle) && reads(&left, &beyond));
        assert!(!writes(&left, &(2..4)));
    }
}
