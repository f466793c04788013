//! The gradients of the learned parameters, in buckets: pieces that are final one after the other during the backward pass,
//! the last one first, and that a reducer may take away meanwhile.

use crate::packed::{PackedParams, ParamId};
use std::any::Any;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use top5_graph::{Bucket, EngineError, Reducer, Values};
use top5_kernels::elementwise::{Accumulate, pointwise};
use top5_kernels::{Arena, Block, Isa, Layout, Threads};

/// A bucket's memory.
struct Memory(Arena);

impl Values for Memory {
    fn values(&self) -> &[f32] {
        Block::flat(&self.0)
    }

    fn values_mut(&mut self) -> &mut [f32] {
        Block::flat_mut(&mut self.0)
    }
}

/// Gradients, laid out like the learned part of packed parameters but cut into buckets.
pub(crate) struct Gradients {
    /// Blocks of the packed parameters.
    ranges: Vec<Range<usize>>,
    memory: Vec<Arena>,
    /// The buckets that are final after each step of the program, by number of the step.
    ready: Vec<Vec<usize>>,
    /// Those of the step before, where this one is added to them.
    before: Option<Vec<Arena>>,
}

impl Gradients {
    /// Buckets of at least `bytes`, but for the first one, for the first `learned` blocks of packed parameters whose gradients
    /// are `written` by these steps.
    pub(crate) fn new(
        packed: &PackedParams,
        learned: usize,
        written: &[Vec<ParamId>],
        bytes: usize,
    ) -> Self {
        let least = bytes.div_ceil(size_of::<Block>()).max(1);
        let mut ranges: Vec<Range<usize>> = Vec::new();
        // From the end, where the first are ready.
        let learned = |range: &&Range<usize>| range.end <= learned;
        for range in packed.list.iter().map(|param| &param.range).filter(learned).rev() {
            match ranges.last_mut() {
                Some(bucket) if bucket.len() < least => bucket.start = range.start,
                Some(_) | None => ranges.push(range.clone()),
            }
        }
        ranges.reverse();
        let mut gradients = Self {
            memory: ranges.iter().map(|range| Arena::new(range.len())).collect(),
            ready: vec![Vec::new(); written.len()],
            ranges,
            before: None,
        };
        let mut last = vec![0; gradients.ranges.len()];
        for (at, params) in written.iter().enumerate() {
            for &param in params {
                let (bucket, _) = gradients.place(packed, param);
                last[bucket] = at;
            }
        }
        for (bucket, at) in last.into_iter().enumerate().rev() {
            gradients.ready[at].push(bucket);
        }
        gradients
    }

    /// The bucket of a parameter, and the blocks in it.
    fn place(&self, packed: &PackedParams, param: ParamId) -> (usize, Range<usize>) {
        let range = packed.range(param);
        let bucket = self.ranges.partition_point(|bucket| bucket.end <= range.start);
        let start = self.ranges[bucket].start;
        (bucket, range.start - start..range.end - start)
    }

    /// The gradient of a parameter.
    pub(crate) fn of(&mut self, packed: &PackedParams, param: ParamId) -> &mut [Block] {
        let (bucket, range) = self.place(packed, param);
        &mut self.memory[bucket][range]
    }

    /// The buckets, each with the blocks of the packed parameters that it is of.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (Range<usize>, &[Block])> {
        self.ranges.iter().cloned().zip(self.memory.iter().map(|arena| &**arena))
    }

    /// All in one piece, laid out like the learned part of the packed parameters.
    pub(crate) fn whole(&self) -> Vec<Block> {
        self.memory.iter().flat_map(|arena| arena.iter().copied()).collect()
    }

    /// Begins a step, which overwrites or adds.
    pub(crate) fn begin(&mut self, accumulate: bool) {
        self.restore();
        if accumulate {
            let fresh = self.ranges.iter().map(|range| Arena::new(range.len())).collect();
            self.before = Some(std::mem::replace(&mut self.memory, fresh));
        } else {
            self.before = None;
        }
    }

    /// Gets new memory for what a reducer did not give back.
    fn restore(&mut self) {
        for (arena, range) in self.memory.iter_mut().zip(&self.ranges) {
            if arena.len() != range.len() {
                *arena = Arena::new(range.len());
            }
        }
    }

    /// Finishes the buckets whose last gradient this step wrote, and hands them to the reducer.
    pub(crate) fn after(
        &mut self,
        (isa, threads): (Isa, &Threads),
        at: usize,
        reducer: &mut Option<&mut dyn Reducer>,
    ) -> Result<(), EngineError> {
        for &index in &self.ready[at] {
            let arena = &mut self.memory[index];
            if let Some(before) = &self.before {
                // One image with a plane per block: jobs of several blocks each.
                let layout = Layout::new(top5_kernels::LANES, 1, 1);
                let (n, before) = (arena.len(), (&*before[index], &layout));
                pointwise(isa, threads, n, Accumulate, [before], (arena, &layout));
            }
            if let Some(reducer) = reducer {
                let memory = std::mem::replace(arena, Arena::new(0));
                reducer.ready(Bucket { index, values: Box::new(Memory(memory)) })?;
            }
        }
        Ok(())
    }

    /// Ends a step: takes back what was handed out.
    pub(crate) fn finish(&mut self, reducer: Option<&mut dyn Reducer>) -> Result<(), EngineError> {
        self.before = None;
        let Some(reducer) = reducer else { return Ok(()) };
        let wrong = |why: String| EngineError::Reduction { why };
        let mut missing = self.ranges.len();
        for Bucket { index, values } in reducer.finish()? {
            let len = self.ranges.get(index).map(ExactSizeIterator::len);
            let got = values.values().len();
            let blocks = got / top5_kernels::LANES;
            if len != Some(blocks) || !self.memory[index].is_empty() {
                let why =
                    format!("it gave back bucket {index} of {got} values, which it did not have");
                return Err(wrong(why));
            }
            let values: Box<dyn Any> = values;
            match values.downcast::<Memory>() {
                Ok(memory) => self.memory[index] = memory.0,
                Err(_) => return Err(wrong(format!("bucket {index} came back in other memory"))),
            }
            missing -= 1;
        }
        if missing > 0 {
            return Err(wrong(format!("{missing} buckets did not come back")));
        }
        Ok(())
    }

    /// Whether all are finite.
    pub(crate) fn are_finite(&self, threads: &Threads) -> bool {
        /// Blocks of a job.
        const JOB: usize = 1 << 12;
        /// All bits of the exponent: an infinity or no number.
        const EXPONENT: u32 = 0x7f80_0000;
        let infinite = AtomicBool::new(false);
        for arena in &self.memory {
            threads.run(arena.len().div_ceil(JOB), |job| {
                let piece = &arena[job * JOB..arena.len().min((job + 1) * JOB)];
                // Without branches, so that it is as fast as memory.
                let found = Block::flat(piece)
                    .iter()
                    .fold(false, |found, value| found | (value.to_bits() & EXPONENT == EXPONENT));
                if found {
                    infinite.store(true, Relaxed);
                }
            });
        }
        !infinite.load(Relaxed)
    }
}
