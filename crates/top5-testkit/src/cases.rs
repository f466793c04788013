//! The networks of the conformance suite: small, and together every op and every place where a fusion or a layout of
//! padded channels can go wrong.

use top5_graph::ops::{AlphaOver, Conv2d, EuclideanRbf, Linear, Subsampling, TableConv2d};
use top5_graph::{Graph, Var, concat, k, net};

/// A network, and how it is run.
#[derive(Clone, Debug)]
pub struct Case {
    /// The network; its name is the case's.
    pub graph: Graph,
    /// The engine's largest batch.
    pub batch: usize,
    /// Share of the target that is spread over all classes.
    pub label_smoothing: f32,
    /// Images and weights are small integers, so that equal activations are exactly equal.
    pub integers: bool,
}

impl Case {
    /// What the case is about.
    pub fn name(&self) -> &str {
        self.graph.name()
    }
}

fn case(name: &str, input: [usize; 3], body: impl for<'g> FnOnce(Var<'g>) -> Var<'g>) -> Case {
    let graph = net(name, input, body).unwrap_or_else(|error| panic!("{error}"));
    Case { graph, batch: 3, label_smoothing: 0.0, integers: false }
}

/// All cases.
pub fn cases() -> Vec<Case> {
    [
        layers(),
        windows(),
        pools(),
        residuals(),
        branches(),
        groups(),
        norms(),
        heads(),
        identities(),
    ]
    .concat()
}

fn layers() -> Vec<Case> {
    vec![
        case("conv, relu, pool, linear", [3, 9, 7], |x| {
            let x = x.conv(20, k(3).pad(1)).relu().max_pool(k(2).stride(2));
            x.flatten().linear(7)
        }),
        case("conv, batch norm, relu", [3, 7, 9], |x| {
            let x = x.conv_bn(18, k(3).pad(1)).relu().conv_bn(33, k(3).stride(2).pad(1)).relu();
            x.global_avg_pool().linear(5)
        }),
        case("bias before a batch norm", [2, 5, 5], |x| {
            x.conv(17, 3).batch_norm().sigmoid().flatten().linear(4)
        }),
        case("three linear layers", [5, 3, 2], |x| {
            let x = x.flatten().linear(19).relu().linear(35).scaled_tanh();
            x.apply(Linear { out_features: 6, bias: false })
        }),
        case("more channels than one tile", [3, 12, 35], |x| {
            let x = x.conv_bn(40, k(3).pad(1)).relu().conv_bn(72, k(3).pad(1)).relu();
            x.conv_bn(48, 1).relu().global_avg_pool().linear(21)
        }),
        case("LeNet-5", [1, 32, 32], |x| {
            let x = x.conv(6, 5).scaled_tanh();
            let x = x.apply(Subsampling { window: k(2).stride(2) }).scaled_tanh();
            let rows = |o: usize| -> Vec<usize> {
                (0..6).filter(|i| !(o + i).is_multiple_of(3)).collect()
            };
            let table: Vec<Vec<usize>> = (0..16).map(rows).collect();
            let x = x.apply(TableConv2d { table, window: k(5) }).scaled_tanh();
            let x = x.apply(Subsampling { window: k(2).stride(2) }).scaled_tanh();
            let x = x.conv(30, 5).scaled_tanh().flatten().linear(12).scaled_tanh();
            let codes = (0..10 * 12).map(|i| if i * 7 % 5 < 2 { 1.0 } else { -1.0 }).collect();
            x.apply(EuclideanRbf { codes, classes: 10 })
        }),
        Case {
            batch: 1,
            ..case("one image", [3, 6, 6], |x| x.conv(5, 3).relu().flatten().linear(3))
        },
        Case {
            batch: 7,
            ..case("seven images", [1, 5, 5], |x| x.conv(9, 2).relu().flatten().linear(18))
        },
    ]
}

fn windows() -> Vec<Case> {
    vec![
        case("one by seven", [4, 9, 10], |x| {
            let x = x.conv(6, k([1, 7]).pad([0, 3])).relu().conv(18, k([7, 1]).pad([3, 0]));
            x.flatten().linear(3)
        }),
        case("stride with a remainder", [3, 11, 14], |x| {
            let x = x.conv(17, k(3).stride(2)).relu().conv(5, k(2).stride([3, 2]));
            x.flatten().linear(3)
        }),
        case("large first kernel", [3, 27, 31], |x| {
            let x = x.conv(24, k(11).stride(4).pad(2)).relu().conv(20, k(5).pad(2)).relu();
            x.flatten().linear(3)
        }),
        case("seven by seven, stride two", [3, 21, 24], |x| {
            x.conv_bn(20, k(7).stride(2).pad(3)).relu().global_avg_pool().linear(3)
        }),
        case("strided one by one", [19, 7, 8], |x| {
            x.conv(21, k(1).stride(2)).relu().conv(4, k(1).stride([1, 3])).flatten().linear(3)
        }),
        case("padding at the end only", [2, 6, 7], |x| {
            let x = x.conv(5, k(3).stride(2).pad_end(1)).relu();
            x.conv(16, k(2).pad([1, 0])).flatten().linear(3)
        }),
        case("padding beyond the kernel", [2, 3, 2], |x| {
            x.conv(4, k(2).pad(3)).relu().conv(17, k(1).pad(1)).flatten().linear(3)
        }),
        case("dilation", [3, 9, 11], |x| {
            let x = x.conv(18, k(3).dilation(2).pad(2)).relu().conv(7, k([2, 3]).dilation([3, 1]));
            x.flatten().linear(3)
        }),
        case("maps of one row and of one column", [4, 1, 13], |x| {
            let a = x.conv(17, k([1, 3]).pad([0, 1])).relu();
            a.conv(5, k([1, 13])).relu().conv(18, 1).flatten().linear(3)
        }),
        case("maps of one element", [20, 1, 1], |x| {
            x.conv(35, 1).relu().conv(6, k(3).pad(1)).flatten().linear(3)
        }),
    ]
}

fn pools() -> Vec<Case> {
    let tied = case("equal maxima", [2, 7, 8], |x| {
        let x = x.conv(17, k(2)).max_pool(k(3).stride(2).ceil()).max_pool(k(2).stride(1));
        x.flatten().linear(3)
    });
    vec![
        case("adaptive pools, down and up", [3, 11, 8], |x| {
            let x = x.conv(18, k(3).pad(1)).relu().adaptive_avg_pool([4, 5]);
            x.conv(20, 1).relu().adaptive_avg_pool([7, 3]).flatten().linear(3)
        }),
        case("overlapping pools, rounded up", [3, 12, 13], |x| {
            let x = x.conv(19, k(3)).relu().max_pool(k(3).stride(2).ceil());
            x.conv(5, k(2)).max_pool(k(3).stride(2).pad(1).ceil()).flatten().linear(3)
        }),
        case("pools of stride one", [3, 5, 6], |x| {
            let x = x.conv(17, 1);
            let a = x.max_pool(k(3).pad(1));
            let b = x.avg_pool(k(3).pad(1));
            let c = x.avg_pool_no_pad(k(3).pad(1));
            concat([a, b, c]).flatten().linear(3)
        }),
        case("mean pools, rounded up", [3, 8, 9], |x| {
            let x = x.conv(18, 1);
            let a = x.avg_pool(k(3).stride(2).pad(1).ceil());
            let b = x.avg_pool_no_pad(k(3).stride(2).pad(1).ceil());
            (a + b).relu().flatten().linear(3)
        }),
        case("uneven pools", [2, 7, 11], |x| {
            let x = x.conv(17, 1).max_pool(k([2, 3]).stride([2, 4]).pad([1, 0])).relu();
            x.avg_pool(k([1, 2]).stride([3, 1])).flatten().linear(3)
        }),
        case("pool of the input", [3, 8, 8], |x| {
            x.max_pool(k(2).stride(2)).conv(5, 3).relu().flatten().linear(3)
        }),
        case("dilated maximum", [2, 7, 7], |x| {
            x.conv(4, 1).max_pool(k(2).dilation(2)).flatten().linear(3)
        }),
        case("global mean in the middle", [3, 5, 4], |x| {
            x.conv(20, 3).relu().global_avg_pool().conv(7, 1).relu().flatten().linear(3)
        }),
        Case { integers: true, ..tied },
    ]
}

fn residuals() -> Vec<Case> {
    vec![
        case("relu of a sum", [16, 6, 5], |x| {
            let y = x.conv_bn(16, k(3).pad(1)).relu().conv_bn(16, k(3).pad(1));
            let x = (y + x).relu();
            let shortcut = x.conv_bn(36, k(1).stride(2));
            let y = x.conv_bn(10, 1).relu().conv_bn(36, k(3).stride(2).pad(1));
            (y + shortcut).relu().global_avg_pool().linear(4)
        }),
        case("sums of large maps in a row", [2, 67, 64], |x| {
            let mut x = x.conv_bn(16, 1) + x.conv_bn(16, 1);
            for _ in 0..5 {
                x = (x.conv_bn(16, 1) + x).relu();
            }
            x.max_pool(k(5).stride(5)).global_avg_pool().linear(3)
        }),
        case("sum used before and after its relu", [3, 5, 5], |x| {
            let a = x.conv(17, k(3).pad(1));
            let sum = a + x.conv(17, 1);
            (sum.relu().conv(17, k(3).pad(1)) + sum).flatten().linear(3)
        }),
        case("conv used before and after its relu", [3, 4, 5], |x| {
            let a = x.conv(18, k(3).pad(1));
            (a.relu() + a).flatten().linear(3)
        }),
        case("relu used twice", [3, 4, 5], |x| {
            let a = x.conv(18, k(3).pad(1)).relu();
            (a.conv(18, k(3).pad(1)) + a).relu().flatten().linear(3)
        }),
        case("batch norm used twice", [3, 4, 5], |x| {
            let a = x.conv_bn(18, k(3).pad(1));
            (a.relu().conv_bn(18, 1) + a).flatten().linear(3)
        }),
        case("conv used raw and normalised", [3, 4, 5], |x| {
            let a = x.conv(18, k(3).pad(1));
            (a.batch_norm().relu() + a).flatten().linear(3)
        }),
        case("sum of three", [3, 4, 6], |x| {
            let a = x.conv(17, k(3).pad(1));
            let b = x.conv(17, 1).relu();
            let c = x.conv_bn(17, k([1, 3]).pad([0, 1]));
            (a + b + c).relu().flatten().linear(3)
        }),
        case("sum with itself", [3, 4, 4], |x| {
            let a = x.conv(5, 1).relu();
            (a + a).relu().flatten().linear(3)
        }),
        case("batch norm first", [18, 5, 5], |x| {
            let y = x.batch_norm().relu().conv(18, k(3).pad(1)).batch_norm().relu();
            let x = y.conv(18, k(3).pad(1)) + x;
            x.batch_norm().relu().global_avg_pool().linear(4)
        }),
        case("shortcut without weights", [5, 7, 8], |x| {
            let y = x.conv_bn(10, k(3).stride(2).pad(1)).relu().conv_bn(10, k(3).pad(1));
            let x = (y + x.subsample(2).pad_channels(2, 3)).relu();
            let y = x.conv_bn(20, k(3).pad(1));
            (y + x.pad_channels(5, 5)).relu().global_avg_pool().linear(4)
        }),
        case("scaled residual", [6, 4, 4], |x| {
            let a = x.conv(19, 1).relu();
            let b = a.conv(19, k(3).pad(1)).times(0.17);
            (a + b).relu().times(-2.0).flatten().linear(3)
        }),
    ]
}

fn branches() -> Vec<Case> {
    vec![
        case("concat of whole blocks", [4, 5, 6], |x| {
            let x = x.conv(32, k(3).pad(1)).relu();
            let a = x.conv(16, 1).relu();
            let b = x.conv(48, k(3).pad(1)).relu();
            let y = concat([a, b, x]).conv(32, 1).relu();
            concat([y, y.conv(16, 1)]).conv(17, k(3)).relu().flatten().linear(3)
        }),
        case("concat of a concat", [4, 5, 6], |x| {
            let x = x.conv(16, 1).relu();
            let inner = concat([x, x.conv(32, k(3).pad(1)).relu(), x.max_pool(k(3).pad(1))]);
            concat([x.conv_bn(16, 1), inner]).conv(17, k(3).pad(1)).flatten().linear(3)
        }),
        case("ragged concat", [4, 5, 6], |x| {
            let a = x.conv(5, 1).relu();
            let b = x.conv(3, 1).relu().conv(19, k(3).pad(1)).relu();
            let c = x.conv(32, k(5).pad(2)).relu();
            let d = x.max_pool(k(3).pad(1)).conv(2, 1).relu();
            concat([a, b, c, d]).conv(17, k(3)).relu().flatten().linear(3)
        }),
        case("aligned concat", [3, 5, 4], |x| {
            let a = x.conv_bn(16, 1).relu();
            let b = x.conv_bn(32, k(3).pad(1)).relu();
            let both = concat([a, b]);
            both.max_pool(k(2)).conv(8, 1).relu().flatten().linear(3)
        }),
        case("concat of concats", [6, 4, 4], |mut x| {
            for _ in 0..3 {
                let y = x.batch_norm().relu().conv(12, 1).batch_norm().relu();
                x = concat([x, y.conv(7, k(3).pad(1))]);
            }
            x.batch_norm().relu().global_avg_pool().linear(3)
        }),
        case("concat of the input and of one part twice", [3, 4, 4], |x| {
            let a = x.conv(6, 1).relu();
            concat([a, x, a]).conv(4, 1).flatten().linear(3)
        }),
        case("concat of vectors", [3, 4, 4], |x| {
            let a = x.conv(5, 3).relu().flatten();
            let b = x.global_avg_pool().linear(19).relu();
            concat([a, b]).linear(3)
        }),
        case("two paths", [4, 5, 5], |x| {
            let x = x.conv(29, 1).relu();
            let (left, right) = (x.slice(0, 18), x.slice(18, 11));
            let y = x.conv(23, k(3).pad(1));
            let sum = y.slice(0, 18) + left;
            concat([sum, right, y.slice(18, 5)]).batch_norm().relu().global_avg_pool().linear(3)
        }),
        case("squeeze and excitation", [3, 6, 5], |x| {
            let x = x.conv_bn(34, k(3).pad(1)).relu();
            let y = x.conv_bn(34, 1);
            let factors = y.global_avg_pool().linear(4).relu().linear(34).sigmoid();
            (y.scale(factors) + x).relu().global_avg_pool().linear(5)
        }),
        case("factors as a map", [3, 4, 4], |x| {
            let x = x.conv(18, 1).relu();
            let factors = x.global_avg_pool().conv(18, 1).sigmoid();
            x.scale(factors).flatten().linear(3)
        }),
    ]
}

fn groups() -> Vec<Case> {
    let grouped = |n, window, groups| Conv2d::new(n, window).groups(groups);
    vec![
        case("two groups", [6, 6, 5], move |x| {
            let x = x.conv(24, 1).relu().apply(grouped(36, k(3).stride(2).pad(1), 2)).relu();
            x.flatten().linear(3)
        }),
        case("groups of four", [3, 5, 5], move |x| {
            let x = x.conv_bn(32, 1).relu().apply(grouped(32, k(3).pad(1), 8).no_bias());
            x.batch_norm().relu().global_avg_pool().linear(3)
        }),
        case("groups of eight, with stride", [3, 7, 6], move |x| {
            let x = x.conv_bn(32, 1).relu().apply(grouped(32, k(3).pad(1).stride(2), 4).no_bias());
            let x = x.batch_norm().relu().apply(grouped(32, k(3).pad(2).dilation(2), 4));
            x.relu().global_avg_pool().linear(3)
        }),
        case("groups of sixteen", [3, 5, 5], move |x| {
            let x = x.conv(48, 1).relu().apply(grouped(32, k(3).pad(1), 2)).relu();
            let x = x.apply(grouped(96, k(3).pad(1), 2)).relu();
            x.global_avg_pool().linear(3)
        }),
        // The second group's outputs end within a block, so that all inputs are read by both blocks of outputs.
        case("groups across blocks", [3, 12, 12], move |x| {
            let x = x.conv(32, 1).relu().apply(grouped(24, k(3).pad(1), 2)).relu();
            x.global_avg_pool().linear(3)
        }),
        case("groups of five and of one", [4, 5, 4], move |x| {
            let x = x.conv(20, 1).relu().apply(grouped(12, k(3).pad(1), 4)).relu();
            x.apply(grouped(24, k(1), 12)).relu().flatten().linear(3)
        }),
        case("depthwise", [3, 6, 6], move |x| {
            let x = x.conv_bn(19, 1).relu().apply(grouped(19, k(3).stride(2).pad(1), 19).no_bias());
            x.batch_norm().relu().conv(8, 1).flatten().linear(3)
        }),
    ]
}

fn norms() -> Vec<Case> {
    let lrn = |name, over, size, alpha| {
        case(name, [3, 6, 6], move |x| {
            let x = x.conv(20, k(3)).relu().lrn(size, alpha, 0.75, 2.0, over);
            let x = x.max_pool(k(2).stride(2)).conv(2, 1).lrn(5, 0.3, 0.5, 1.0, over);
            x.flatten().linear(3)
        })
    };
    vec![
        lrn("response norm of the sum", AlphaOver::Sum, 5, 0.4),
        lrn("response norm of the mean", AlphaOver::Mean, 3, 0.9),
        case("batch norm of the input", [17, 4, 3], |x| {
            x.batch_norm().conv(5, 1).relu().flatten().linear(3)
        }),
        case("batch norm after relu and before a pool", [3, 6, 6], |x| {
            x.conv(18, 1).relu().batch_norm().max_pool(k(2).stride(2)).flatten().linear(3)
        }),
    ]
}

fn heads() -> Vec<Case> {
    let smooth = |case: Case| Case { label_smoothing: 0.1, ..case };
    vec![
        smooth(case("auxiliary heads", [3, 8, 8], |x| {
            let x = x.conv(12, k(3).pad(1)).relu();
            x.avg_pool(k(4).stride(4)).conv(5, 1).relu().flatten().linear(6).output("aux1", 0.3);
            let x = x.conv(18, k(3).stride(2)).relu();
            x.global_avg_pool().dropout(0.3).linear(6).output("aux2", 0.5);
            x.flatten().linear(6)
        })),
        case("logits that feed another head", [3, 4, 4], |x| {
            let logits = x.conv(7, 2).relu().flatten().linear(5);
            logits.relu().linear(5).output("again", 0.4);
            logits
        }),
        smooth(case("dropout of maps and vectors", [3, 5, 7], |x| {
            let x = x.conv(19, k(3).pad(1)).relu().dropout(0.2).conv(6, 1).dropout(0.5).relu();
            x.flatten().linear(21).relu().dropout(0.5).linear(4)
        })),
        case("dropout of the input", [3, 4, 4], |x| {
            (x.dropout(0.5).conv(6, k(3).pad(1)) + x.conv(6, 1)).flatten().linear(3)
        }),
        case("dropout of a value used twice", [3, 4, 4], |x| {
            let a = x.conv(6, 1).relu();
            (a.dropout(0.4) + a).flatten().linear(3)
        }),
        case("softmax as the last layer", [3, 4, 4], |x| {
            x.conv(6, 1).relu().flatten().linear(18).softmax()
        }),
        case("mean of maps as logits", [3, 5, 5], |x| {
            x.conv(9, k(3)).relu().conv(19, 1).global_avg_pool()
        }),
        case("a map of logits", [3, 9, 8], |x| {
            x.conv(18, k(3)).relu().max_pool(k(2).stride(2)).conv(21, k(2))
        }),
        case("twenty-one classes", [2, 3, 3], |x| x.flatten().linear(21)),
    ]
}

fn identities() -> Vec<Case> {
    vec![
        case("ops that do nothing", [5, 4, 4], |x| {
            let x = concat([x.dropout(0.0)]).slice(0, 5).pad_channels(0, 0).subsample(1);
            x.conv(6, 1).times(1.0).flatten().flatten().linear(3).dropout(0.0)
        }),
        case("relu of the input", [3, 4, 4], |x| (x.relu() + x).conv(4, 2).flatten().linear(3)),
        case("relu of a relu, of a pool, of a concat", [3, 6, 6], |x| {
            let a = x.conv(5, 1).relu().relu().max_pool(k(2).stride(2)).relu();
            concat([a, a]).relu().flatten().linear(3)
        }),
        case("flatten of ragged channels", [19, 3, 2], |x| x.relu().flatten().relu().linear(5)),
        case("a branch that only an auxiliary head sees", [3, 4, 4], |x| {
            let a = x.conv(5, 1).relu();
            a.conv(6, 2).relu().flatten().linear(3).output("aux", 1.5);
            a.flatten().linear(3)
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use top5_graph::Op;

    #[test]
    fn every_op_has_a_case() {
        let cases = cases();
        let nodes = cases.iter().flat_map(|case| case.graph.nodes());
        let seen: BTreeSet<&str> = nodes.map(|node| node.op.name()).collect();
        assert_eq!(seen, Op::NAMES.iter().copied().collect());
    }

    #[test]
    fn names_are_unique() {
        let cases = cases();
        let names: BTreeSet<&str> = cases.iter().map(Case::name).collect();
        assert_eq!(names.len(), cases.len());
    }
}
