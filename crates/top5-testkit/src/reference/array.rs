//! The reference's activations: f64 in `[n, c, h, w]` order.

use top5_graph::Shape;

/// A batch of maps in row-major `[n, c, h, w]` order; a vector is a map of 1 by 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) n: usize,
    pub(crate) c: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) data: Vec<f64>,
}

impl Array {
    /// Zeros for `n` samples of this shape.
    pub(crate) fn zeros(n: usize, shape: Shape) -> Self {
        let (c, [h, w]) = (shape.channels(), shape.size());
        Self { n, c, h, w, data: vec![0.0; n * c * h * w] }
    }

    /// Zeros of the same dimensions.
    pub(crate) fn zeros_like(&self) -> Self {
        self.map(|_| 0.0)
    }

    /// The same dimensions, each element mapped.
    pub(crate) fn map(&self, f: impl FnMut(f64) -> f64) -> Self {
        let &Self { n, c, h, w, .. } = self;
        Self { n, c, h, w, data: self.data.iter().copied().map(f).collect() }
    }

    /// The same dimensions, each pair of elements combined.
    pub(crate) fn zip(&self, other: &Self, mut f: impl FnMut(f64, f64) -> f64) -> Self {
        let &Self { n, c, h, w, .. } = self;
        let pairs = self.data.iter().zip(&other.data);
        Self { n, c, h, w, data: pairs.map(|(&a, &b)| f(a, b)).collect() }
    }

    /// Elements of one map.
    pub(crate) fn area(&self) -> usize {
        self.h * self.w
    }

    /// Channel `c` of sample `n`.
    pub(crate) fn plane(&self, n: usize, c: usize) -> &[f64] {
        &self.data[(n * self.c + c) * self.area()..][..self.area()]
    }

    /// Channel `c` of sample `n`.
    pub(crate) fn plane_mut(&mut self, n: usize, c: usize) -> &mut [f64] {
        let area = self.area();
        &mut self.data[(n * self.c + c) * area..][..area]
    }

    /// All elements of sample `n`.
    pub(crate) fn sample(&self, n: usize) -> &[f64] {
        let len = self.c * self.area();
        &self.data[n * len..][..len]
    }

    /// All elements of sample `n`.
    pub(crate) fn sample_mut(&mut self, n: usize) -> &mut [f64] {
        let len = self.c * self.area();
        &mut self.data[n * len..][..len]
    }
}
