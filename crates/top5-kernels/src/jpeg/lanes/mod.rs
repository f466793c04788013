//! Eight 16-bit numbers at once: what the transform needs of a vector, on x86-64's SSE2, which every such machine has, and
//! as an array elsewhere.

#[cfg(any(test, not(target_arch = "x86_64")))]
mod array;
#[cfg(target_arch = "x86_64")]
mod sse2;

/// The vectors of this machine.
#[cfg(not(target_arch = "x86_64"))]
pub(super) type Native = [i16; 8];
#[cfg(target_arch = "x86_64")]
pub(super) type Native = sse2::Sse2;

/// Eight 16-bit numbers. Sums and products wrap.
pub(super) trait Lanes: Copy {
    /// Eight 32-bit numbers.
    type Wide: Copy;

    /// From memory.
    fn load(numbers: &[i16; 8]) -> Self;
    /// From memory, without sign.
    fn load_bytes(bytes: &[u8; 8]) -> Self;
    /// `self + other`
    fn plus(self, other: Self) -> Self;
    /// `self − other`
    fn minus(self, other: Self) -> Self;
    /// `self · other`
    fn times(self, other: Self) -> Self;
    /// `self · 2^BITS`
    fn shifted<const BITS: i32>(self) -> Self;
    /// `self · factor / 2^16`, halves rounded up, of numbers below 2^14.
    fn scaled(self, factor: i16) -> Self;
    /// Whether a bit is set in any lane.
    fn any(self) -> bool;
    /// The bits that are set in either.
    fn or(self, other: Self) -> Self;

    /// `self · 2^BITS`, at most 16
    fn widened<const BITS: i32>(self) -> Self::Wide;
    /// `self · factors[0] + other · factors[1]`
    fn dot(self, other: Self, factors: [i16; 2]) -> Self::Wide;
    /// `a + b`
    fn wide_sum(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    /// `a − b`
    fn wide_difference(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    /// `a / 2^BITS`, halves rounded up; what does not fit becomes the nearest number that does.
    fn narrowed<const BITS: i32>(a: Self::Wide) -> Self;

    /// Rows to columns.
    fn transposed(rows: [Self; 8]) -> [Self; 8];
    /// The numbers of all vectors' lanes plus 128, columns to rows; what does not fit becomes the nearest number that does.
    fn samples(columns: [Self; 8]) -> [[u8; 8]; 8];
    /// The lanes as bytes, of all three in turns; what does not fit becomes the nearest number that does.
    fn bytes_in_turns(lanes: [Self; 3]) -> [u8; 24];
}
