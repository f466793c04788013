//! Table 3 of ZFNet's paper: names, counts and errors of AlexNet's and ZFNet's ablations. The layers are in
//! `pages/table3.rs`.

use crate::pages::table3::{alexnet_changed, zfnet};
use crate::registry::{Fact, Network, Published};

pub(crate) static NETWORKS: &[Network] = &[
    Network {
        name: "alexnet_without_conv34",
        section: "Table 3: AlexNet without layers 3 and 4",
        params: 59_268_712,
        macs: 437_826_080,
        published: Fact::Known(&[
            Published::val(45.4, 22.1, CROPS, TABLE),
            Published::training(41.8, "1 network", TABLE),
        ]),
        layers: |x, s| alexnet_changed(x, false, &[("fc6", 4096), ("fc7", 4096)], s),
        ..ALEXNET
    },
    Network {
        name: "alexnet_without_fc7",
        section: "Table 3: AlexNet without layer 7",
        params: 44_183_912,
        macs: 707_629_600,
        published: Fact::Known(&[
            Published::val(40.0, 18.4, CROPS, TABLE),
            Published::training(27.4, "1 network", TABLE),
        ]),
        layers: |x, s| alexnet_changed(x, true, &[("fc6", 4096)], s),
        ..ALEXNET
    },
    Network {
        name: "alexnet_without_fc67",
        section: "Table 3: AlexNet without layers 6 and 7",
        params: 11_551_080,
        macs: 675_000_864,
        published: Fact::Known(&[
            Published::val(44.8, 22.4, CROPS, TABLE),
            Published::training(27.4, "1 network", TABLE),
        ]),
        layers: |x, s| alexnet_changed(x, true, &[], s),
        ..ALEXNET
    },
    Network {
        name: "alexnet_without_conv34_fc67",
        section: "Table 3: AlexNet without layers 3, 4, 6 and 7",
        params: 9_854_568,
        macs: 388_420_128,
        published: Fact::Known(&[
            Published::val(71.3, 50.1, CROPS, TABLE),
            Published::training(71.1, "1 network", TABLE),
        ]),
        layers: |x, s| alexnet_changed(x, false, &[], s),
        ..ALEXNET
    },
    Network {
        name: "alexnet_fc2048",
        section: "Table 3: AlexNet, layers 6 and 7 of 2048",
        params: 27_455_848,
        macs: 690_901_536,
        published: Fact::Known(&[
            Published::val(41.7, 18.8, CROPS, TABLE),
            Published::training(40.3, "1 network", TABLE),
        ]),
        layers: |x, s| alexnet_changed(x, true, &[("fc6", 2048), ("fc7", 2048)], s),
        ..ALEXNET
    },
    Network {
        name: "alexnet_fc8192",
        section: "Table 3: AlexNet, layers 6 and 7 of 8192",
        params: 153_149_800,
        macs: 816_583_200,
        published: Fact::Known(&[
            Published::val(40.0, 18.1, CROPS, TABLE),
            Published::training(26.8, "1 network", TABLE),
        ]),
        layers: |x, s| alexnet_changed(x, true, &[("fc6", 8192), ("fc7", 8192)], s),
        ..ALEXNET
    },
    Network {
        name: "zfnet_fc2048",
        section: "Table 3: ZFNet, layers 6 and 7 of 2048",
        params: 28_848_232,
        macs: 1_134_527_616,
        published: Fact::Known(&[
            Published::val(40.2, 17.6, CROPS, TABLE),
            Published::training(38.2, "1 network", TABLE),
        ]),
        layers: |x, s| zfnet(x, [384, 384, 256], 2048, s),
        ..BASE
    },
    Network {
        name: "zfnet_fc8192",
        section: "Table 3: ZFNet, layers 6 and 7 of 8192",
        params: 154_542_184,
        macs: 1_260_209_280,
        published: Fact::Known(&[
            Published::val(38.8, 17.0, CROPS, TABLE),
            Published::training(22.0, "1 network", TABLE),
        ]),
        layers: |x, s| zfnet(x, [384, 384, 256], 8192, s),
        ..BASE
    },
    Network {
        name: "zfnet_b_fc8192",
        section: "Table 3: ZFNet, layers 6 and 7 of 8192, and 3 to 5 of 512, 1024 and 512 maps",
        params: 237_560_936,
        macs: 2_606_630_016,
        published: Fact::Known(&[
            Published::val(38.3, 16.9, CROPS, TABLE),
            Published::training(10.0, "1 network", TABLE),
        ]),
        layers: |x, s| zfnet(x, [512, 1024, 512], 8192, s),
        ..BASE
    },
];

const CROPS: &str = "1 network, 10 crops";
const TABLE: &str = "Table 3";

const BASE: Network = Network {
    place: Fact::Missing("an ablation of the paper, not entered in the contest"),
    ..super::zfnet::BASE
};

const ALEXNET: Network = Network {
    input: [3, 227, 227],
    init: "as alexnet: N(0, 0.01); biases 1 in conv2, conv4, conv5 and the hidden linear layers, else 0",
    ..BASE
};
