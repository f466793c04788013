//! One piece of memory for all activations, lent out in ranges.

use crate::block::Block;
use std::ops::Range;

/// Memory whose ranges can be borrowed together, some to write and some to read.
#[derive(Debug)]
pub struct Arena {
    memory: Vec<Block>,
}

impl Arena {
    /// Zeroed memory for this many blocks.
    pub fn new(blocks: usize) -> Self {
        Self { memory: vec![Block::ZERO; blocks] }
    }

    /// All of it.
    pub fn all(&mut self) -> &mut [Block] {
        &mut self.memory
    }

    /// One range, to read.
    pub fn slice(&self, range: Range<usize>) -> &[Block] {
        &self.memory[range]
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
        let len = self.memory.len();
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
        let base = self.memory.as_mut_ptr();
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn disjoint_ranges_are_lent_together() {
        let (left, right, part) = (0..2, 2..4, 2..3);
        let mut arena = Arena::new(4);
        let ([a], [b, c]) = arena.lend([left], [right, part]);
        a[1] = Block([1.0; 16]);
        assert_eq!((b[0], c.len()), (Block::ZERO, 1));
        assert_eq!(arena.slice(1..2)[0], Block([1.0; 16]));
    }

    #[test]
    fn overlapping_ranges_are_refused() {
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
