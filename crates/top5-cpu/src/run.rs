//! The loop over the steps of a plan.

use crate::buffer::{BufferId, Plan};
use crate::choose::Machinery;
use crate::ir::{Program, Step};
use crate::memory::ends;
use crate::packed::Params;
use crate::purpose::Mode;
use crate::step::{At, Memory, Outside, Run, Zeros};
use std::ops::Range;
use top5_graph::{EngineError, Stop};
use top5_kernels::elementwise::Operand;
use top5_kernels::{Arena, Block, BlockBf16, Isa, LANES, Pixel};

/// A plan with its memory.
#[derive(Debug)]
pub(crate) struct Executor {
    isa: Isa,
    pub(crate) program: Program,
    plan: Plan,
    arena: Arena,
    /// For each step the buffers that end with it. Where assertions are checked they are overwritten then, so that whoever
    /// reads them later gets no number.
    ends: Vec<Vec<BufferId>>,
}

/// No number, in either precision.
const POISON: Block = Block([f32::from_bits(u32::MAX); LANES]);

/// Bytes that a plan needs: arena, and parameters.
pub(crate) fn memory(program: &Program, plan: &Plan, mode: Mode) -> [u64; 2] {
    let bytes = |blocks: usize| blocks as u64 * size_of::<Block>() as u64;
    // Gradients beside the learned parameters, and one tensor of the optimiser's.
    let learned = match mode {
        Mode::Inference => 0,
        Mode::Training => 2 * bytes(program.learned),
    };
    [bytes(plan.len), bytes(program.packed.len) + learned]
}

impl Executor {
    pub(crate) fn new(machinery: &Machinery, program: Program, plan: Plan) -> Self {
        let ends = if cfg!(debug_assertions) { ends(&program) } else { Vec::new() };
        Self { isa: machinery.isa, arena: Arena::new(plan.len), program, plan, ends }
    }

    /// The value in a buffer after a run with `n` images.
    pub(crate) fn value(&self, id: BufferId, n: usize) -> Operand<'_> {
        let range = self.plan.range(&self.program.buffers, id, n);
        (&self.arena[range], &self.program.buffers.at(id).layout)
    }

    /// Runs all steps; returns the loss.
    pub(crate) fn run(
        &mut self,
        run: &Run<'_>,
        outside: &mut Outside<'_, '_>,
    ) -> Result<f64, EngineError> {
        if cfg!(debug_assertions) {
            self.arena.fill(POISON);
        }
        self.run_steps(0..self.program.forward, run, outside)
    }

    /// Runs the steps backward from a node: the images are the seed.
    pub(crate) fn run_back(
        &mut self,
        run: &Run<'_>,
        outside: &mut Outside<'_, '_>,
    ) -> Result<(), EngineError> {
        let steps = self.program.forward..self.program.steps.len();
        self.run_steps(steps, run, outside).map(|_| ())
    }

    fn run_steps(
        &mut self,
        steps: Range<usize>,
        run: &Run<'_>,
        outside: &mut Outside<'_, '_>,
    ) -> Result<f64, EngineError> {
        let Self { isa, program, plan, arena, ends } = self;
        let params = Params { plan: &program.packed, memory: outside.params };
        let buffers = &program.buffers;
        let mut memory = Memory { arena, outside };
        let mut loss = 0.0;
        for i in steps.clone() {
            let Step { node, kernel, fresh } = &program.steps[i];
            if run.stop.is_some_and(Stop::is_set) {
                return Err(EngineError::Stopped);
            }
            (memory.outside.before)(i);
            let (isa, node, accumulate) = (*isa, *node, !fresh);
            let at = At { isa, run, buffers, plan, params, node, accumulate };
            if let (true, Some(result)) = (*fresh, kernel.writes().next()) {
                prepare(&at, result, kernel.needs_zero(), memory.arena);
            }
            loss += kernel.run(&at, &mut memory)?;
            for &ended in ends.get(i).into_iter().flatten() {
                memory.arena[at.range(ended)].fill(POISON);
            }
            let Outside { gradients, reducer, .. } = memory.outside;
            if let Some(gradients) = gradients {
                gradients.after((isa, run.threads), i, reducer)?;
            }
        }
        (memory.outside.before)(steps.end);
        Ok(loss)
    }
}

/// Readies the memory of a result that nothing has been written to.
fn prepare(at: &At<'_>, result: BufferId, zeros: Zeros, arena: &mut Arena) {
    let ((threads, n), layout) = (at.batch(), at.layout(result));
    let memory = &mut arena[at.range(result)];
    // In jobs of several planes.
    let per_job = (1 << 12) / layout.plane().max(1) + 1;
    match zeros {
        Zeros::Everywhere => threads.chunks(memory, 1 << 12, |_, piece| piece.fill(Block::ZERO)),
        Zeros::Around if layout.is_dense() => {}
        Zeros::Around if at.is_bf16(result) => {
            let planes = (BlockBf16::of_mut(memory), layout);
            threads.planes(planes, n, per_job, |_, plane| layout.clear_halo(plane));
        }
        Zeros::Around => {
            threads.planes((memory, layout), n, per_job, |_, plane| layout.clear_halo(plane));
        }
        Zeros::None => {}
    }
}
