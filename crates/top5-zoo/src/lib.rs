//! The ImageNet champions as graphs: one page per paper, and a catalogue of what the papers published.
//!
//! [`networks`] walks the registry and [`find`] searches it; [`Network::graph`] builds the layers and [`Network::with`]
//! builds them for another number of classes or input. Tensors have the names that torchvision, timm or the article's
//! code give them, so that their files load as they are.
//!
//! ```
//! use top5_zoo::{Settings, network};
//! let lenet = network("LeNet")?;
//! assert_eq!(lenet.graph()?.param_count() as u64, lenet.params);
//! let letters = lenet.with(Settings { classes: 26, ..lenet.settings() })?;
//! assert_eq!(letters.classes(), 26);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod catalogue;
mod contest;
pub mod forms;
mod pages;
mod registry;
mod search;
mod timm;

pub use contest::{CONTEST, ContestEntry, HUMAN_TOP5_ERROR};
pub use registry::{
    Colours, Ensemble, Fact, Network, Paper, Preprocessing, Published, Resample, Set, Settings,
};
pub use search::{Found, UnknownName, find, network};

/// All networks, in the order of history.
pub fn networks() -> impl Iterator<Item = &'static Network> {
    catalogue::FAMILIES.iter().copied().flatten()
}

/// All ensembles, in the order of history.
pub fn ensembles() -> impl Iterator<Item = &'static Ensemble> {
    catalogue::ENSEMBLES.iter().copied().flatten()
}
