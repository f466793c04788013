//! Receptive fields.

use crate::graph::{Graph, NodeId};
use crate::spec::Spec;

/// How much of the input one element of an activation sees. Pairs are `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceptiveField {
    /// Its extent, in input elements; never beyond the input itself.
    pub size: [usize; 2],
    /// The step in the input between neighbouring elements of the activation.
    pub jump: [usize; 2],
}

impl Graph {
    /// The receptive field of each node: where paths meet, the larger one.
    pub fn receptive_fields(&self) -> Vec<ReceptiveField> {
        let [_, height, width] = self.input();
        let one = ReceptiveField { size: [1, 1], jump: [1, 1] };
        let mut fields: Vec<ReceptiveField> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let before =
                node.inputs.iter().map(|&NodeId(i)| fields[i]).reduce(larger).unwrap_or(one);
            let mut field = through(&node.spec, before);
            for (i, limit) in [height, width].into_iter().enumerate() {
                field.size[i] = field.size[i].min(limit);
            }
            fields.push(field);
        }
        fields
    }
}

fn larger(a: ReceptiveField, b: ReceptiveField) -> ReceptiveField {
    ReceptiveField {
        size: [0, 1].map(|i| a.size[i].max(b.size[i])),
        jump: [0, 1].map(|i| a.jump[i].max(b.jump[i])),
    }
}

fn through(spec: &Spec, before: ReceptiveField) -> ReceptiveField {
    let Some(window) = &spec.window else { return before };
    let span = window.span();
    ReceptiveField {
        size: [0, 1].map(|i| before.size[i] + (span[i] - 1) * before.jump[i]),
        jump: [0, 1].map(|i| before.jump[i] * window.stride[i]),
    }
}

#[cfg(test)]
mod tests {
    use crate::{k, net};

    #[test]
    fn stack_of_small_filters_sees_as_much_as_a_large_one() {
        // Simonyan & Zisserman, section 2.3: three 3×3 layers see 7×7.
        let graph = net("three", [3, 32, 32], |x| x.conv(4, 3).conv(4, 3).conv(4, 3)).unwrap();
        assert_eq!(graph.receptive_fields().last().unwrap().size, [7, 7]);
    }

    #[test]
    fn strides_multiply_the_jump() {
        let graph = net("strided", [3, 224, 224], |x| {
            x.conv(4, k(7).stride(2).pad(3)).max_pool(k(3).stride(2).pad(1)).conv(4, k(3).pad(1))
        })
        .unwrap();
        let field = graph.receptive_fields()[3];
        assert_eq!((field.size, field.jump), ([19, 19], [4, 4]));
    }

    #[test]
    fn linear_layer_sees_everything() {
        let graph = net("flat", [3, 32, 32], |x| x.conv(4, 3).flatten().linear(10)).unwrap();
        assert_eq!(graph.receptive_fields().last().unwrap().size, [32, 32]);
    }
}
