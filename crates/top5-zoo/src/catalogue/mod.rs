//! What is known about each network besides its layers: names, place, counts, published errors, one file per page.

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
mod table3;
mod trimps_soushen;
mod vgg;
mod wide_resnet;
mod zfnet;

use crate::registry::{Ensemble, Fact, Network, Paper, Preprocessing, Published, Set};

/// One slice per family, in the order of history.
pub(crate) static FAMILIES: &[&[Network]] = &[
    lenet5::NETWORKS,
    lenet::NETWORKS,
    alexnet::NETWORKS,
    overfeat::NETWORKS,
    zfnet::NETWORKS,
    table3::NETWORKS,
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

/// In the order of history.
pub(crate) static ENSEMBLES: &[&[Ensemble]] = &[zfnet::ENSEMBLES, trimps_soushen::ENSEMBLES];

impl Network {
    /// What most networks have in common; the rest is left blank, which no registered network may.
    pub(crate) const IMAGENET: Self = Self {
        name: "",
        aliases: &[],
        family: "",
        year: 0,
        place: Fact::Missing(""),
        paper: Paper { authors: "", title: "", venue: "", arxiv: None },
        section: "",
        input: [3, 224, 224],
        classes: 1000,
        params: 0,
        macs: 0,
        published: Fact::Missing(""),
        init: "",
        preprocessing: Preprocessing::torchvision(256),
        converted: None,
        layers: |x, _| x,
    };

    /// The family's variant in the article, for CIFAR-100.
    pub(crate) const fn article(self) -> Self {
        Self {
            place: Fact::Missing("the article's variant for CIFAR-100"),
            section: "the article's code",
            input: [3, 32, 32],
            classes: 100,
            published: Fact::Missing("the article gives no error for its variant"),
            init: ARTICLES_INIT,
            preprocessing: Preprocessing::cifar(),
            ..self
        }
    }
}

const PYTORCH_INIT: &str = "PyTorch's default: uniform in ±1/√fan_in";
const ARTICLES_INIT: &str = "PyTorch's default, as in the article's code: uniform in ±1/√fan_in";
const UNNAMED_INIT: &str = "the paper names none; PyTorch's default: uniform in ±1/√fan_in";

/// Where errors are printed.
const TIMM: &str = "timm's results at 7479d45";
const TORCHVISION: &str = "torchvision's documentation";
const REPOSITORY: &str = "the authors' repository";

/// What the code that the article quotes reaches with this network.
const fn on_cifar100(top1: f32, top5: f32) -> Published {
    Published {
        top1: Some(top1),
        top5: Some(top5),
        set: Set::Cifar100Test,
        protocol: "1 network, the whole image",
        source: "pytorch-cifar100's README",
    }
}

/// The protocol of torchvision's weights.
const SHIPPED: &str = "1 crop, torchvision's weights";
