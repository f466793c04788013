//! From files to samples: images, datasets, preprocessing, augmentation and the loader

#![forbid(unsafe_code)]
