//! OverFeat. Sermanet, Eigen, Zhang, Mathieu, Fergus & LeCun, "OverFeat: Integrated Recognition, Localization and
//! Detection using Convolutional Networks", ICLR 2014, arXiv:1312.6229, Tables 1 and 3; paddings and sizes are those
//! of the authors' released code.
//! ILSVRC-2013: first in localisation.
//! Departures: ReLU is max(0, x), where the released code also sets x ≤ 1e-6 to zero.

use crate::registry::Settings;
use top5_graph::{Fans, Init, Spec, Var, Window, k};

pub(crate) fn fast<'g>(x: Var<'g>, s: &Settings) -> Var<'g> {
    let x = x.init_by(normal);
    let x = conv(x, 96, k(11).stride(4)).max_pool(k(2).stride(2));
    let x = conv(x, 256, k(5)).max_pool(k(2).stride(2));
    let x = conv(x, 512, k(3).pad(1));
    let x = conv(x, 1024, k(3).pad(1));
    let x = conv(x, 1024, k(3).pad(1)).max_pool(k(2).stride(2));
    let x = hidden(x.adaptive_avg_pool([6, 6]).flatten(), 3072);
    let x = hidden(x, 4096);
    x.linear(s.classes)
}

pub(crate) fn accurate<'g>(x: Var<'g>, s: &Settings) -> Var<'g> {
    let x = x.init_by(normal);
    let x = conv(x, 96, k(7).stride(2)).max_pool(k(3).stride(3));
    let x = conv(x, 256, k(7)).max_pool(k(2).stride(2));
    let x = conv(x, 512, k(3).pad(1));
    let x = conv(x, 512, k(3).pad(1));
    let x = conv(x, 1024, k(3).pad(1));
    let x = conv(x, 1024, k(3).pad(1)).max_pool(k(3).stride(3));
    let x = hidden(x.adaptive_avg_pool([5, 5]).flatten(), 4096);
    let x = hidden(x, 4096);
    x.linear(s.classes)
}

/// Section 3.1.
fn normal(_: &Spec, _: Fans) -> Option<(Init, f32)> {
    Some((Init::Normal(0.01), 0.0))
}

fn conv(x: Var<'_>, filters: usize, window: Window) -> Var<'_> {
    x.conv(filters, window).relu()
}

fn hidden(x: Var<'_>, features: usize) -> Var<'_> {
    x.linear(features).relu().dropout(0.5)
}
