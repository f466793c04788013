//! Reducers: buckets hold every gradient once, and two processes with half a batch each do what one does with all.

use super::report::{Report, all_identical};
use super::{Make, Tolerance, labels};
use crate::oracle;
use crate::reference::ReferenceDevice;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use top5_graph::{
    Bucket, Device, EngineError, Graph, NodeId, Reducer, StepOptions, Targets, TrainingOptions,
    Weights, k, net,
};

pub(super) fn check(make: &Make<'_>, tolerance: Tolerance) -> Vec<String> {
    [check_buckets(make, tolerance), check_processes(make, tolerance)].concat()
}

fn graph() -> Graph {
    let graph = net("processes", [3, 6, 6], |x| {
        let x = x.conv_bn(18, k(3).pad(1)).relu();
        x.global_avg_pool().linear(4).output("aux", 0.3);
        let y = x.conv_bn(18, k(3).pad(1)).relu().conv(18, 1).batch_norm();
        (x + y).relu().max_pool(k(2).stride(2)).flatten().linear(4)
    });
    graph.unwrap_or_else(|error| panic!("{error}"))
}

const BATCH: usize = 4;

/// Halves every gradient, and gives the buckets back in another order.
#[derive(Default)]
struct Halving {
    buckets: Vec<Bucket>,
    indices: Vec<usize>,
}

impl Reducer for Halving {
    fn ready(&mut self, mut bucket: Bucket) -> Result<(), EngineError> {
        bucket.values.values_mut().iter_mut().for_each(|g| *g *= 0.5);
        self.indices.push(bucket.index);
        self.buckets.push(bucket);
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<Bucket>, EngineError> {
        let (first, mut last) = (self.buckets.pop(), std::mem::take(&mut self.buckets));
        last.extend(first);
        Ok(last)
    }
}

/// Fails when a bucket is ready.
struct Failing;

impl Reducer for Failing {
    fn ready(&mut self, _: Bucket) -> Result<(), EngineError> {
        Err(EngineError::Reduction { why: "the cable is out".to_owned() })
    }

    fn finish(&mut self) -> Result<Vec<Bucket>, EngineError> {
        Ok(Vec::new())
    }
}

fn check_buckets(make: &Make<'_>, tolerance: Tolerance) -> Vec<String> {
    let mut report = Report::new("buckets", tolerance);
    let (device, graph) = (make(), graph());
    let weights = oracle::weights_for(&graph);
    let images = oracle::image("input", &[BATCH, 3, 6, 6]);
    let labels = labels(BATCH, 0, 4);
    let targets = Targets::Classes(&labels);
    for bucket in [1, 3000, 1 << 30] {
        let options = TrainingOptions { bucket, ..TrainingOptions::new(BATCH) };
        let training = device.training(&graph, &weights, &options);
        let Some(mut training) = report.ok("training", training) else { continue };
        let step = StepOptions::new(0);
        report.ok("step", training.gradients(images.data(), targets, &step, None));
        let whole = training.gradient_tensors();
        report.ok("load", training.load(&weights));
        let mut reducer = Halving::default();
        let loss = training.gradients(images.data(), targets, &step, Some(&mut reducer));
        report.ok("step", loss);
        let halves: Weights = whole
            .iter()
            .map(|(name, tensor)| {
                let mut half = tensor.clone();
                half.data_mut().iter_mut().for_each(|g| *g *= 0.5);
                (name.to_owned(), half)
            })
            .collect();
        let what = format!("gradients that a reducer halved in buckets of {bucket} bytes:");
        report.close_all(&what, &training.gradient_tensors(), &halves, 1e-7);
        let mut sorted = reducer.indices.clone();
        sorted.sort_unstable();
        let once = sorted == (0..sorted.len()).collect::<Vec<_>>();
        report.require(once, format!("buckets {:?} are not each ready once", reducer.indices));
        let several = sorted.len() > 1;
        report.require(several == (bucket < 1 << 30), format!("{} buckets", sorted.len()));
        let before = training.weights();
        let failed = training.gradients(images.data(), targets, &step, Some(&mut Failing));
        report.refused("a reduction that fails", failed, |error| {
            matches!(error, EngineError::Reduction { .. })
        });
        let same = all_identical(&before, &training.weights());
        report.require(same, "a reduction that fails changes weights or running statistics");
    }
    report.failures
}

/// One of two processes: adds what the other sends.
struct Pair {
    to: Sender<Vec<f64>>,
    from: Receiver<Vec<f64>>,
    buckets: Vec<Bucket>,
}

impl Pair {
    fn both() -> [Self; 2] {
        let [(a, from_a), (b, from_b)] = [channel(), channel()];
        let pair = |to, from| Self { to, from, buckets: Vec::new() };
        [pair(a, from_b), pair(b, from_a)]
    }

    fn add(&self, values: &mut [f64]) -> Result<(), EngineError> {
        let gone = || EngineError::Reduction { why: "the other process has gone".to_owned() };
        self.to.send(values.to_vec()).map_err(|_| gone())?;
        let other = self.from.recv().map_err(|_| gone())?;
        assert_eq!(other.len(), values.len(), "the processes make different calls");
        values.iter_mut().zip(other).for_each(|(value, other)| *value += other);
        Ok(())
    }
}

impl Reducer for Pair {
    fn synchronises(&self) -> bool {
        true
    }

    fn statistics(&mut self, _: NodeId, sums: &mut [f64]) -> Result<(), EngineError> {
        self.add(sums)
    }

    fn ready(&mut self, mut bucket: Bucket) -> Result<(), EngineError> {
        let values = bucket.values.values_mut();
        let mut sums: Vec<f64> = values.iter().copied().map(f64::from).collect();
        self.add(&mut sums)?;
        values.iter_mut().zip(sums).for_each(|(value, sum)| *value = (0.5 * sum) as f32);
        self.buckets.push(bucket);
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<Bucket>, EngineError> {
        Ok(std::mem::take(&mut self.buckets))
    }
}

/// Two halves of a batch on two devices against the whole on the reference.
fn check_processes(make: &Make<'_>, tolerance: Tolerance) -> Vec<String> {
    let mut report = Report::new("two processes", tolerance);
    let graph = graph();
    let weights = oracle::weights_for(&graph);
    let images = oracle::image("input", &[BATCH, 3, 6, 6]);
    let labels = labels(BATCH, 0, 4);
    let half = images.data().len() / 2;
    let options = TrainingOptions { bucket: 2000, ..TrainingOptions::new(BATCH / 2) };
    let devices = [make(), make()];
    let results = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (i, (device, mut pair)) in devices.into_iter().zip(Pair::both()).enumerate() {
            let (images, labels) = (&images.data()[i * half..][..half], &labels[2 * i..][..2]);
            let (graph, weights, options) = (&graph, &weights, &options);
            threads.push(scope.spawn(move || -> Result<[Weights; 2], EngineError> {
                let mut training = device.training(graph, weights, options)?;
                let targets = Targets::Classes(labels);
                training.gradients(images, targets, &StepOptions::new(0), Some(&mut pair))?;
                Ok([training.gradient_tensors(), training.weights()])
            }));
        }
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a step does not panic"))
            .collect::<Vec<_>>()
    });
    let whole = || -> Result<[Weights; 2], EngineError> {
        let options = TrainingOptions::new(BATCH);
        let mut training = ReferenceDevice.training(&graph, &weights, &options)?;
        let targets = Targets::Classes(&labels);
        training.gradients(images.data(), targets, &StepOptions::new(0), None)?;
        Ok([training.gradient_tensors(), training.weights()])
    };
    let Some(want) = report.ok("the whole", whole()) else { return report.failures };
    for result in results {
        let Some(got) = report.ok("a half", result) else { continue };
        report.close_all("mean gradient of", &got[0], &want[0], tolerance.gradient);
        report.close_all("running statistics:", &got[1], &want[1], tolerance.forward);
    }
    report.failures
}
