//! What a method says of each place: a map of finite numbers, and what there is to say of it in words.

use std::fmt;

use top5_graph::Tensor;

use crate::error::ExplainError;

/// Numbers over rows and columns, of an image or of a layer's cells. All of them are finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    values: Vec<f32>,
    height: usize,
    width: usize,
    signed: bool,
}

/// What a map shows before anybody looks at a picture of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// There is something to see.
    Varies,
    /// All values are equal and above zero: it says nothing of places.
    Constant,
    /// No value is above zero.
    NoPositiveEvidence,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Varies => "varies",
            Self::Constant => "constant",
            Self::NoPositiveEvidence => "no positive evidence",
        })
    }
}

impl Map {
    /// A map of `height * width` values in row-major order. `signed`: whether values below zero mean the opposite of those
    /// above it. Fails on another number of values, and where one is not finite.
    pub fn new(
        values: Vec<f32>,
        height: usize,
        width: usize,
        signed: bool,
    ) -> Result<Self, ExplainError> {
        if height.checked_mul(width) != Some(values.len()) || values.is_empty() {
            let expected = height.saturating_mul(width).max(1);
            return Err(ExplainError::Shape { what: "a map", expected, got: values.len() });
        }
        if values.iter().any(|v| !v.is_finite()) {
            return Err(ExplainError::NotFinite { what: "a value of the map".to_owned() });
        }
        Ok(Self { values, height, width, signed })
    }

    /// The signed sum over the channels of one sample, `[1, c, h, w]` or `[c, h, w]`.
    pub fn sum_of(tensor: &Tensor) -> Result<Self, ExplainError> {
        let [c, h, w] = planes(tensor)?;
        let mut sums = vec![0.0f64; h * w];
        for plane in tensor.data().chunks_exact(h * w).take(c) {
            sums.iter_mut().zip(plane).for_each(|(sum, &v)| *sum += f64::from(v));
        }
        Self::new(sums.into_iter().map(|v| v as f32).collect(), h, w, true)
    }

    /// The greatest magnitude over the channels of one sample (Simonyan et al., ICLR workshop 2014, section 3.1).
    pub fn magnitude_of(tensor: &Tensor) -> Result<Self, ExplainError> {
        let [c, h, w] = planes(tensor)?;
        let mut greatest = vec![0.0f32; h * w];
        for plane in tensor.data().chunks_exact(h * w).take(c) {
            // `max` would pass over NaN.
            let larger = |g: f32, v: f32| if (g + v).is_nan() { f32::NAN } else { g.max(v.abs()) };
            greatest.iter_mut().zip(plane).for_each(|(g, &v)| *g = larger(*g, v));
        }
        Self::new(greatest, h, w, false)
    }

    /// The values, in row-major order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Whether values below zero mean the opposite of those above it.
    pub fn signed(&self) -> bool {
        self.signed
    }

    /// The value at a row and column.
    pub fn at(&self, row: usize, column: usize) -> f32 {
        self.values[row * self.width + column]
    }

    /// The smallest and the largest value.
    pub fn range(&self) -> [f32; 2] {
        let least = self.values.iter().copied().fold(f32::INFINITY, f32::min);
        let most = self.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        [least, most]
    }

    /// What there is to say of it in a word.
    pub fn fact(&self) -> Fact {
        let [least, most] = self.range();
        match () {
            () if most <= 0.0 => Fact::NoPositiveEvidence,
            () if least == most => Fact::Constant,
            () => Fact::Varies,
        }
    }

    /// The map at another size, each value from the four nearest (bilinear, pixel centres aligned, edges continued).
    pub fn resized(&self, height: usize, width: usize) -> Self {
        let rows = axis(height, self.height as f64 / height as f64);
        let columns = axis(width, self.width as f64 / width as f64);
        self.sampled(&rows, &columns)
    }

    /// The map's values at fractional rows and columns, between the four nearest; outside, the nearest.
    pub(crate) fn sampled(&self, rows: &[f64], columns: &[f64]) -> Self {
        let between = |at: f64, size: usize| {
            let at = at.clamp(0.0, (size - 1) as f64);
            let low = at.floor() as usize;
            (low, (low + 1).min(size - 1), (at - low as f64) as f32)
        };
        let columns_at: Vec<_> = columns.iter().map(|&at| between(at, self.width)).collect();
        let mut values = Vec::with_capacity(rows.len() * columns.len());
        for &row in rows {
            let (top, bottom, down) = between(row, self.height);
            for &(left, right, across) in &columns_at {
                let mix = |a: f32, b: f32, share: f32| a * (1.0 - share) + b * share;
                let upper = mix(self.at(top, left), self.at(top, right), across);
                let lower = mix(self.at(bottom, left), self.at(bottom, right), across);
                values.push(mix(upper, lower, down));
            }
        }
        Self { values, height: rows.len(), width: columns.len(), signed: self.signed }
    }
}

fn axis(size: usize, ratio: f64) -> Vec<f64> {
    (0..size).map(|i| (i as f64 + 0.5) * ratio - 0.5).collect()
}

/// Channels, rows and columns of one sample.
fn planes(tensor: &Tensor) -> Result<[usize; 3], ExplainError> {
    match *tensor.shape() {
        [1, c, h, w] | [c, h, w] => Ok([c, h, w]),
        [1, c] | [c] => Ok([c, 1, 1]),
        _ => Err(ExplainError::Shape {
            what: "the signal of one image",
            expected: 1,
            got: tensor.shape().first().copied().unwrap_or(0),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(values: &[f32], signed: bool) -> Map {
        Map::new(values.to_vec(), 1, values.len(), signed).unwrap()
    }

    #[test]
    fn facts_are_told_in_words() {
        for (values, words) in [
            (&[0.0, 0.0][..], "no positive evidence"),
            (&[-1.0, 0.0], "no positive evidence"),
            (&[-2.0, -2.0], "no positive evidence"),
            (&[0.5, 0.5], "constant"),
            (&[-1.0, 0.5], "varies"),
        ] {
            assert_eq!(map(values, true).fact().to_string(), words, "{values:?}");
        }
    }

    #[test]
    fn no_map_has_a_value_that_is_no_number() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let got = Map::new(vec![0.0, bad], 1, 2, false);
            assert!(matches!(got, Err(ExplainError::NotFinite { .. })));
            let tensor = Tensor::new([1, 2, 1, 2], vec![0.0, bad, 1.0, 2.0]).unwrap();
            for got in [Map::sum_of(&tensor), Map::magnitude_of(&tensor)] {
                assert!(matches!(got, Err(ExplainError::NotFinite { .. })));
            }
        }
        assert!(matches!(Map::new(vec![0.0], 1, 2, false), Err(ExplainError::Shape { .. })));
        assert!(matches!(Map::new(vec![], 0, 2, false), Err(ExplainError::Shape { .. })));
    }

    #[test]
    fn channels_are_summed_or_compared() {
        let tensor = Tensor::new([1, 2, 1, 2], vec![1.0, -3.0, -2.0, 1.0]).unwrap();
        assert_eq!(Map::sum_of(&tensor).unwrap(), map(&[-1.0, -2.0], true));
        assert_eq!(Map::magnitude_of(&tensor).unwrap(), map(&[2.0, 3.0], false));
    }

    #[test]
    fn resizing_keeps_constants_and_doubles_evenly() {
        assert_eq!(map(&[2.0, 2.0], false).resized(3, 5).range(), [2.0, 2.0]);
        let twice = map(&[0.0, 4.0], false).resized(1, 4);
        assert_eq!(twice.values(), [0.0, 1.0, 3.0, 4.0]);
    }
}
