//! What part of the image each cell of a layer sees, padding included, and where its centre lies. The pixels of the image that
//! can change one unit are [`receptive_field`](crate::zfnet::field::receptive_field)'s.

use top5_graph::{Graph, Node, NodeId, Shape};

use crate::map::Map;

/// The receptive fields of a layer's cells: cell `i` along an axis sees `size` pixels from `start + i·step` on. Pairs are
/// vertical, horizontal; pixels beyond the image are padding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// First pixel of the first cell.
    pub start: [f64; 2],
    /// Pixels between neighbouring cells.
    pub step: [f64; 2],
    /// Pixels that a cell sees.
    pub size: [f64; 2],
}

impl Field {
    /// The centre of a cell in pixels, where pixel 0 has its centre at 0.
    pub fn centre(&self, cell: [usize; 2]) -> [f64; 2] {
        let along =
            |i: usize| self.start[i] + cell[i] as f64 * self.step[i] + (self.size[i] - 1.0) / 2.0;
        [along(0), along(1)]
    }

    /// A layer's map laid over an image of this height and width: each cell at the centre of its receptive field, between
    /// them bilinear, beyond the outermost centres the nearest.
    pub fn place(&self, map: &Map, image: [usize; 2]) -> Map {
        let first = self.centre([0, 0]);
        let at = |i: usize| -> Vec<f64> {
            (0..image[i]).map(|pixel| (pixel as f64 - first[i]) / self.step[i].max(1e-9)).collect()
        };
        map.sampled(&at(0), &at(1))
    }
}

/// The receptive fields of every node, in the order of the nodes. A join sees what its inputs of its own size see together: a
/// gate, which sees the whole image, moves no centre.
pub fn fields(graph: &Graph) -> Vec<Field> {
    let [_, height, width] = graph.input();
    let whole = Field {
        start: [0.0, 0.0],
        step: [height as f64, width as f64],
        size: [height as f64, width as f64],
    };
    let mut fields: Vec<Field> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let field = match node.inputs[..] {
            [] => Field { start: [0.0; 2], step: [1.0; 2], size: [1.0; 2] },
            _ if matches!(node.shape(), Shape::Flat(_)) => whole,
            [input] => through(node, graph.node(input), fields[input.index()]),
            _ => joined(graph, node, &fields),
        };
        fields.push(field);
    }
    fields
}

/// The field of one node.
pub fn field(graph: &Graph, node: NodeId) -> Field {
    fields(graph)[node.index()]
}

fn through(node: &Node, input: &Node, field: Field) -> Field {
    let (before, after) = (input.shape().size(), node.shape().size());
    match node.spec.window {
        Some(window) => {
            let span = window.span();
            let along = |i: usize| {
                [
                    field.start[i] - window.pad[i] as f64 * field.step[i],
                    field.step[i] * window.stride[i] as f64,
                    field.size[i] + (span[i] - 1) as f64 * field.step[i],
                ]
            };
            let [v, h] = [along(0), along(1)];
            Field { start: [v[0], h[0]], step: [v[1], h[1]], size: [v[2], h[2]] }
        }
        None if before == after => field,
        // Windows that divide the map evenly, or every k-th element.
        None => {
            let step = [0, 1].map(|i| field.step[i] * before[i] as f64 / after[i] as f64);
            let pooled = node.spec.family == top5_graph::Family::Pooling;
            let more = |i: usize| if pooled { step[i] - field.step[i] } else { 0.0 };
            Field { step, size: [0, 1].map(|i| field.size[i] + more(i)), ..field }
        }
    }
}

fn joined(graph: &Graph, node: &Node, fields: &[Field]) -> Field {
    let own = |input: &&NodeId| graph.node(**input).shape().size() == node.shape().size();
    let inputs = node.inputs.iter().filter(own).map(|input| fields[input.index()]);
    let together = |a: Field, b: Field| {
        let start = [0, 1].map(|i| a.start[i].min(b.start[i]));
        let end = [0, 1].map(|i| (a.start[i] + a.size[i]).max(b.start[i] + b.size[i]));
        Field { start, step: a.step, size: [0, 1].map(|i| end[i] - start[i]) }
    };
    inputs.reduce(together).unwrap_or(fields[node.inputs[0].index()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use top5_graph::{k, net};

    #[test]
    fn known_layers_see_what_they_see() {
        let graph = net("n", [3, 227, 227], |x| {
            let x = x.conv(8, k(11).stride(4)).named("a").max_pool(k(3).stride(2)).named("b");
            x.conv(8, k(5).pad(2)).named("c").relu().flatten().linear(2)
        });
        let graph = graph.unwrap();
        let of = |name: &str| field(&graph, graph.find(name).unwrap().id);
        assert_eq!(of("a"), Field { start: [0.0; 2], step: [4.0; 2], size: [11.0; 2] });
        assert_eq!(of("b"), Field { start: [0.0; 2], step: [8.0; 2], size: [19.0; 2] });
        assert_eq!(of("c"), Field { start: [-16.0; 2], step: [8.0; 2], size: [51.0; 2] });
        assert_eq!(of("c").centre([0, 1]), [9.0, 17.0]);
    }

    #[test]
    fn cells_lie_at_their_centres() {
        let field = Field { start: [0.0; 2], step: [2.0; 2], size: [3.0; 2] };
        let map = Map::new(vec![0.0, 4.0], 1, 2, false).unwrap();
        // Centres at 1 and 3.
        assert_eq!(field.place(&map, [1, 5]).values(), [0.0, 0.0, 2.0, 4.0, 4.0]);
    }

    #[test]
    fn gates_move_no_centre() {
        let graph = net("n", [1, 8, 8], |x| {
            let x = x.conv(4, k(3).pad(1)).named("conv");
            let gate = x.global_avg_pool().named("pool");
            x.scale(gate).named("gated").flatten().linear(2)
        });
        let graph = graph.unwrap();
        let of = |name: &str| field(&graph, graph.find(name).unwrap().id);
        assert_eq!(of("gated"), of("conv"));
        assert_eq!(of("pool").centre([0, 0]), [3.5, 3.5]);
    }
}
