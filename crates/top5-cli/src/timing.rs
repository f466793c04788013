//! Measuring on a machine that others use too: samples of times with their spread, the machine's peak beside them, and
//! the memory of the process.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use top5::CpuDevice;

/// Fewest and most runs of a sample, whatever the time they take.
const RUNS: std::ops::RangeInclusive<usize> = 5..=100_000;
/// Runs before a sample: the first ones make plans and touch memory.
const WARM_UP: usize = 2;

/// Milliseconds of many runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    /// A quarter of the runs took less.
    pub(crate) lower: f64,
    pub(crate) median: f64,
    /// A quarter of the runs took more.
    pub(crate) upper: f64,
    pub(crate) runs: usize,
}

impl Spread {
    /// Of times in any order; of none, all is zero.
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |quarter: usize| {
            let last = times.len().saturating_sub(1);
            times.get(last * quarter / 4).map_or(0.0, |time| 1e3 * time.as_secs_f64())
        };
        Self { min: at(0), lower: at(1), median: at(2), upper: at(3), runs: times.len() }
    }

    /// Runs `once` for about this long.
    pub(crate) fn measure(budget: Duration, mut once: impl FnMut() -> Result<()>) -> Result<Self> {
        for _ in 0..WARM_UP {
            once()?;
        }
        let begin = Instant::now();
        let mut times = Vec::new();
        while times.len() < *RUNS.start() || (times.len() < *RUNS.end() && begin.elapsed() < budget)
        {
            let start = Instant::now();
            once()?;
            times.push(start.elapsed());
        }
        Ok(Self::of(times))
    }

    /// `31.2–31.9`, the middle half of the runs.
    pub(crate) fn middle(&self) -> String {
        format!("{}–{}", digits(self.lower), digits(self.upper))
    }
}

/// A time with three or four digits.
pub(crate) fn digits(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0..100.0 => format!("{value:.1}"),
        1.0..10.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The times of the parts of a run, one sample per part.
#[derive(Default)]
pub(crate) struct Laps {
    laps: Vec<Vec<Duration>>,
    /// The part that runs, and since when.
    running: Option<(usize, Instant)>,
}

impl Laps {
    /// The part with this number begins, and the one before it ends.
    pub(crate) fn begin(&mut self, part: usize) {
        let now = Instant::now();
        if let Some((before, since)) = self.running.take() {
            if self.laps.len() <= before {
                self.laps.resize(before + 1, Vec::new());
            }
            self.laps[before].push(now - since);
        }
        self.running = Some((part, now));
    }

    /// The last part has ended.
    pub(crate) fn end(&mut self) {
        self.begin(0);
        self.running = None;
    }

    /// One sample per part.
    pub(crate) fn spreads(self) -> Vec<Spread> {
        self.laps.into_iter().map(Spread::of).collect()
    }
}

/// Rounds of a probe's jobs: some milliseconds.
const PROBE_ROUNDS: u32 = 100_000;
/// Probes of which the fastest counts.
const PROBES: usize = 5;

/// The floating-point operations per second that the device's threads reach now, on registers alone.
pub(crate) fn peak(device: &CpuDevice) -> f64 {
    let probe = || {
        let start = Instant::now();
        let operations = device.multiply_adds(PROBE_ROUNDS);
        operations as f64 / start.elapsed().as_secs_f64()
    };
    (0..PROBES).map(|_| probe()).fold(0.0, f64::max)
}

/// The process's resident memory, in bytes: now, and the most since [`Resident::reset`]. Linux tells, others do not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resident {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

impl Resident {
    pub(crate) fn read() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
        };
        Some(Self { now: field("VmRSS:")?, peak: field("VmHWM:")? })
    }

    /// Lets the peak begin at what is resident now. Where that is not allowed it stays the process's.
    pub(crate) fn reset() -> Option<Self> {
        std::fs::write("/proc/self/clear_refs", "5").ok();
        Self::read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_of_the_sorted_sample() {
        let times = [5, 1, 4, 2, 3].map(Duration::from_millis);
        let Spread { min, lower, median, upper, runs } = Spread::of(times.to_vec());
        assert_eq!([min, lower, median, upper].map(|ms| ms.round()), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(runs, 5);
        assert_eq!(Spread::of(Vec::new()).median, 0.0);
    }

    #[test]
    fn laps_go_to_their_parts() {
        let mut laps = Laps::default();
        for _ in 0..3 {
            [0, 1, 2].into_iter().for_each(|part| laps.begin(part));
            laps.end();
        }
        let runs: Vec<usize> = laps.spreads().iter().map(|spread| spread.runs).collect();
        assert_eq!(runs, [3, 3, 3]);
    }

    #[test]
    fn few_runs_are_made_even_without_time() {
        let mut runs = 0;
        let spread = Spread::measure(Duration::ZERO, || {
            runs += 1;
            Ok(())
        });
        assert_eq!((runs, spread.unwrap().runs), (WARM_UP + RUNS.start(), *RUNS.start()));
    }
}
