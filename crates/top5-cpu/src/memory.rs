//! Addresses: where each buffer lies in one arena.
//!
//! A buffer lives from the first step that writes it to the last that touches it. Buffers that never live at the same
//! time may share memory: the largest are placed first, each at the lowest offset that is free throughout its life. A part of
//! a buffer lies in it, and lives as long.

use crate::buffer::{BufferId, Plan};
use crate::ir::Program;
use std::ops::{Range, RangeInclusive};

/// For each buffer, the steps from its first to its last use; `None` if nothing uses it.
pub(crate) fn lifetimes(program: &Program) -> Vec<Option<RangeInclusive<usize>>> {
    let mut lives = vec![None; program.buffers.len()];
    let mut touch = |buffer: BufferId, at: usize| {
        let (BufferId(buffer), _) = program.buffers.whole(buffer);
        let live: &mut Option<RangeInclusive<usize>> = &mut lives[buffer];
        let start = live.as_ref().map_or(at, |live| *live.start());
        *live = Some(start..=at);
    };
    for (at, step) in program.steps.iter().enumerate() {
        step.kernel.reads().chain(step.kernel.writes()).for_each(|buffer| touch(buffer, at));
    }
    let shown = program.results.iter().map(|&(_, buffer)| buffer);
    for buffer in shown.chain(program.signals.iter().copied().flatten()) {
        touch(buffer, program.steps.len());
    }
    // The steps backward from a node may run again: what they read stays.
    for live in lives.iter_mut().flatten() {
        if *live.start() < program.forward && *live.end() >= program.forward {
            *live = *live.start()..=program.steps.len();
        }
    }
    lives
}

/// For each step the buffers that nothing touches after it.
pub(crate) fn ends(program: &Program) -> Vec<Vec<BufferId>> {
    let mut ends = vec![Vec::new(); program.steps.len()];
    for (i, live) in lifetimes(program).into_iter().enumerate() {
        if let Some(step) = live.and_then(|live| ends.get_mut(*live.end())) {
            step.push(BufferId(i));
        }
    }
    ends
}

impl Plan {
    pub(crate) fn new(program: &Program, batch: usize) -> Self {
        Self::of_lifetimes(program, batch, &lifetimes(program))
    }

    /// Places buffers that live so long.
    pub(crate) fn of_lifetimes(
        program: &Program,
        batch: usize,
        lives: &[Option<RangeInclusive<usize>>],
    ) -> Self {
        let size = |i: usize| program.buffers[i].len(batch);
        let mut order: Vec<usize> = (0..lives.len()).filter(|&i| lives[i].is_some()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(size(i)));
        let mut offsets = vec![0_usize; lives.len()];
        let mut len = 0;
        let mut placed: Vec<usize> = Vec::new();
        for i in order {
            let alive = lives[i].as_ref().expect("only buffers in use are placed");
            let mut taken: Vec<Range<usize>> = placed
                .iter()
                .filter(|&&j| {
                    let other = lives[j].as_ref().expect("only buffers in use are placed");
                    alive.start() <= other.end() && other.start() <= alive.end()
                })
                .map(|&j| offsets[j]..offsets[j].saturating_add(size(j)))
                .collect();
            taken.sort_by_key(|range| range.start);
            let mut offset = 0_usize;
            for range in taken {
                if offset.saturating_add(size(i)) <= range.start {
                    break;
                }
                offset = offset.max(range.end);
            }
            offsets[i] = offset;
            len = len.max(offset.saturating_add(size(i)));
            placed.push(i);
        }
        Self { offsets, len }
    }
}
