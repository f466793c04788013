//! ZFNet. Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, arXiv:1311.2901,
//! Figure 3 and Table 2; `zfnet_b` is the model of row (b), with layers 3, 4 and 5 of 512, 1024 and 512 maps.
//! Departures: the printed map sizes (110, 55, 26, 13, 6) need one row of padding in the first layer and pooling that
//! rounds up; contrast normalisation, whose constants are not printed, is AlexNet's.

use super::alexnet::normalise;
use crate::registry::Settings;
use top5_graph::{Init, Var, k};

/// `maps` are those of layers 3 to 5, `hidden` the width of layers 6 and 7.
pub(crate) fn zfnet<'g>(mut x: Var<'g>, maps: [usize; 3], hidden: usize, s: &Settings) -> Var<'g> {
    x = x.init_by(|_, _| Some((Init::Normal(0.01), 0.0)));
    x = x.conv(96, k(7).stride(2).pad(1)).relu();
    x = normalise(x.max_pool(k(3).stride(2).ceil()));
    x = x.conv(256, k(5).stride(2)).relu();
    x = normalise(x.max_pool(k(3).stride(2).ceil()));
    for filters in maps {
        x = x.conv(filters, k(3).pad(1)).relu();
    }
    x = x.max_pool(k(3).stride(2).ceil()).adaptive_avg_pool([6, 6]).flatten();
    for name in ["fc6", "fc7"] {
        x = x.linear(hidden).named(name).relu().dropout(0.5);
    }
    x.linear(s.classes).named("fc8")
}
