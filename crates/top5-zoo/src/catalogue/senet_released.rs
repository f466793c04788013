//! SENet as released: names, counts and published errors. The layers are in `pages/senet_released.rs`.

use super::senet::BASE;
use super::{REPOSITORY, TIMM};
use crate::pages::resnet::{RESNET_50, RESNET_101, RESNET_152};
use crate::pages::senet_released::{aggregated, released, senet154, stride_on_1x1};
use crate::registry::{Fact, Network, Preprocessing, Published};

#[expect(clippy::approx_constant, reason = "6.28 is an error in percent")]
pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "legacy_seresnet50",
        section: "SE-ResNet-50.prototxt",
        params: 28_088_024,
        macs: 3_860_488_192,
        published: Fact::Known(&[
            Published::val(23.29, 6.62, "1 crop", "Table 2"),
            Published::val(22.37, 6.36, CROP, REPOSITORY),
            Published::val(22.36, 6.28, CROP, TIMM),
        ]),
        layers: |x, s| released(x, RESNET_50, stride_on_1x1, s),
        ..RELEASED
    },
    Network {
        name: "legacy_seresnet101",
        section: "SE-ResNet-101.prototxt",
        params: 49_326_872,
        macs: 7_574_937_600,
        published: Fact::Known(&[
            Published::val(22.38, 6.07, "1 crop", "Table 2"),
            Published::val(21.75, 5.72, CROP, REPOSITORY),
            Published::val(21.60, 5.74, CROP, TIMM),
        ]),
        layers: |x, s| released(x, RESNET_101, stride_on_1x1, s),
        ..RELEASED
    },
    Network {
        name: "legacy_seresnet152",
        section: "SE-ResNet-152.prototxt",
        params: 66_821_848,
        macs: 11_288_993_792,
        published: Fact::Known(&[
            Published::val(21.57, 5.73, "1 crop", "Table 2"),
            Published::val(21.34, 5.54, CROP, REPOSITORY),
            Published::val(21.34, 5.63, CROP, TIMM),
        ]),
        layers: |x, s| released(x, RESNET_152, stride_on_1x1, s),
        ..RELEASED
    },
    Network {
        name: "legacy_seresnext50_32x4d",
        section: "SE-ResNeXt-50.prototxt",
        params: 27_559_896,
        macs: 4_232_994_816,
        published: Fact::Known(&[
            Published::val(21.10, 5.49, "1 crop", "Table 2"),
            Published::val(20.97, 5.54, CROP, REPOSITORY),
            Published::val(20.92, 5.57, CROP, TIMM),
        ]),
        layers: |x, s| released(x, RESNET_50, aggregated, s),
        ..RELEASED
    },
    Network {
        name: "legacy_seresnext101_32x4d",
        section: "SE-ResNeXt-101.prototxt",
        params: 48_955_416,
        macs: 7_974_739_968,
        published: Fact::Known(&[
            Published::val(20.70, 5.01, "1 crop", "Table 2"),
            Published::val(19.81, 4.96, CROP, REPOSITORY),
            Published::val(19.73, 4.97, CROP, TIMM),
        ]),
        layers: |x, s| released(x, RESNET_101, aggregated, s),
        ..RELEASED
    },
    Network {
        name: "legacy_senet154",
        section: "SENet-154.prototxt",
        params: 115_088_984,
        macs: 20_688_363_520,
        published: Fact::Known(&[
            Published::val(18.68, 4.47, CROP, "Table 8"),
            Published::val(18.67, 4.50, CROP, TIMM),
        ]),
        layers: senet154,
        ..RELEASED
    },
];

const CROP: &str = "1 crop, the authors' weights";

const RELEASED: Network = Network {
    preprocessing: Preprocessing::caffe(256),
    converted: Some(Preprocessing { source: "timm", ..Preprocessing::torchvision(256) }),
    ..BASE
};
