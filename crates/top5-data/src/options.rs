//! How data are opened, whatever they are.

use crate::folder::OnBad;
use crate::limits::Limits;

/// How a dataset is opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenOptions {
    /// Share of the training part that becomes the validation part where the source has none; zero for no such part.
    pub validation: f64,
    /// Seed of that choice.
    pub seed: u64,
    /// Whether a folder of parts must have one to learn from. Without, it may be empty.
    pub needs_train: bool,
    /// What is done about bad files of an image folder.
    pub on_bad: OnBad,
    /// What an image file may claim.
    pub limits: Limits,
    /// Most bytes that each part may take where the source is held in memory.
    pub memory: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            validation: 0.1,
            seed: 0,
            needs_train: true,
            on_bad: OnBad::Fail,
            limits: Limits::default(),
            memory: u64::MAX,
        }
    }
}
