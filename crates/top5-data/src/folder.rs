//! Image folders.

/// What is done about files that are not usable images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBad {
    /// The first one is an error.
    Fail,
    /// They are left out and counted.
    Skip,
}
