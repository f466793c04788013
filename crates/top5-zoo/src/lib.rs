//! The ImageNet champions as graphs: one page per paper, next to what the paper published.
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

pub mod forms;
mod registry;
mod search;

mod alexnet;
mod bn_inception;
mod densenet;
mod dpn;
mod googlenet;
mod inception_v3;
mod inception_v4;
mod lenet;
mod lenet5;
mod overfeat;
mod preact_resnet;
mod resnet;
mod resnext;
mod senet;
mod senet_released;
mod trimps_soushen;
mod vgg;
mod wide_resnet;
mod zfnet;

pub use registry::{
    Colours, Ensemble, Fact, Network, Paper, Preprocessing, Published, Resample, Set, Settings,
};
pub use search::{Found, UnknownName, find, network};

/// One slice per family, in the order of history.
static FAMILIES: &[&[Network]] = &[
    lenet5::NETWORKS,
    lenet::NETWORKS,
    alexnet::NETWORKS,
    overfeat::NETWORKS,
    zfnet::NETWORKS,
    vgg::NETWORKS,
    googlenet::NETWORKS,
    bn_inception::NETWORKS,
    inception_v3::NETWORKS,
    inception_v4::NETWORKS,
    resnet::NETWORKS,
    preact_resnet::NETWORKS,
    wide_resnet::NETWORKS,
    resnext::NETWORKS,
    densenet::NETWORKS,
    senet::NETWORKS,
    senet_released::NETWORKS,
    dpn::NETWORKS,
];

static ENSEMBLES: &[&[Ensemble]] = &[zfnet::ENSEMBLES, trimps_soushen::ENSEMBLES];

/// All networks, in the order of history.
pub fn networks() -> impl Iterator<Item = &'static Network> {
    FAMILIES.iter().copied().flatten()
}

/// All ensembles, in the order of history.
pub fn ensembles() -> impl Iterator<Item = &'static Ensemble> {
    ENSEMBLES.iter().copied().flatten()
}
