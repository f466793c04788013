//! `top5 kernels`: every kernel that can run a convolution, timed at its shape, and which one a plan would choose.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use top5::graph::ops::Conv2d;
use top5::graph::random::Stream;
use top5::graph::{Graph, Retain, SessionOptions, Window, net};
use top5::train::initialise;
use top5::{CpuSession, Mode, Options, PlannedStep};

use crate::args::{TunedArgs, parse_seconds};
use crate::bench::{SEED, percent, rate};
use crate::memory::{self, limited};
use crate::output::Output;
use crate::table::{self, Column};
use crate::timing::{Laps, Spread, digits, peak};

#[derive(Debug, Args)]
pub(crate) struct KernelsArgs {
    /// Channels, height and width of the input, filters, height and width of the kernel, stride, padding, groups, images
    #[arg(long, value_name = "C,H,W,K,R,S,STRIDE,PAD,GROUPS,BATCH", value_parser = ConvShape::parse)]
    pub(crate) conv: ConvShape,
    /// Push weights and images out of the caches before each call
    #[arg(long)]
    pub(crate) cold: bool,
    /// For how long each kernel is measured
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    pub(crate) seconds: f64,
    #[command(flatten)]
    pub(crate) engine: TunedArgs,
}

/// The layer's name in the plan.
const LAYER: &str = "conv";
/// What is read between calls to leave nothing in the caches: more than they hold.
const FLUSHED: usize = 256 << 20;

/// The document of `--json`.
#[derive(Serialize)]
struct Kernels {
    isa: String,
    threads: usize,
    batch: usize,
    /// Multiply-accumulates of the batch.
    macs: u64,
    /// Whether weights and images came from memory, not from caches.
    cold: bool,
    kernels: Vec<Timed>,
}

#[derive(Serialize)]
struct Timed {
    kernel: String,
    /// Whether a plan chooses it, and why.
    chosen: Option<String>,
    ms: Spread,
    gflops: f64,
    peak_gflops: f64,
    share_of_peak: f64,
}

const COLUMNS: [Column; 6] = [
    ("kernel", false),
    ("ms", true),
    ("middle half", true),
    ("GFLOP/s", true),
    ("of peak", true),
    ("chosen", false),
];

/// A convolution on a batch of images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvShape {
    input: [usize; 3],
    out_channels: usize,
    window: Window,
    groups: usize,
    batch: usize,
}

/// The command, resolved.
pub(crate) struct Task {
    conv: ConvShape,
    graph: Graph,
    /// Whether the caches are flushed before each call.
    cold: bool,
    /// How long each kernel is measured.
    budget: Duration,
    options: Options,
}

impl Task {
    pub(crate) fn resolve(args: KernelsArgs) -> Result<Self> {
        Ok(Self {
            conv: args.conv,
            graph: args.conv.graph()?,
            cold: args.cold,
            budget: Duration::from_secs_f64(args.seconds),
            options: limited(args.engine.options()?),
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let document = self.measure()?;
        if output.json {
            return output.document(&document);
        }
        let rows: Vec<_> = document.kernels.iter().map(Timed::cells).collect();
        output.text(&table::aligned(COLUMNS, &rows))
    }

    fn measure(&self) -> Result<Kernels> {
        let Self { conv: ConvShape { batch, .. }, graph, cold, options, .. } = self;
        let plan = top5::plan(graph, *batch, Mode::Inference, options)?;
        let step = plan.steps.iter().find(|step| step.layer == LAYER);
        let step = step.context("the plan lost it")?;
        let choice = step.choice.as_ref().context("nothing was chosen")?;
        let mut kernels = Vec::new();
        for kernel in &choice.candidates {
            let mut options = options.clone();
            options.tuning.choose(choice.shape, kernel);
            let mut timed = self.time(step, &options)?;
            timed.kernel.clone_from(kernel);
            timed.chosen = (*kernel == step.kernel).then(|| choice.why.clone());
            kernels.push(timed);
        }
        Ok(Kernels {
            isa: plan.isa.to_string(),
            threads: plan.threads,
            batch: *batch,
            macs: step.macs,
            cold: *cold,
            kernels,
        })
    }

    /// Times the layer in the plan that these options give.
    fn time(&self, step: &PlannedStep, options: &Options) -> Result<Timed> {
        let Self { conv: ConvShape { batch, .. }, graph, cold, budget, .. } = self;
        let device = top5::device(options)?;
        let of_plan = device.plan(graph, *batch, Mode::Inference)?.memory();
        let beside = memory::of_inputs(*batch, graph.input()).saturating_add(FLUSHED as u64);
        memory::check(of_plan.saturating_add(beside), "measuring a kernel")?;
        memory::check_parameters(graph, 1)?;
        let network = device.cpu_network(graph, initialise(graph, SEED), Retain::Nothing)?;
        let mut session = network.cpu_session(graph, &SessionOptions::inference(*batch))?;
        let mut stream = Stream::new(SEED, 0);
        let count = batch * graph.input().iter().product::<usize>();
        let images: Vec<f32> = (0..count).map(|_| stream.normal()).collect();
        let flushed = vec![1u8; if *cold { FLUSHED } else { 0 }];
        let layers = &session.summary().steps;
        let at = layers.iter().position(|planned| planned.layer == step.layer);
        let at = at.context("the plan lost it")?;
        let mut laps = Laps::default();
        let before = peak(&device);
        Spread::measure(*budget, || pass(&mut session, &images, at, &flushed, &mut laps))?;
        let peak_gflops = 1e-9 * before.max(peak(&device));
        let ms = laps.spreads()[at];
        let gflops = rate(step.macs, ms.median);
        let share_of_peak = gflops / peak_gflops;
        Ok(Timed { kernel: String::new(), chosen: None, ms, gflops, peak_gflops, share_of_peak })
    }
}

impl ConvShape {
    /// Reads `C,H,W,K,R,S,STRIDE,PAD,GROUPS,BATCH`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<usize>, _> = text.split(',').map(str::parse).collect();
        let expected = "expected C,H,W,K,R,S,STRIDE,PAD,GROUPS,BATCH, for example \
                        64,56,56,64,3,3,1,1,1,1 (only PAD may be 0)";
        let Ok(&[c, h, w, out, r, s, stride, pad, groups, batch]) = numbers.as_deref() else {
            return Err(expected.to_owned());
        };
        if [c, h, w, out, r, s, stride, groups, batch].contains(&0) {
            return Err(expected.to_owned());
        }
        let window = top5::graph::k([r, s]).stride(stride).pad(pad);
        let shape = Self { input: [c, h, w], out_channels: out, window, groups, batch };
        shape.graph().map_err(|error| format!("{error:#}"))?;
        Ok(shape)
    }

    fn graph(&self) -> Result<Graph> {
        let conv = Conv2d::new(self.out_channels, self.window).groups(self.groups);
        Ok(net("kernels", self.input, |x| x.apply(conv).named(LAYER))?)
    }
}

/// One pass, with the caches flushed before the step of interest.
fn pass(
    session: &mut CpuSession,
    images: &[f32],
    at: usize,
    flushed: &[u8],
    laps: &mut Laps,
) -> Result<()> {
    session.trace(images, &mut |step| {
        if step == at {
            black_box(flushed.chunks(64).map(|line| u64::from(line[0])).sum::<u64>());
        }
        laps.begin(step);
    })?;
    laps.end();
    Ok(())
}

impl Timed {
    fn cells(&self) -> [String; 6] {
        [
            self.kernel.clone(),
            digits(self.ms.median),
            self.ms.middle(),
            format!("{:.0}", self.gflops),
            percent(self.share_of_peak),
            self.chosen.as_ref().map_or(String::new(), |why| format!("yes: {why}")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolutions_are_read() {
        let shape = ConvShape::parse("64,56,28,32,3,1,2,1,4,8").unwrap();
        assert_eq!((shape.input, shape.out_channels), ([64, 56, 28], 32));
        assert_eq!((shape.window.kernel, shape.groups, shape.batch), ([3, 1], 4, 8));
        for wrong in ["", "64,56,56", "64,56,56,64,3,3,0,1,1,1", "64,2,2,64,7,7,1,0,1,1", "a"] {
            assert!(ConvShape::parse(wrong).is_err(), "{wrong}");
        }
    }
}
