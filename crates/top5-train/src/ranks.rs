//! Ranks: processes, on one machine or many, that work together. Each has a copy of the network, and learns from its share of
//! every batch or looks at its share of the images; what they exchange is here, how it is carried is up to who implements
//! [`Ranks`].

use std::error::Error;
use std::fmt;

/// Why ranks cannot work together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RankError {
    /// There are more of them than images in a batch.
    TooMany {
        /// The ranks.
        ranks: usize,
        /// Images of a batch.
        batch: usize,
    },
    /// One of them is gone, or does not answer.
    Lost {
        /// What is known of it.
        why: String,
    },
    /// They do not have the same weights any more.
    Apart {
        /// The first tensor that differs.
        tensor: String,
    },
}

impl fmt::Display for RankError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { ranks, batch } => write!(
                f,
                "{ranks} ranks cannot share batches of {batch} images: start fewer, or raise the batch size, which is that of \
                 all of them together"
            ),
            Self::Lost { why } => write!(f, "a rank is lost: {why}"),
            Self::Apart { tensor } => write!(
                f,
                "the ranks have come apart: {tensor} differs from rank 0's. Use the same program, instruction set and engine \
                 options on all machines"
            ),
        }
    }
}

impl Error for RankError {}

/// The ranks of a run, as one of them sees them. All make the same calls in the same order. [`Ranks::sum`] may be called by one
/// thread while another is in one of the others.
pub trait Ranks: Send + Sync {
    /// Which of them this is, from 0.
    fn rank(&self) -> usize;

    /// How many they are.
    fn size(&self) -> usize;

    /// Adds gradients over all ranks, in place. All get the same bits.
    fn sum(&self, values: &mut [f32]) -> Result<(), RankError>;

    /// Adds a few numbers over all ranks, in place. All get the same bits.
    fn add(&self, values: &mut [f64]) -> Result<(), RankError>;

    /// Gives all ranks the bytes that rank 0 has.
    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), RankError>;

    /// Gives rank 0 the bytes that each rank has, in the order of ranks; the others get none.
    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, RankError>;
}
