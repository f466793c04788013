//! What becomes of a file's input before the network begins.

use std::collections::BTreeSet;

/// What becomes of the input's channels before the first layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Intake {
    /// For each channel that the network reads: which of the input's it is, its factor, and the term that is added then.
    pub channels: Vec<(usize, [f64; 2])>,
    /// Whether the input's values are whole numbers from 0 to 255.
    pub bytes: bool,
    /// Whether the input has blue first, and the file turns its channels to red, green and blue, as `channels` has them already.
    pub blue_first: bool,
}

impl Intake {
    pub(super) fn of(mut channels: Vec<(usize, [f64; 2])>, bytes: bool) -> Self {
        let blue_first = becomes_rgb(&channels);
        if blue_first {
            channels.iter_mut().enumerate().for_each(|(at, (source, _))| *source = at);
        }
        Self { channels, bytes, blue_first }
    }

    /// The order of the channels, where it is another than the input's; `None` where one is missing or there twice.
    pub(super) fn order(&self) -> Option<Vec<usize>> {
        let order: Vec<usize> = self.channels.iter().map(|&(source, _)| source).collect();
        let different: BTreeSet<usize> = order.iter().copied().collect();
        different.iter().copied().eq(0..order.len()).then_some(order)
    }

    pub(super) fn changes_nothing(&self) -> bool {
        let plain = |(at, channel): (usize, &(usize, [f64; 2]))| *channel == (at, [1.0, 0.0]);
        !self.bytes && self.channels.iter().enumerate().all(plain)
    }
}

/// Whether channels that were turned are red, green and blue now: what is taken off each falls from one to the next, as the means
/// of all collections of photographs do, and not from blue to red, as for Caffe's networks.
fn becomes_rgb(channels: &[(usize, [f64; 2])]) -> bool {
    let &[(2, red), (1, green), (0, blue)] = channels else { return false };
    let [red, green, blue] = [red, green, blue].map(|[factor, term]| -term / factor);
    let margin = 1e-4 * red.abs();
    red - green > margin && green - blue > margin
}
