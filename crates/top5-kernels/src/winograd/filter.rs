//! The matrices of Winograd's minimal filtering F(m×m, 3×3), as functions of lines of vectors.
//!
//! F(4×4, 3×3) interpolates at 0, ±1/√2, ±√2 and ∞. With these points the entries of A and B are close to one in size, and
//! the error is a few times that of direct convolution; the usual 0, ±1, ±2 lose about three times as much (Barabasz et al.,
//! "Error Analysis and Improving the Accuracy of Winograd Convolution", TOMS 2020). In f64, with a = 1/√2, b = √2:
//!
//! ```text
//!      ⎡1  0    −5/2  0    1  0⎤        ⎡ 1     0      0  ⎤        ⎡1  1   1   1   1  0⎤
//!      ⎢0 −2a   −2    a    1  0⎥        ⎢−2/3 −2a/3  −1/3 ⎥        ⎢0  a  −a   b  −b  0⎥
//! Bᵀ = ⎢0  2a   −2   −a    1  0⎥    G = ⎢−2/3  2a/3  −1/3 ⎥   Aᵀ = ⎢0 1/2 1/2  2   2  0⎥
//!      ⎢0 −b/2  −1/2  b    1  0⎥        ⎢ 1/6  b/6    1/3 ⎥        ⎣0 a/2 −a/2 2b −2b 1⎦
//!      ⎢0  b/2  −1/2 −b    1  0⎥        ⎢ 1/6 −b/6    1/3 ⎥
//!      ⎣0  1    0    −5/2  0  1⎦        ⎣ 0     0      1  ⎦
//! ```
//!
//! F(2×2, 3×3) interpolates at 0, ±1 and ∞ (Lavin & Gray, section 4.1, with the signs of the last row of Bᵀ turned):
//!
//! ```text
//!      ⎡1  0 −1  0⎤        ⎡ 1    0    0 ⎤        ⎡1 1  1 0⎤
//! Bᵀ = ⎢0  1  1  0⎥    G = ⎢1/2  1/2  1/2⎥   Aᵀ = ⎣0 1 −1 1⎦
//!      ⎢0 −1  1  0⎥        ⎢1/2 −1/2  1/2⎥
//!      ⎣0 −1  0  1⎦        ⎣ 0    0    1 ⎦
//! ```

use crate::conv::Bound;
use crate::simd::Simd;
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// Which filtering: the side of its output tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tile {
    /// F(2×2, 3×3): 4 multiplications per output and channel pair, weights 16/9 times as large.
    Two,
    /// F(4×4, 3×3): 2.25 multiplications per output and channel pair, weights 4 times as large.
    Four,
}

impl Tile {
    /// Rows and columns of an output tile, m.
    pub(super) const fn side(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Elements of a transformed tile, T² = (m + 2)².
    pub(super) const fn positions(self) -> usize {
        (self.side() + 2) * (self.side() + 2)
    }

    /// At least the roundings of all transforms on the way from an input and a weight to an output, or from two values to a
    /// weight's gradient.
    pub(super) const fn roundings(self) -> usize {
        match self {
            Self::Two => 16,
            Self::Four => 40,
        }
    }

    /// What results may be off by.
    pub(super) const fn bound(self) -> Bound {
        Bound::Transforms { side: self.side(), roundings: self.roundings() }
    }

    /// Its name in explanations.
    pub(super) const fn method(self) -> &'static str {
        match self {
            Self::Two => "F(2×2, 3×3)",
            Self::Four => "F(4×4, 3×3)",
        }
    }
}

/// F(M×M, 3×3), where T = M + 2.
pub(super) trait Filter<const M: usize, const T: usize> {
    /// `Bᵀ d`.
    fn input<S: Simd>(s: S, d: [S::V; T]) -> [S::V; T];
    /// `G g`.
    fn weight<S: Simd>(s: S, g: [S::V; 3]) -> [S::V; T];
    /// `Aᵀ m`.
    fn output<S: Simd>(s: S, m: [S::V; T]) -> [S::V; M];
    /// `A y`.
    fn output_gradient<S: Simd>(s: S, y: [S::V; M]) -> [S::V; T];
    /// `Gᵀ m`.
    fn weight_gradient<S: Simd>(s: S, m: [S::V; T]) -> [S::V; 3];
}

/// F(2×2, 3×3).
pub(super) struct F2;

impl Filter<2, 4> for F2 {
    #[inline(always)]
    fn input<S: Simd>(s: S, d: [S::V; 4]) -> [S::V; 4] {
        [s.sub(d[0], d[2]), s.add(d[2], d[1]), s.sub(d[2], d[1]), s.sub(d[3], d[1])]
    }

    #[inline(always)]
    fn weight<S: Simd>(s: S, g: [S::V; 3]) -> [S::V; 4] {
        let half = s.splat(0.5);
        let (even, odd) = (s.mul(half, s.add(g[0], g[2])), s.mul(half, g[1]));
        [g[0], s.add(even, odd), s.sub(even, odd), g[2]]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: [S::V; 4]) -> [S::V; 2] {
        [s.add(m[0], s.add(m[1], m[2])), s.add(m[3], s.sub(m[1], m[2]))]
    }

    #[inline(always)]
    fn output_gradient<S: Simd>(s: S, y: [S::V; 2]) -> [S::V; 4] {
        [y[0], s.add(y[0], y[1]), s.sub(y[0], y[1]), y[1]]
    }

    #[inline(always)]
    fn weight_gradient<S: Simd>(s: S, m: [S::V; 4]) -> [S::V; 3] {
        let half = s.splat(0.5);
        let even = s.mul(half, s.add(m[1], m[2]));
        [s.add(m[0], even), s.mul(half, s.sub(m[1], m[2])), s.add(m[3], even)]
    }
}

/// F(4×4, 3×3).
pub(super) struct F4;

impl Filter<4, 6> for F4 {
    #[inline(always)]
    fn input<S: Simd>(s: S, d: [S::V; 6]) -> [S::V; 6] {
        let [two, half, five_halves] = [-2.0, -0.5, -2.5].map(|x| s.splat(x));
        let [a, b] = [FRAC_1_SQRT_2, SQRT_2].map(|x| s.splat(x as f32));
        let near = s.mul_add(two, d[2], d[4]);
        let near_odd = s.mul(a, s.mul_add(two, d[1], d[3]));
        let far = s.mul_add(half, d[2], d[4]);
        let far_odd = s.mul(b, s.mul_add(half, d[1], d[3]));
        [
            s.add(s.mul_add(five_halves, d[2], d[4]), d[0]),
            s.add(near, near_odd),
            s.sub(near, near_odd),
            s.add(far, far_odd),
            s.sub(far, far_odd),
            s.add(s.mul_add(five_halves, d[3], d[5]), d[1]),
        ]
    }

    #[inline(always)]
    fn weight<S: Simd>(s: S, g: [S::V; 3]) -> [S::V; 6] {
        let [two_thirds, third, sixth] =
            [-2.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0].map(|x: f32| s.splat(x));
        let [a, b] = [2.0 * FRAC_1_SQRT_2 / 3.0, SQRT_2 / 6.0].map(|x| s.splat(x as f32));
        let last = s.mul(third, g[2]);
        let near = s.sub(s.mul(two_thirds, g[0]), last);
        let near_odd = s.mul(a, g[1]);
        let far = s.mul_add(sixth, g[0], last);
        let far_odd = s.mul(b, g[1]);
        [
            g[0],
            s.sub(near, near_odd),
            s.add(near, near_odd),
            s.add(far, far_odd),
            s.sub(far, far_odd),
            g[2],
        ]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: [S::V; 6]) -> [S::V; 4] {
        let (near, near_odd) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
        let (far, far_odd) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
        let [a, b, half_a, twice_b] =
            [FRAC_1_SQRT_2, SQRT_2, FRAC_1_SQRT_2 / 2.0, 2.0 * SQRT_2].map(|x| s.splat(x as f32));
        [
            s.add(m[0], s.add(near, far)),
            s.mul_add(a, near_odd, s.mul(b, far_odd)),
            s.mul_add(s.splat(0.5), near, s.mul(s.splat(2.0), far)),
            s.add(m[5], s.mul_add(half_a, near_odd, s.mul(twice_b, far_odd))),
        ]
    }

    #[inline(always)]
    fn output_gradient<S: Simd>(s: S, y: [S::V; 4]) -> [S::V; 6] {
        let [half, two] = [0.5, 2.0].map(|x| s.splat(x));
        let [a, b] = [FRAC_1_SQRT_2, SQRT_2].map(|x| s.splat(x as f32));
        let near = s.mul_add(half, y[2], y[0]);
        let near_odd = s.mul(a, s.mul_add(half, y[3], y[1]));
        let far = s.mul_add(two, y[2], y[0]);
        let far_odd = s.mul(b, s.mul_add(two, y[3], y[1]));
        [
            y[0],
            s.add(near, near_odd),
            s.sub(near, near_odd),
            s.add(far, far_odd),
            s.sub(far, far_odd),
            y[3],
        ]
    }

    #[inline(always)]
    fn weight_gradient<S: Simd>(s: S, m: [S::V; 6]) -> [S::V; 3] {
        let [two_thirds, third, sixth] =
            [-2.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0].map(|x: f32| s.splat(x));
        let [a, b] = [2.0 * FRAC_1_SQRT_2 / 3.0, SQRT_2 / 6.0].map(|x| s.splat(x as f32));
        let (near, near_odd) = (s.add(m[1], m[2]), s.sub(m[2], m[1]));
        let (far, far_odd) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
        [
            s.mul_add(two_thirds, near, s.mul_add(sixth, far, m[0])),
            s.mul_add(a, near_odd, s.mul(b, far_odd)),
            s.mul_add(third, s.sub(far, near), m[5]),
        ]
    }
}
