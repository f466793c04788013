//! From files to samples: images, datasets, preprocessing, augmentation and the loader

#![forbid(unsafe_code)]

pub mod augment;
pub mod cifar;
pub mod dataset;
pub mod decode;
pub mod digits;
pub mod error;
pub mod folder;
pub mod idx;
pub mod image;
pub mod loader;
pub mod preprocess;
pub mod resize;
pub mod source;

pub use augment::Augment;
pub use dataset::{Dataset, MemoryDataset, Sample, Splits, Subset};
pub use decode::{Limits, decode};
pub use digits::{digits, normalise_digit};
pub use error::{DataError, ImageError};
pub use image::Image;
pub use loader::{Batch, Batches, Loader, LoaderOptions};
pub use preprocess::{CropMode, Ink, Preprocess};
pub use resize::{Filter, resize};
pub use source::{OpenOptions, open};
