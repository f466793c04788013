//! Which pixels a unit sees: the rectangle of the input that can change it.

use serde::Serialize;
use top5_graph::{Graph, Node, NodeId};

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rectangle {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// First and last row, first and last column.
type Ranges = [[usize; 2]; 2];

/// The receptive field of the unit of `node` with this row-major index in its map (0 for a vector), cut off at the image's
/// borders: the smallest rectangle that holds all pixels which can change it, where no window is adaptive; of an adaptive
/// one it is a whole map. None where the unit sees only padding. Panics where the map has no such unit.
pub fn receptive_field(graph: &Graph, node: NodeId, unit: usize) -> Option<Rectangle> {
    let mut seen: Vec<Option<Ranges>> = vec![None; graph.nodes().len()];
    let [height, width] = graph.node(node).shape().size();
    assert!(unit < height * width, "a unit of the map");
    seen[node.index()] = Some([[unit / width; 2], [unit % width; 2]]);
    for node in graph.nodes()[..=node.index()].iter().rev() {
        let Some(ranges) = seen[node.id.index()] else { continue };
        for &input in &node.inputs {
            if let Some(part) = before(node, graph.node(input).shape().size(), ranges) {
                let place = &mut seen[input.index()];
                *place = Some(place.map_or(part, |other| both(other, part)));
            }
        }
    }
    let [[top, bottom], [left, right]] = seen[0]?;
    Some(Rectangle { top, left, height: bottom + 1 - top, width: right + 1 - left })
}

/// What of an input of this height and width a part of a node's output sees.
fn before(node: &Node, input: [usize; 2], ranges: Ranges) -> Option<Ranges> {
    let whole = input.map(|side| [0, side - 1]);
    let Some(window) = node.spec.window else {
        // Elementwise, but for factors of whole maps and for adaptive windows.
        return Some(if node.shape().size() == input { ranges } else { whole });
    };
    let mut part = whole;
    for i in 0..2 {
        // The taps of the windows in the range that are not in the padding.
        let [first, last] = ranges[i];
        let tap = |at: usize, tap: usize| {
            let place =
                (at * window.stride[i] + tap * window.dilation[i]).checked_sub(window.pad[i]);
            place.filter(|&place| place < input[i])
        };
        let taps =
            (first..=last).flat_map(|at| (0..window.kernel[i]).filter_map(move |k| tap(at, k)));
        part[i] = taps.fold(None, |ends: Option<[usize; 2]>, at| {
            Some(ends.map_or([at; 2], |[from, to]| [from.min(at), to.max(at)]))
        })?;
    }
    Some(part)
}

fn both(a: Ranges, b: Ranges) -> Ranges {
    [0, 1].map(|i| [a[i][0].min(b[i][0]), a[i][1].max(b[i][1])])
}

#[cfg(test)]
mod tests {
    use super::*;
    use top5_graph::ops::AlphaOver;
    use top5_graph::{Device, Retain, SessionOptions, Tensor, Var, concat, k, net};
    use top5_testkit::ReferenceDevice;

    /// The pixels that change a unit when they are made much larger, where all weights are positive.
    fn by_changing(graph: &Graph, node: NodeId) -> Vec<Option<Rectangle>> {
        let weights = graph
            .params()
            .map(|(name, param)| {
                let mut tensor = Tensor::zeros(&param.shape[..]);
                tensor.data_mut().fill(if name.ends_with("running_mean") { 0.0 } else { 0.5 });
                (name, tensor)
            })
            .collect();
        let network = ReferenceDevice.network(graph, weights, Retain::Nothing).unwrap();
        let options = SessionOptions { keep: vec![node], ..SessionOptions::inference(1) };
        let mut session = network.session(graph, &options).unwrap();
        let [channels, height, width] = graph.input();
        let mut image: Vec<f32> = vec![1.0; channels * height * width];
        let mut run = |image: &[f32]| session.forward(image).unwrap().kept.remove(0).into_data();
        let base = run(&image);
        let [rows, columns] = graph.node(node).shape().size();
        let mut found: Vec<Option<Ranges>> = vec![None; rows * columns];
        for pixel in 0..height * width {
            image[pixel] = 1000.0;
            let changed = run(&image);
            image[pixel] = 1.0;
            for unit in (0..rows * columns).filter(|&unit| changed[unit] != base[unit]) {
                let at = [[pixel / width; 2], [pixel % width; 2]];
                found[unit] = Some(found[unit].map_or(at, |other| both(other, at)));
            }
        }
        let rectangle = |[[top, bottom], [left, right]]: Ranges| Rectangle {
            top,
            left,
            height: bottom + 1 - top,
            width: right + 1 - left,
        };
        found.into_iter().map(|ranges| ranges.map(rectangle)).collect()
    }

    type Layers = for<'g> fn(Var<'g>) -> Var<'g>;

    #[test]
    fn fields_are_the_pixels_that_change_a_unit() {
        let networks: [Layers; 6] = [
            |x| x.conv(2, k(3).stride(2).pad(1)).relu().max_pool(k(3).stride(2).ceil()),
            |x| x.conv(2, k([1, 3]).pad([0, 2])).conv(1, k(3).dilation(2).pad(2)),
            |x| x.max_pool(k(2).stride(2)).lrn(3, 1e-4, 0.75, 1.0, AlphaOver::Sum).conv(2, 2),
            |x| concat([x.conv(1, k(5).pad(2)), x.max_pool(k(3).pad(1)).conv(1, 1)]),
            |x| {
                let x = x.conv(2, k(3).pad(1).stride(3));
                x.scale(x.global_avg_pool().conv(2, 1))
            },
            |x| x.conv(1, k(3).pad_end([0, 1])).subsample(2),
        ];
        for (number, layers) in networks.into_iter().enumerate() {
            let built = net("field", [1, 9, 11], |x| layers(x).flatten().linear(2)).unwrap();
            // Of vectors only the last one: an element of a flattened map sees less than the map.
            let is_map = |node: &&Node| node.shape().dims().len() == 3 && node.id.index() > 0;
            for node in built.nodes().iter().filter(is_map).chain([built.logits()]) {
                let changed = by_changing(&built, node.id);
                for (unit, changed) in changed.into_iter().enumerate() {
                    let field = receptive_field(&built, node.id, unit);
                    assert_eq!(field, changed, "network {number}, {}, unit {unit}", node.name);
                }
            }
        }
    }

    #[test]
    fn known_layers_see_what_they_see() {
        let graph = net("n", [3, 227, 227], |x| {
            let x = x.conv(8, k(11).stride(4)).max_pool(k(3).stride(2));
            x.conv(8, k(5).pad(2)).named("c").relu().flatten().linear(2)
        });
        let graph = graph.unwrap();
        let corner = Rectangle { top: 0, left: 192, height: 35, width: 35 };
        assert_eq!(receptive_field(&graph, graph.find("c").unwrap().id, 26), Some(corner));
        let whole = Rectangle { top: 0, left: 0, height: 227, width: 227 };
        assert_eq!(receptive_field(&graph, graph.logits().id, 0), Some(whole));
    }

    #[test]
    fn an_adaptive_pooling_sees_whole_maps() {
        let graph =
            net("adaptive", [1, 9, 9], |x| x.conv(1, 3).adaptive_avg_pool([2, 2]).flatten())
                .unwrap();
        let node = graph.nodes()[2].id;
        let whole = Rectangle { top: 0, left: 0, height: 9, width: 9 };
        assert_eq!(receptive_field(&graph, node, 3), Some(whole));
    }
}
