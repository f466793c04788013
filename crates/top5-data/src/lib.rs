//! From files to samples: images, datasets, preprocessing, augmentation and the loader.
//!
//! [`open`] gives the parts of a dataset; a [`Loader`] turns one of them into batches through a [`Preprocess`]. For a single
//! image, [`decode()`] or [`read_image`] and [`Preprocess::apply`] do. Files are read, nothing is printed or written.

#![forbid(unsafe_code)]

pub mod augment;
pub mod cifar;
pub mod dataset;
pub mod decode;
pub mod digits;
pub mod error;
pub mod files;
mod fingerprint;
pub mod folder;
pub mod idx;
mod ilsvrc;
pub mod image;
mod jpeg;
pub mod limits;
pub mod listed;
pub mod loader;
mod matlab;
pub mod options;
pub mod packed;
mod parts;
pub mod preprocess;
pub mod resize;
pub mod source;
pub mod survey;
pub mod tar;
pub mod together;

pub use augment::Augment;
pub use dataset::{Dataset, Joined, MemoryDataset, Sample, Splits, Subset};
pub use decode::decode;
pub use digits::{digits, normalise_digit};
pub use error::{DataError, ImageError};
pub use folder::{EmptyClass, ImageFolder, OnBad, read_image};
pub use image::Image;
pub use limits::Limits;
pub use listed::{Listed, Listing};
pub use loader::{Batch, Batches, Loader, LoaderOptions, Mix, Mixed, share};
pub use options::OpenOptions;
pub use preprocess::{CropMode, Preprocess, SettingError};
pub use resize::{Filter, resize, resize_crop};
pub use source::open;
