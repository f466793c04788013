//! Opens a dataset by name or path.
use crate::dataset::Splits;
use crate::error::DataError;
use crate::folder::OnBad;

/// How a dataset is opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenOptions {
    /// Share of the training part that becomes the validation part where the source has none.
    pub validation: f64,
    /// Seed of that choice.
    pub seed: u64,
    /// What is done about bad files of an image folder.
    pub on_bad: OnBad,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { validation: 0.1, seed: 0, on_bad: OnBad::Fail }
    }
}

/// Opens `digits`, `fashion-mnist`, or a folder of IDX files, CIFAR binaries or images.
pub fn open(_spec: &str, _options: &OpenOptions) -> Result<Splits, DataError> {
    todo!()
}
