//! The one source of randomness: a counter-based generator (SplitMix64's finaliser, Steele, Lea & Flood, OOPSLA 2014).
//!
//! A draw is a pure function of (seed, stream, index), so it depends neither on the order of evaluation nor on the
//! number of threads, and a run can be resumed at any point without saving a generator. It is part of the graph's
//! meaning: every engine draws the same dropout mask for the same seed, node and index.

/// SplitMix64's output function: a bijection of 64-bit integers whose outputs on successive inputs pass as random.
#[inline]
pub const fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// FNV-1a, 64 bits: turns a name into the number of a stream.
pub const fn hash(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let (mut h, mut i) = (0xCBF2_9CE4_8422_2325u64, 0);
    while i < bytes.len() {
        h = (h ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01B3);
        i += 1;
    }
    h
}

/// A sequence of draws, addressed by index or taken one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: u64,
    next: u64,
}

impl Stream {
    /// The stream numbered `stream` of the run seeded with `seed`.
    pub const fn new(seed: u64, stream: u64) -> Self {
        Self { key: mix(mix(seed) ^ stream), next: 0 }
    }

    /// A stream within this one, for example one per epoch, then one per sample.
    pub const fn substream(&self, stream: u64) -> Self {
        Self { key: mix(self.key ^ mix(stream)), next: 0 }
    }

    /// The 64 bits at `index`.
    #[inline]
    pub const fn at(&self, index: u64) -> u64 {
        mix(self.key.wrapping_add(index))
    }

    /// The number in [0, 1) at `index`, a multiple of 2⁻²⁴: exact in f32.
    #[inline]
    pub fn uniform_at(&self, index: u64) -> f32 {
        (self.at(index) >> 40) as f32 * (1.0 / (1u64 << 24) as f32)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        let bits = self.at(self.next);
        self.next += 1;
        bits
    }

    /// The next number in [0, 1).
    pub fn uniform(&mut self) -> f32 {
        (self.draw() >> 40) as f32 * (1.0 / (1u64 << 24) as f32)
    }

    /// The next number of the normal distribution N(0, 1), by the Box-Muller transform in f64.
    pub fn normal(&mut self) -> f32 {
        let unit = 1.0 / (1u64 << 53) as f64;
        let u = ((self.draw() >> 11) + 1) as f64 * unit;
        let v = (self.draw() >> 11) as f64 * unit;
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }

    /// The next integer in 0..n (n > 0), by Lemire's multiplication; its bias is below n/2⁶⁴.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.draw() as u128 * n as u128) >> 64) as usize
    }

    /// A permutation of 0..n (Fisher-Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_fnv1a_64() {
        assert_eq!(hash("input"), 0x1ebb_ae8f_5810_b65b);
    }

    #[test]
    fn draws_are_addressable() {
        let stream = Stream::new(7, 3);
        let mut walk = stream;
        let drawn: Vec<u64> = (0..10).map(|_| walk.draw()).collect();
        assert_eq!(drawn, (0..10).map(|i| stream.at(i)).collect::<Vec<_>>());
        assert_ne!(stream.substream(0), stream.substream(1));
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let n = 100_000;
        let mut stream = Stream::new(1, 2);
        let uniform: f64 = (0..n).map(|_| f64::from(stream.uniform())).sum::<f64>() / f64::from(n);
        assert!((uniform - 0.5).abs() < 0.01, "{uniform}");
        let squares: f64 = (0..n).map(|_| f64::from(stream.normal()).powi(2)).sum::<f64>();
        assert!((squares / f64::from(n) - 1.0).abs() < 0.02);
    }

    #[test]
    fn permutation_holds_every_index_once() {
        let mut order = Stream::new(5, 0).permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
