//! First-layer filters (figure 6): with and without clipping of their scale, how much of them a stride cannot carry, and
//! which maps are dead or saturated on images.

use serde::Serialize;
use std::f64::consts::PI;
use top5_graph::{Graph, Node, Tensor};

/// A filter of the first layer, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Filter {
    /// Its map.
    pub map: usize,
    /// Root mean square of its weights.
    pub rms: f64,
    /// Its largest weight, whatever the sign.
    pub largest: f64,
    /// The share of its energy, its mean apart, at frequencies that a map with the layer's stride cannot carry: above
    /// 1/(2·stride) cycles per pixel in either direction. They fold over: figure 6 shows such patterns at stride 4. None
    /// where nothing can fold (stride 1) or the filter is constant.
    pub aliased: Option<f64>,
}

/// The first layer that convolves, if there is one.
pub fn first_convolution(graph: &Graph) -> Option<&Node> {
    graph.nodes().iter().find(|node| {
        let map = node.shape().dims().len() == 3;
        map && node.spec.convolution.is_some()
            && node.spec.params.iter().any(|p| p.role == "weight")
    })
}

/// The filters of a first layer's `weight`, `[maps, channels, height, width]`. Panics where it has another rank.
pub fn filters(weight: &Tensor, stride: [usize; 2]) -> Vec<Filter> {
    let [_, _, height, width] = *weight.shape() else { panic!("a convolution's weight") };
    let describe = |(map, values): (usize, &[f32])| {
        let largest = values.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
        Filter {
            map,
            rms: rms(values),
            largest: largest.into(),
            aliased: aliased(values, [height, width], stride),
        }
    };
    each(weight).enumerate().map(describe).collect()
}

/// The filters as the paper renormalises them while it trains (section 3): one whose root mean square is above `radius` is
/// scaled down to it. The paper's radius is 0.1, for images from −128 to 128.
pub fn clipped(weight: &Tensor, radius: f64) -> Tensor {
    let clip = |values: &[f32]| -> Vec<f32> {
        let factor = (radius / rms(values)).min(1.0);
        values.iter().map(|&value| (f64::from(value) * factor) as f32).collect()
    };
    let data = each(weight).flat_map(clip).collect();
    Tensor::new(weight.shape(), data).expect("as many values as before")
}

fn each(weight: &Tensor) -> std::slice::ChunksExact<'_, f32> {
    let size = weight.shape()[1..].iter().product::<usize>().max(1);
    weight.data().chunks_exact(size)
}

fn rms(values: &[f32]) -> f64 {
    let squares: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
    (squares / values.len() as f64).sqrt()
}

/// The energy of each channel, its mean apart, beyond what a stride carries: of the filter's spectrum over all frequencies, not
/// of a discrete transform, which has next to none that a filter of 3 pixels could keep below.
fn aliased(filter: &[f32], [height, width]: [usize; 2], stride: [usize; 2]) -> Option<f64> {
    let (mut all, mut carried, mut squares) = (0.0, 0.0, 0.0);
    for channel in filter.chunks_exact(height * width) {
        let sum: f64 = channel.iter().map(|&value| f64::from(value)).sum();
        let mean = sum / channel.len() as f64;
        let values: Vec<f64> = channel.iter().map(|&value| f64::from(value) - mean).collect();
        squares += channel.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
        all += values.iter().map(|value| value * value).sum::<f64>();
        for (a, value) in values.iter().enumerate() {
            for (b, other) in values.iter().enumerate() {
                let rows = kept((a / width).abs_diff(b / width), stride[0]);
                carried += value * other * rows * kept((a % width).abs_diff(b % width), stride[1]);
            }
        }
    }
    // What rounding leaves of a constant is no energy.
    let varies = all > 1e-20 * squares;
    (stride != [1, 1] && varies).then(|| (1.0 - carried / all).clamp(0.0, 1.0))
}

/// The share of the product of two values so many pixels apart in the energy that a stride carries along an axis: the integral
/// of exp(2πi·f·distance) over the frequencies f from −1/(2·stride) to 1/(2·stride).
fn kept(distance: usize, stride: usize) -> f64 {
    let (distance, stride) = (distance as f64, stride as f64);
    match distance {
        0.0 => 1.0 / stride,
        _ => (PI * distance / stride).sin() / (PI * distance),
    }
}

/// How often the units of maps are active.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    /// Images seen.
    pub images: usize,
    units: u64,
    active: Vec<u64>,
}

/// What a map does on all images seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// No unit was ever positive.
    Dead,
    /// Every unit always was: a ReLU after it is linear.
    Saturated,
    /// Neither.
    Alive,
}

impl Activity {
    /// Of a layer with so many maps.
    pub fn new(maps: usize) -> Self {
        Self { images: 0, units: 0, active: vec![0; maps] }
    }

    /// Counts the positive units of activations `[n, maps, …]`.
    pub fn observe(&mut self, activations: &Tensor) {
        let (images, maps) = (activations.shape()[0], self.active.len());
        let size = activations.data().len() / (images * maps).max(1);
        for (i, map) in activations.data().chunks_exact(size.max(1)).enumerate() {
            self.active[i % maps] += map.iter().filter(|&&value| value > 0.0).count() as u64;
        }
        self.images += images;
        self.units += (images * size) as u64;
    }

    /// The share of a map's units that were positive.
    pub fn share(&self, map: usize) -> f64 {
        self.active[map] as f64 / (self.units as f64).max(1.0)
    }

    /// What became of a map. Without images every map is alive.
    pub fn health(&self, map: usize) -> Health {
        match self.active[map] {
            _ if self.units == 0 => Health::Alive,
            0 => Health::Dead,
            all if all == self.units => Health::Saturated,
            _ => Health::Alive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_filters_are_scaled_down() {
        let weight = Tensor::new([2, 1, 1, 2], vec![3.0, 3.0, 0.1, -0.2]).unwrap();
        let clipped = clipped(&weight, 1.5);
        assert_eq!(clipped.data(), [1.5, 1.5, 0.1, -0.2]);
        let all = filters(&weight, [1, 1]);
        assert_eq!((all[0].rms, all[0].largest, all[0].aliased), (3.0, 3.0, None));
        assert_eq!(all[1].largest, f64::from(0.2_f32));
    }

    #[test]
    fn patterns_that_a_stride_cannot_carry_are_counted() {
        let wave = |cycles: f64| -> Vec<f32> {
            let value = |i: usize| (2.0 * PI * cycles * (i % 8) as f64 / 8.0).cos() as f32;
            (0..64).map(value).collect()
        };
        // Along rows alone. Stride 2 carries up to two cycles in eight pixels, stride 4 one; the window of eight spreads them.
        let share = |cycles, stride| aliased(&wave(cycles), [8, 8], [1, stride]).unwrap();
        for (cycles, stride, least, most) in
            [(1.0, 2, 0.0, 0.1), (2.0, 2, 0.499, 0.501), (3.0, 2, 0.9, 1.0), (2.0, 4, 0.9, 1.0)]
        {
            let share = share(cycles, stride);
            assert!((least..=most).contains(&share), "{cycles} at {stride}: {share}");
        }
        assert_eq!(aliased(&[0.1; 9], [3, 3], [2, 2]), None);
    }

    #[test]
    fn small_filters_keep_what_they_have_below_the_stride() {
        // ∫ (2 − 2 cos 2πf) df over |f| ≤ 1/4, of 2 over all.
        let difference = aliased(&[1.0, -1.0], [1, 2], [1, 2]).unwrap();
        assert!((difference - (0.5 + 1.0 / PI)).abs() < 1e-12, "{difference}");
        // A slope over three pixels: 2 − 2 cos 4πf, half of it on either side.
        let slope = aliased(&[1.0, 0.0, -1.0], [1, 3], [1, 2]).unwrap();
        assert!((slope - 0.5).abs() < 1e-12, "{slope}");
        // Two equal rows of it: their own spectrum, 2 + 2 cos 2πf, counts on the other axis.
        let both = aliased(&[1.0, 0.0, -1.0, 1.0, 0.0, -1.0], [2, 3], [2, 2]).unwrap();
        assert!((both - (1.0 - 0.5 * (0.5 + 1.0 / PI))).abs() < 1e-12, "{both}");
    }

    #[test]
    fn dead_and_saturated_maps_are_told_from_the_others() {
        let mut activity = Activity::new(3);
        assert_eq!(activity.health(0), Health::Alive);
        let row = |a: f32, b: f32| [0.0, 0.0, 1.0, 2.0, a, b];
        let tensor = Tensor::new([2, 3, 1, 2], [row(0.0, 1.0), row(-1.0, 0.0)].concat());
        activity.observe(&tensor.unwrap());
        let health = [0, 1, 2].map(|map| activity.health(map));
        assert_eq!(health, [Health::Dead, Health::Saturated, Health::Alive]);
        assert_eq!([0, 1, 2].map(|map| activity.share(map)), [0.0, 1.0, 0.25]);
    }
}
