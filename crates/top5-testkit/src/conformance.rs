//! The conformance suite: what every engine must do, compared with the reference on every case.
//!
//! Before each training step the reference takes weights and state of the engine under test, so that each step is judged from
//! one and the same state and the tolerances need not grow.

mod distributed;
mod errors;
mod forward;
mod report;
mod signals;
mod steps;
mod updates;

use crate::cases::{Case, cases};
use crate::{fill, oracle};
use report::Report;
use top5_graph::{Device, Graph, Tensor, Weights};

/// Failures of one case that are listed; the first say most.
const LISTED: usize = 8;

/// Makes a device: one for each process that a check stands in for.
pub type Make<'a> = dyn Fn() -> Box<dyn Device> + 'a;

/// How far an engine may be from the reference.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Largest relative L2 distance of an activation, a loss or an updated value.
    pub forward: f64,
    /// Largest relative L2 distance of a gradient, a momentum or a signal.
    pub gradient: f64,
}

impl Tolerance {
    /// Of an engine in f32.
    pub const F32: Self = Self { forward: 1e-5, gradient: 1e-4 };
}

/// Checks an engine on all cases and on what no case says: errors, NaN, replacement, threads and processes.
///
/// # Panics
/// If anything differs, with a list of the first that do.
pub fn conformance(make: &Make<'_>, tolerance: Tolerance) {
    conformance_except(make, tolerance, &[]);
}

/// As [`conformance`], without the cases that are named in `known`, each with the reason why.
///
/// # Panics
/// If anything differs, or if there is no case of such a name.
pub fn conformance_except(make: &Make<'_>, tolerance: Tolerance, known: &[(&str, &str)]) {
    let cases = cases();
    for (name, why) in known {
        assert!(cases.iter().any(|case| case.name() == *name), "no case {name:?} ({why})");
    }
    let mut failures = Vec::new();
    let is_known = |name: &str| known.iter().any(|(known, _)| *known == name);
    for case in cases.iter().filter(|case| !is_known(case.name())) {
        let mut of_case = check_case(case, make, tolerance);
        if of_case.len() > LISTED {
            let rest = of_case.split_off(LISTED).len();
            of_case.push(format!("{}: … and {rest} more", case.name()));
        }
        failures.extend(of_case);
    }
    failures.extend(check_beside(make, tolerance));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Checks backward passes from nodes, on all cases: the other half of what every engine must do.
///
/// # Panics
/// If anything differs, with a list of the first that do.
pub fn signal_conformance(make: &Make<'_>, tolerance: Tolerance) {
    let device = make();
    let mut failures = errors::check_signals(device.as_ref(), tolerance);
    for case in &cases() {
        failures.extend(check_signals(case, make, tolerance));
        failures.truncate(20 * LISTED);
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Runs the forward passes and the training of one case; returns what differs.
pub fn check_case(case: &Case, make: &Make<'_>, tolerance: Tolerance) -> Vec<String> {
    let mut report = Report::new(case.name(), tolerance);
    let device = make();
    forward::check(&mut report, case, device.as_ref());
    steps::check(&mut report, case, device.as_ref());
    report.failures
}

/// Runs the backward passes from nodes of one case; returns what differs.
pub fn check_signals(case: &Case, make: &Make<'_>, tolerance: Tolerance) -> Vec<String> {
    let mut report = Report::new(case.name(), tolerance);
    signals::check(&mut report, case, make().as_ref());
    report.failures
}

/// What is wrong beside the cases.
pub fn check_beside(make: &Make<'_>, tolerance: Tolerance) -> Vec<String> {
    let mut failures = errors::check(make, tolerance);
    failures.extend(forward::check_forms(make, tolerance));
    failures.extend(forward::check_replacement(make, tolerance));
    failures.extend(distributed::check(make, tolerance));
    failures.extend(updates::check(make, tolerance));
    failures
}

fn images(case: &Case, name: &str, n: usize) -> Tensor {
    let shape = [&[n], &case.graph.input()[..]].concat();
    if case.integers { fill::integer_tensor(name, &shape) } else { oracle::image(name, &shape) }
}

fn weights(case: &Case) -> Weights {
    let weights = oracle::weights_for(&case.graph);
    if !case.integers {
        return weights;
    }
    let integers = |(name, tensor): (String, Tensor)| {
        let integers = fill::integer_tensor(&name, tensor.shape());
        (name, integers)
    };
    weights.into_iter().map(integers).collect()
}

fn labels(n: usize, step: usize, classes: usize) -> Vec<u32> {
    (0..n).map(|i| ((7 * i + 3 * step + 1) % classes) as u32).collect()
}

/// Distributions over the classes, some shares zero.
fn distributions(n: usize, classes: usize) -> Vec<f32> {
    let row = |image: usize| {
        let draws = fill::signed(&format!("shares of image {image}"), classes);
        let shares: Vec<f64> = draws.iter().map(|&v| f64::from(v.max(0.0)) + 1e-3).collect();
        let sum: f64 = shares.iter().sum();
        shares.into_iter().map(move |share| (share / sum) as f32)
    };
    (0..n).flat_map(row).collect()
}

/// Whether every output of the network is a vector of scores.
fn trains(graph: &Graph) -> bool {
    graph.outputs().iter().all(|output| graph.node(output.node).shape().size() == [1, 1])
}
