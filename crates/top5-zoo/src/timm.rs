//! Which networks timm has too: it builds them under the same name, with tensors of the same names and the same layers.
//! `scripts/round_trips.py` compares the list with timm's own, and runs the networks there.

use crate::registry::Network;

/// Their names.
const NAMES: [&str; 47] = [
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "vgg11_bn",
    "vgg13_bn",
    "vgg16_bn",
    "vgg19_bn",
    "inception_v3",
    "inception_v4",
    "inception_resnet_v2",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet200",
    "resnetv2_50",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "resnext50_32x4d",
    "resnext101_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "seresnet18",
    "seresnet34",
    "seresnet50",
    "seresnet101",
    "seresnet152",
    "seresnext50_32x4d",
    "seresnext101_32x4d",
    "senet154",
    "legacy_seresnet50",
    "legacy_seresnet101",
    "legacy_seresnet152",
    "legacy_seresnext50_32x4d",
    "legacy_seresnext101_32x4d",
    "legacy_senet154",
    "dpn68",
    "dpn92",
    "dpn98",
    "dpn107",
    "dpn131",
];

impl Network {
    /// Whether timm has this network, under its name here.
    pub fn is_in_timm(&self) -> bool {
        NAMES.contains(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks;

    #[test]
    fn every_name_is_that_of_a_network() {
        assert_eq!(networks().filter(|network| network.is_in_timm()).count(), NAMES.len());
        assert!(networks().any(|network| !network.is_in_timm()));
    }
}
