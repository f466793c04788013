//! The kinds of steps: a struct each, with named operands, that says what it reads and writes, what it relies on, and how it
//! runs. A family of them is a file.
//!
//! Nothing else knows what a step does but the plan checker, which has its own account of it.

pub(crate) mod conv;
pub(crate) mod loss;
pub(crate) mod moves;
pub(crate) mod norm;
pub(crate) mod pointwise;
pub(crate) mod pool;

use crate::buckets::Gradients;
use crate::buffer::{Buffer, BufferId, Buffers, Plan};
use crate::packed::{ParamId, ParamMemory, Params};
use crate::statistics::Measured;
use conv::{Conv, ConvInput, ConvSignal, ConvWeights};
use std::any::{Any, type_name};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use top5_graph::{EngineError, NodeId, Reducer, Stop, Targets};
use top5_kernels::{Arena, Block, Isa, Layout, Threads};

/// What one run depends on beside the parameters.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) threads: &'a Threads,
    /// Number of images.
    pub(crate) n: usize,
    /// `[n, c, h, w]`
    pub(crate) images: &'a [f32],
    /// What they should be; no classes for inference.
    pub(crate) targets: Targets<'a>,
    pub(crate) smoothing: f32,
    /// Factor of the gradients.
    pub(crate) scale: f32,
    /// Of the dropout masks.
    pub(crate) seed: u64,
    /// The first image's place among those that the masks are drawn for.
    pub(crate) first: usize,
    /// Ends it early.
    pub(crate) stop: Option<&'a Stop>,
}

impl<'a> Run<'a> {
    /// Inference.
    pub(crate) fn inference(threads: &'a Threads, n: usize, images: &'a [f32]) -> Self {
        Self {
            threads,
            n,
            images,
            targets: Targets::Classes(&[]),
            smoothing: 0.0,
            scale: 1.0,
            seed: 0,
            first: 0,
            stop: None,
        }
    }
}

/// What a run reads and writes beside its activations.
pub(crate) struct Outside<'a, 'r> {
    pub(crate) params: ParamMemory<'a>,
    /// `None` for inference.
    pub(crate) gradients: Option<&'a mut Gradients>,
    /// Sums over processes, if there are any.
    pub(crate) reducer: Option<&'r mut dyn Reducer>,
    /// The statistics of the batch, which the running ones are to follow when the step is done.
    pub(crate) measured: Vec<Measured>,
    /// Called with the number of each step before it, and with their number at the end.
    pub(crate) before: &'a mut dyn FnMut(usize),
}

/// Where and how a step runs.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) isa: Isa,
    pub(crate) run: &'a Run<'a>,
    pub(crate) buffers: &'a Buffers,
    pub(crate) plan: &'a Plan,
    pub(crate) params: Params<'a>,
    pub(crate) node: NodeId,
    /// The result is added to.
    pub(crate) accumulate: bool,
}

/// What steps change.
pub(crate) struct Memory<'m, 'a, 'r> {
    pub(crate) arena: &'m mut Arena,
    pub(crate) outside: &'m mut Outside<'a, 'r>,
}

/// A step's share of the loss.
pub(crate) type Done = Result<f64, EngineError>;

impl<'a> At<'a> {
    /// Threads and number of images.
    pub(crate) fn batch(&self) -> (&'a Threads, usize) {
        (self.run.threads, self.run.n)
    }

    fn buffer(&self, id: BufferId) -> &'a Buffer {
        self.buffers.at(id)
    }

    pub(crate) fn layout(&self, id: BufferId) -> &'a Layout {
        &self.buffer(id).layout
    }

    pub(crate) fn is_bf16(&self, id: BufferId) -> bool {
        self.buffer(id).bf16
    }

    /// The memory of a parameter's gradient.
    pub(crate) fn gradient<'g>(
        &self,
        gradients: &'g mut Option<&mut Gradients>,
        param: ParamId,
    ) -> &'g mut [Block] {
        let gradients = gradients.as_mut();
        let gradients = gradients.expect("a plan with gradients of parameters has their memory");
        gradients.of(self.params.plan, param)
    }

    /// Where a buffer is in the arena; nowhere if there is none.
    pub(crate) fn range(&self, id: impl Into<Option<BufferId>>) -> Range<usize> {
        id.into().map_or(0..0, |id| self.plan.range(self.buffers, id, self.run.n))
    }
}

/// Lends the operands of a kernel that reads activations and writes one, each as memory and layout.
macro_rules! call {
    ($at:expr, $memory:expr, [$($x:ident: $id:expr),*], $y:ident: $to:expr => $body:expr) => {{
        let ([y], [$($x),*]) = $memory.arena.lend([$at.range($to)], [$($at.range($id)),*]);
        $(let $x = ($x, $at.layout($id));)*
        let $y = (y, $at.layout($to));
        $body
    }};
}

/// The same for a kernel that takes either precision, all operands in that of the result.
macro_rules! either {
    ($at:expr, $memory:expr, [$($x:ident: $id:expr),*], $y:ident: $to:expr => $body:expr) => {{
        let ([y], [$($x),*]) = $memory.arena.lend([$at.range($to)], [$($at.range($id)),*]);
        if $at.is_bf16($to) {
            $(let $x = (<top5_kernels::BlockBf16 as top5_kernels::Pixel>::of($x), $at.layout($id));)*
            let $y = (<top5_kernels::BlockBf16 as top5_kernels::Pixel>::of_mut(y), $at.layout($to));
            $body
        } else {
            $(let $x = ($x, $at.layout($id));)*
            let $y = (y, $at.layout($to));
            $body
        }
    }};
}

/// The operands that a step always has: what it reads, and its result and scratch.
macro_rules! operands {
    ([$($read:ident),*] -> [$($write:ident),*]) => {
        #[cfg(test)]
        fn names(&self) -> &'static [&'static str] {
            &[$(stringify!($read)),*]
        }

        fn reads(&self) -> $crate::step::Operands {
            $crate::step::operands([$(Some(self.$read)),*])
        }

        fn writes(&self) -> $crate::step::Operands {
            $crate::step::operands([$(Some(self.$write)),*])
        }
    };
}

pub(crate) use {call, either, operands as operands_of};

/// What must become of the memory of a result before a step is the first to write to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zeros {
    /// Nothing: the kernel writes all of it.
    None,
    /// Zeros around the planes.
    Around,
    /// Zeros everywhere: the kernel only adds, or leaves gaps.
    Everywhere,
}

/// Some buffers.
pub(crate) type Operands = [Option<BufferId>; 4];

pub(crate) fn operands<const N: usize>(buffers: [Option<BufferId>; N]) -> Operands {
    std::array::from_fn(|i| buffers.get(i).copied().flatten())
}

/// What every kind of step says about itself.
pub(crate) trait Operate: Any + Debug + Send + Sync {
    /// The name of the struct, for people.
    fn kind(&self) -> &'static str {
        type_name::<Self>().rsplit("::").next().unwrap_or_default()
    }

    /// The names of what it always reads: `x` and `y` are input and output of its node, `dy` the gradient of that.
    #[cfg(test)]
    fn names(&self) -> &'static [&'static str] {
        &[]
    }

    fn reads(&self) -> Operands;

    /// The result first, if it is in the arena; then scratch memory.
    fn writes(&self) -> Operands;

    fn needs_zero(&self) -> Zeros {
        Zeros::Around
    }

    /// The parameters whose gradients it writes.
    fn gradients(&self) -> [Option<ParamId>; 2] {
        [None; 2]
    }

    /// Runs it; returns its share of the loss.
    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done;

    /// The name of the kernel that was chosen, if there was a choice.
    fn chosen(&self) -> Option<String> {
        None
    }

    /// What was fused into it, of `bias`, `sum`, `relu`.
    fn fused(&self) -> [bool; 3] {
        [false; 3]
    }
}

/// A kernel with its operands.
#[derive(Clone, Debug)]
pub(crate) struct Kernel(Arc<dyn Operate>);

impl<K: Operate> From<K> for Kernel {
    fn from(kernel: K) -> Self {
        Self(Arc::new(kernel))
    }
}

impl Kernel {
    /// What it is, if it is of this kind.
    pub(crate) fn get<K: Operate>(&self) -> Option<&K> {
        let kernel: &dyn Any = &*self.0;
        kernel.downcast_ref()
    }

    pub(crate) fn is<K: Operate>(&self) -> bool {
        self.get::<K>().is_some()
    }

    pub(crate) fn reads(&self) -> impl Iterator<Item = BufferId> {
        self.0.reads().into_iter().flatten()
    }

    /// The result first, if it is in the arena; then scratch memory.
    pub(crate) fn writes(&self) -> impl Iterator<Item = BufferId> {
        self.0.writes().into_iter().flatten()
    }

    pub(crate) fn needs_zero(&self) -> Zeros {
        self.0.needs_zero()
    }

    /// The parameters whose gradients it writes.
    pub(crate) fn gradients(&self) -> impl Iterator<Item = ParamId> {
        self.0.gradients().into_iter().flatten()
    }

    pub(crate) fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        self.0.run(at, memory)
    }

    #[cfg(test)]
    pub(crate) fn names(&self) -> &'static [&'static str] {
        self.0.names()
    }

    /// The name of what runs, for people.
    pub(crate) fn name(&self) -> String {
        self.0.chosen().unwrap_or_else(|| self.0.kind().to_owned())
    }

    /// Whether it does a layer's multiply-accumulates, forward or backward.
    pub(crate) fn multiplies(&self) -> bool {
        self.is::<Conv>()
            || self.is::<ConvInput>()
            || self.is::<ConvSignal>()
            || self.is::<ConvWeights>()
    }

    /// What was fused into it: `+bias +sum +relu`.
    pub(crate) fn fused(&self) -> String {
        let names = ["+bias", "+sum", "+relu"].into_iter();
        let fused = names.zip(self.0.fused()).filter(|(_, is)| *is);
        fused.map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    }
}
