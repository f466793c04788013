//! What a training step would take with more processes: a step measured here, with the times at which its gradients are ready,
//! over a network that is a model.
//!
//! A message of n bytes takes α + n/β. Gradients are added in a ring, a bucket in 2(R-1)·α + 2(R-1)/R·n/β (Patarasuk & Yuan, J.
//! Parallel Distrib. Comput. 2009), one bucket after the other while the backward pass goes on. A few numbers are added by
//! recursive doubling, in log₂R messages (Thakur, Rabenseifner & Gropp, IJHPCA 2005, section 4), while the pass waits: two
//! such sums steer a step, and two for each normalisation make its statistics those of all ranks.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use top5::graph::{Bucket, EngineError, NodeId, Reducer};

use super::digits;
use crate::table::{self, Column};

/// Sums of a few numbers in each step, whatever the network.
const STEERING: f64 = 2.0;

/// A network between processes.
struct Net {
    name: &'static str,
    /// Seconds before a message's first byte arrives.
    alpha: f64,
    /// Bytes per second.
    beta: f64,
}

/// Usual ones: TCP over Ethernet, and remote memory access.
const NETS: [Net; 2] = [
    Net { name: "10 Gbit/s, 30 µs", alpha: 30e-6, beta: 10e9 / 8.0 },
    Net { name: "100 Gbit/s, 5 µs", alpha: 5e-6, beta: 100e9 / 8.0 },
];

impl Net {
    /// Seconds that it takes `ranks` to add so many bytes of gradients.
    fn ring(&self, ranks: f64, bytes: f64) -> f64 {
        2.0 * (ranks - 1.0) * (self.alpha + bytes / ranks / self.beta)
    }

    /// Seconds that it takes `ranks` to add a few numbers.
    fn doubling(&self, ranks: f64, bytes: f64) -> f64 {
        ranks.log2().ceil() * (self.alpha + bytes / self.beta)
    }
}

/// What one step did, in order, with the seconds since it began.
#[derive(Default)]
pub(super) struct Timeline {
    events: Vec<(f64, Event)>,
    /// When its backward pass was done, and its update.
    backward: f64,
    end: f64,
}

enum Event {
    /// So many bytes of statistics are to be added before it goes on.
    Statistics(f64),
    /// So many bytes of gradients are final.
    Ready(f64),
}

/// One number of ranks over one network.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Scaled {
    ranks: usize,
    network: &'static str,
    /// Milliseconds of a step.
    ms: f64,
    /// Of all ranks.
    images_per_second: f64,
    /// The time of a step of one rank by this one's: 1 where nothing is waited for.
    efficiency: f64,
    /// The same with batch normalisation over the images of all ranks.
    synchronised_efficiency: f64,
}

impl Timeline {
    /// The median of steps that are taken for this long.
    pub(super) fn measure(
        budget: Duration,
        mut step: impl FnMut(&mut Recorder) -> Result<()>,
    ) -> Result<Self> {
        let mut steps = Vec::new();
        let begin = Instant::now();
        // The first one touches memory for the first time.
        while steps.len() < 4 || begin.elapsed() < budget {
            let mut recorder = Recorder::begin();
            step(&mut recorder)?;
            recorder.timeline.end = recorder.now();
            steps.push(recorder.timeline);
        }
        let mut steps = steps.split_off(1);
        steps.sort_by(|a, b| a.end.total_cmp(&b.end));
        Ok(steps.swap_remove(steps.len() / 2))
    }

    /// Seconds of a step of so many ranks.
    fn step(&self, net: &Net, ranks: usize, synchronises: bool) -> f64 {
        let ranks = ranks as f64;
        // How much later than measured the pass is, and when the network is free again.
        let (mut late, mut free) = (net.doubling(ranks, 24.0), 0.0_f64);
        for &(at, ref event) in &self.events {
            match *event {
                Event::Statistics(bytes) if synchronises => late += net.doubling(ranks, bytes),
                Event::Statistics(_) => {}
                Event::Ready(bytes) => free = free.max(at + late) + net.ring(ranks, bytes),
            }
        }
        let reduced = free.max(self.backward + late);
        reduced + (STEERING - 1.0) * net.doubling(ranks, 24.0) + (self.end - self.backward)
    }

    /// What it comes to with these numbers of ranks, each of which has a batch of this size.
    pub(super) fn scale(&self, ranks: &[usize], batch: usize) -> Vec<Scaled> {
        let of = |net: &Net, ranks: usize| {
            let [plain, synchronised] = [false, true].map(|both| self.step(net, ranks, both));
            Scaled {
                ranks,
                network: net.name,
                ms: 1e3 * plain,
                images_per_second: (ranks * batch) as f64 / plain,
                efficiency: self.end / plain,
                synchronised_efficiency: self.end / synchronised,
            }
        };
        NETS.iter().flat_map(|net| ranks.iter().map(move |&ranks| of(net, ranks))).collect()
    }
}

/// A reducer that writes down when it is called and adds nothing.
pub(super) struct Recorder {
    begin: Instant,
    timeline: Timeline,
    taken: Vec<Bucket>,
}

impl Recorder {
    fn begin() -> Self {
        Self { begin: Instant::now(), timeline: Timeline::default(), taken: Vec::new() }
    }

    fn now(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }
}

impl Reducer for Recorder {
    fn synchronises(&self) -> bool {
        true
    }

    fn statistics(&mut self, _: NodeId, sums: &mut [f64]) -> Result<(), EngineError> {
        let event = Event::Statistics(size_of_val(sums) as f64);
        self.timeline.events.push((self.now(), event));
        Ok(())
    }

    fn ready(&mut self, bucket: Bucket) -> Result<(), EngineError> {
        let event = Event::Ready(size_of_val(bucket.values.values()) as f64);
        self.timeline.events.push((self.now(), event));
        self.taken.push(bucket);
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<Bucket>, EngineError> {
        self.timeline.backward = self.now();
        Ok(std::mem::take(&mut self.taken))
    }
}

const COLUMNS: [Column; 6] = [
    ("network", false),
    ("ranks", true),
    ("ms", true),
    ("images/s", true),
    ("efficiency", true),
    ("with --sync-bn", true),
];

/// As a table, and what was assumed.
pub(super) fn describe(scaled: &[Scaled]) -> String {
    let rows: Vec<_> = scaled.iter().map(Scaled::cells).collect();
    table::aligned(COLUMNS, &rows)
        + "a model: this step on every rank, buckets added in a ring while the backward pass goes on\n"
}

impl Scaled {
    fn cells(&self) -> [String; 6] {
        [
            self.network.to_owned(),
            self.ranks.to_string(),
            digits(self.ms),
            format!("{:.0}", self.images_per_second),
            super::percent(self.efficiency),
            super::percent(self.synchronised_efficiency),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two buckets of 1 MB, ready at 10 and 20 ms of a step of 25 ms, and statistics between them.
    fn timeline() -> Timeline {
        let events = vec![
            (0.010, Event::Ready(1e6)),
            (0.015, Event::Statistics(800.0)),
            (0.020, Event::Ready(1e6)),
        ];
        Timeline { events, backward: 0.020, end: 0.025 }
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-7, "{a} {b}");
    }

    #[test]
    fn one_rank_takes_what_was_measured() {
        for net in &NETS {
            close(timeline().step(net, 1, true), 0.025);
        }
    }

    /// By hand: α 1 ms, β 1 GB/s, two ranks: a bucket takes 2·1 + 1 ms, a few numbers 1 ms.
    #[test]
    fn buckets_wait_for_each_other_and_the_step_for_the_last() {
        let net = Net { name: "", alpha: 1e-3, beta: 1e9 };
        close(net.ring(2.0, 1e6), 0.003);
        // The second one is ready at 21 ms, as the pass began 1 ms late; the end is steered once more.
        close(timeline().step(&net, 2, false), 0.021 + 0.003 + 0.001 + 0.005);
        close(timeline().step(&net, 2, true), 0.022 + 800e-9 + 0.003 + 0.001 + 0.005);
        // So slow that the first is still under way when the second is ready.
        let slow = Net { name: "", alpha: 0.0, beta: 5e7 };
        let first = 0.010 + 24.0 / 5e7 + 0.020;
        close(timeline().step(&slow, 2, false), first + 0.020 + 24.0 / 5e7 + 0.005);
    }

    #[test]
    fn more_ranks_take_longer_and_do_more() {
        let scaled = timeline().scale(&[2, 4, 8, 64], 32);
        assert_eq!(scaled.len(), 4 * NETS.len());
        for pair in scaled[..4].windows(2) {
            assert!(pair[0].ms < pair[1].ms);
            assert!(pair[0].images_per_second < pair[1].images_per_second);
            assert!(pair[1].synchronised_efficiency <= pair[1].efficiency);
        }
    }
}
