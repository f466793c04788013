//! What is usual for a network that has no recipe: by its family, and by what there is to see.
//!
//! The numbers are ours, for some thousands of images and some tens of epochs on one machine, where the papers' are for a million
//! images: `docs/recipes.md` says what was measured.

use top5_data::augment::crop::Padding;
use top5_data::{Augment, Image};
use top5_graph::Family;
use top5_train::{InitName, OptimizerName, Recipe};
use top5_zoo::Network;

/// How the networks of a kind learn.
struct Kind {
    optimizer: OptimizerName,
    lr: f32,
    weight_decay: f64,
    clip_norm: Option<f64>,
}

/// Small networks of saturating units or few layers: descent as for a network with normalisations.
const SMALL: Kind =
    Kind { optimizer: OptimizerName::Sgd, lr: 0.05, weight_decay: 5e-4, clip_norm: None };
/// Batch normalisations keep the signal's size: descent with a high rate.
const NORMALISED: Kind = Kind { clip_norm: Some(5.0), ..SMALL };
/// Batch normalisations, and large linear layers or gates without, which a high rate throws off.
const PARTLY: Kind = Kind { lr: 0.01, ..NORMALISED };
/// No normalisation: as the pages have it, the signal shrinks from layer to layer, and for epochs nothing is learnt.
const BARE: Kind =
    Kind { optimizer: OptimizerName::AdamW, lr: 3e-4, weight_decay: 0.01, clip_norm: Some(1.0) };

/// Networks of fewer parameters learn by descent without normalisations, too.
const FEW: u64 = 1_000_000;

fn kind(network: &Network) -> Kind {
    let graph = network.graph().ok();
    let nodes = graph.iter().flat_map(|graph| graph.nodes());
    let normalised = nodes.clone().any(|node| node.spec.affine.is_some());
    let linear = nodes.filter(|node| node.spec.family == Family::Linear).count();
    match normalised {
        true if linear > 1 || network.family.starts_with("SE") => PARTLY,
        true => NORMALISED,
        false if network.params < FEW => SMALL,
        false => BARE,
    }
}

/// The usual recipe for a network, without changes to images.
pub(super) fn usual(network: &Network, data: &str) -> Recipe {
    let Kind { optimizer, lr, weight_decay, clip_norm } = kind(network);
    let recipe = Recipe { lr, weight_decay, clip_norm, ..Recipe::usual(network.name, data) };
    if optimizer == OptimizerName::AdamW {
        let init = Some(InitName::Kaiming);
        return Recipe { optimizer, init, momentum: None, nesterov: false, ..recipe };
    }
    recipe
}

/// What is usually done to training images that look like this one, where the network's input is of this size: photographs, which
/// have colours, are cropped and mirrored; drawings, digits and letters are left as they are.
pub fn usual_augment(image: &Image, [_, height, width]: [usize; 3]) -> Vec<Augment> {
    if image.channels != 3 {
        return Vec::new();
    }
    let small = image.height <= height + height / 4 && image.width <= width + width / 4;
    let crop = match small {
        // As ResNet's section 4.2 for CIFAR: 4 pixels of 32.
        true => Augment::RandomCrop {
            padding: height.min(width).div_ceil(8),
            padding_mode: Padding::Constant,
        },
        // Larger parts than GoogLeNet's: less is to be learnt from.
        false => Augment::RandomResizedCrop {
            scale: [0.25, 1.0],
            ratio: [0.75, 4.0 / 3.0],
            random_filter: false,
        },
    };
    vec![crop, Augment::FlipHorizontal { probability: 0.5 }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_has_a_usual_recipe() {
        for network in top5_zoo::networks() {
            usual(network, "photos").check().unwrap();
        }
        let of = |name: &str| usual(top5_zoo::network(name).unwrap(), "photos");
        assert_eq!(of("alexnet_28").optimizer, OptimizerName::AdamW);
        assert_eq!(of("vgg16").optimizer, OptimizerName::AdamW);
        assert_eq!(of("googlenet").optimizer, OptimizerName::AdamW);
        for (name, lr) in [
            ("lenet", 0.05),
            ("resnet20_cifar", 0.05),
            ("vgg11_bn_cifar", 0.01),
            ("seresnet18_cifar", 0.01),
        ] {
            let recipe = of(name);
            assert_eq!((recipe.optimizer, recipe.lr), (OptimizerName::Sgd, lr), "{name}");
        }
    }

    #[test]
    fn photographs_are_cropped_and_mirrored_and_drawings_are_not() {
        let words = |channels, side, input| -> Vec<String> {
            let image = Image::filled(channels, side, side, 0);
            usual_augment(&image, input).iter().map(Augment::describe).collect()
        };
        assert_eq!(words(3, 32, [3, 32, 32])[0], "shift by up to 4");
        assert!(words(3, 500, [3, 224, 224])[0].starts_with("random crop of 0.25 to 1"));
        assert_eq!(words(3, 500, [3, 224, 224]).len(), 2);
        assert!(words(1, 32, [3, 32, 32]).is_empty());
    }
}
