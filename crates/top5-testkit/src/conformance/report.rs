//! What differs, collected.

use super::Tolerance;
use crate::close::close_abs;
use top5_graph::{EngineError, Tensor, Weights};

/// Collects what differs.
pub(super) struct Report {
    case: String,
    pub(super) tolerance: Tolerance,
    pub(super) failures: Vec<String>,
}

impl Report {
    pub(super) fn new(case: &str, tolerance: Tolerance) -> Self {
        Self { case: case.to_owned(), tolerance, failures: Vec::new() }
    }

    pub(super) fn fail(&mut self, message: impl AsRef<str>) {
        self.failures.push(format!("{}: {}", self.case, message.as_ref()));
    }

    pub(super) fn require(&mut self, holds: bool, message: impl AsRef<str>) {
        if !holds {
            self.fail(message);
        }
    }

    /// The value, or a failure.
    pub(super) fn ok<T>(&mut self, what: &str, result: Result<T, EngineError>) -> Option<T> {
        result.map_err(|error| self.fail(format!("{what}: {error}"))).ok()
    }

    /// A failure unless it is an error of this kind.
    pub(super) fn refused<T>(
        &mut self,
        what: &str,
        result: Result<T, EngineError>,
        is_expected: impl Fn(&EngineError) -> bool,
    ) {
        match result {
            Ok(_) => self.fail(format!("{what} is not refused")),
            Err(error) if is_expected(&error) => {}
            Err(error) => self.fail(format!("{what} is refused with the wrong error: {error:?}")),
        }
    }

    /// Relative L2 distance, with `floor` added to the norm of `want`.
    pub(super) fn close(
        &mut self,
        what: &str,
        got: &Tensor,
        want: &Tensor,
        tolerance: f64,
        floor: f64,
    ) {
        if got.shape() != want.shape() {
            self.fail(format!("{what}: shape {:?}, expected {:?}", got.shape(), want.shape()));
            return;
        }
        let pairs = || got.data().iter().zip(want.data());
        let squares = pairs().map(|(&g, &w)| (f64::from(g) - f64::from(w)).powi(2));
        let distance = squares.sum::<f64>().sqrt();
        let bound = tolerance * (norm(want) + floor);
        // A NaN is not within any bound.
        let within = distance <= bound;
        if !within {
            let worst = close_abs(got.data(), want.data(), 0.0).err().unwrap_or_default();
            self.fail(format!("{what}: distance {distance:.2e} > {bound:.2e}; {worst}"));
        }
    }

    pub(super) fn close_number(&mut self, what: &str, got: f64, want: f64, tolerance: f64) {
        let scalar = |value: f64| Tensor::new([1], vec![value as f32]).expect("one value");
        self.close(what, &scalar(got), &scalar(want), tolerance, 0.0);
    }

    /// Named tensors, each against the one of its name.
    pub(super) fn close_all(&mut self, what: &str, got: &Weights, want: &Weights, tolerance: f64) {
        let names =
            |weights: &Weights| weights.iter().map(|(n, _)| n.to_owned()).collect::<Vec<_>>();
        if names(got) != names(want) {
            self.fail(format!("{what}: tensors {:?}, expected {:?}", names(got), names(want)));
            return;
        }
        // A tensor that is zero but for rounding, like the gradient of a bias before a batch normalisation.
        let floor = 1e-2 * want.iter().map(|(_, tensor)| norm(tensor)).fold(0.0, f64::max);
        for ((name, got), (_, want)) in got.iter().zip(want.iter()) {
            self.close(&format!("{what} {name}"), got, want, tolerance, floor);
        }
    }
}

pub(super) fn norm(tensor: &Tensor) -> f64 {
    tensor.data().iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// Whether two tensors hold the same bits.
pub(super) fn identical(a: &Tensor, b: &Tensor) -> bool {
    let bits = |t: &Tensor| t.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    a.shape() == b.shape() && bits(a) == bits(b)
}

pub(super) fn all_identical(a: &Weights, b: &Weights) -> bool {
    a.len() == b.len() && a.iter().zip(b.iter()).all(|((n, a), (m, b))| n == m && identical(a, b))
}
