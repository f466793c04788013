//! Every backward rule against central differences in f64.

use super::*;
use crate::close::assert_close;
use crate::oracle::values;
use top5_graph::ops::{
    Activation, AlphaOver, Conv2d, EuclideanRbf, MulConstant, Subsampling, TableConv2d,
};
use top5_graph::{Var, concat, k, net};

const SEED: u64 = 11;

/// An engine with random parameters, and random images.
fn random(graph: Graph, n: usize) -> (ReferenceEngine, Vec<f64>) {
    let images = wide(&values("images", n * graph.nodes()[0].shape().elements()));
    let mut engine = ReferenceEngine::new(graph, n);
    let names = engine.graph.params().map(|(name, _)| name).collect::<Vec<_>>();
    for (name, values_of) in names.iter().zip(engine.params.iter_mut().flatten()) {
        *values_of = wide(&values(name, values_of.len()));
    }
    (engine, images)
}

/// `(f(x + h) − f(x − h)) / 2h`
fn difference(mut f: impl FnMut(f64) -> f64) -> f64 {
    let h = 1e-5;
    (f(h) - f(-h)) / (2.0 * h)
}

/// Compares the gradients of `loss` with respect to the images and all learned parameters.
fn check_loss(
    name: &str,
    graph: Graph,
    n: usize,
    loss: impl Fn(&ReferenceEngine, &[Array]) -> (f64, Vec<(NodeId, Array)>),
) {
    let (mut engine, mut images) = random(graph, n);
    let outputs = engine.run(&images, Some(SEED));
    let (_, starts) = loss(&engine, &outputs);
    let (dactivations, dparams) = engine.run_back(&outputs, starts, SEED);
    let value =
        |engine: &ReferenceEngine, images: &[f64]| loss(engine, &engine.run(images, Some(SEED))).0;
    let want: Vec<f64> = (0..images.len())
        .map(|i| {
            let x = images[i];
            let slope = difference(|h| {
                images[i] = x + h;
                value(&engine, &images)
            });
            images[i] = x;
            slope
        })
        .collect();
    assert_close(&format!("{name}: input"), &dactivations[0].data, &want, 1e-7);
    for node in 0..dparams.len() {
        for p in 0..dparams[node].len() {
            let want: Vec<f64> = (0..dparams[node][p].len())
                .map(|i| {
                    let w = engine.params[node][p][i];
                    let slope = difference(|h| {
                        engine.params[node][p][i] = w + h;
                        value(&engine, &images)
                    });
                    engine.params[node][p][i] = w;
                    slope
                })
                .collect();
            assert_close(
                &format!("{name}: parameter {p} of node {node}"),
                &dparams[node][p],
                &want,
                1e-7,
            );
        }
    }
}

/// Checks the network of one body, with a random weight for each element of its output.
fn check(name: &str, input: [usize; 3], body: impl for<'g> FnOnce(Var<'g>) -> Var<'g>) {
    check_loss(name, net(name, input, body).unwrap(), 2, |engine, outputs| {
        let id = engine.graph.logits().id;
        let output = &outputs[id.index()];
        let mut factors = wide(&values("factors", output.data.len())).into_iter();
        let start = output.map(|_| factors.next().unwrap());
        let loss = start.data.iter().zip(&output.data).map(|(s, y)| s * y).sum();
        (loss, vec![(id, start)])
    });
}

#[test]
fn convolutions() {
    check("plain", [2, 5, 6], |x| x.conv(3, k(3)));
    check("stride", [2, 8, 7], |x| x.conv(3, k([3, 2]).stride([2, 3]).pad(1)));
    check("ends", [1, 5, 5], |x| x.conv(2, k(3).stride(2).pad_end([1, 2])));
    check("dilation", [2, 7, 8], |x| x.conv(2, k([2, 3]).dilation([3, 2]).pad([2, 1])));
    check("groups", [6, 4, 4], |x| x.apply(Conv2d::new(4, k(3).pad(1)).groups(2)));
    check("depthwise", [3, 4, 5], |x| x.apply(Conv2d::new(3, k(3).pad(1)).groups(3).no_bias()));
    check("wide padding", [1, 2, 2], |x| x.conv(2, k(3).pad(4)));
    let table = vec![vec![0, 2], vec![1], vec![0, 1, 2], vec![2]];
    check("table", [3, 5, 5], |x| x.apply(TableConv2d { table, window: k(3) }));
}

#[test]
fn linear_layers() {
    check("linear", [2, 2, 3], |x| x.flatten().linear(4));
    check("no bias", [5, 1, 1], |x| {
        x.flatten().apply(top5_graph::ops::Linear { out_features: 3, bias: false })
    });
    let codes = values("codes", 12).into();
    check("rbf", [4, 1, 1], |x| x.flatten().apply(EuclideanRbf { codes, classes: 3 }));
}

#[test]
fn poolings() {
    check("max", [2, 6, 5], |x| x.max_pool(k(2).stride(2)));
    check("max, overlapping", [2, 7, 8], |x| x.max_pool(k(3).stride(2).pad(1).ceil()));
    check("max, dilated", [1, 7, 7], |x| x.max_pool(k(2).dilation(2)));
    check("mean", [2, 6, 5], |x| x.avg_pool(k(3).stride(2).pad(1).ceil()));
    check("mean, no padding", [2, 6, 5], |x| x.avg_pool_no_pad(k([3, 2]).stride(2).pad(1).ceil()));
    check("global", [3, 4, 3], |x| x.global_avg_pool());
    check("subsampling", [3, 4, 6], |x| x.apply(Subsampling { window: k(2).stride(2) }));
    check("subsampling, overlapping", [2, 5, 5], |x| {
        x.apply(Subsampling { window: k(3).stride(2) })
    });
}

#[test]
fn normalisations() {
    check("batch", [3, 3, 4], |x| x.batch_norm());
    check("batch after a convolution", [3, 1, 2], |x| x.conv_bn(4, 1));
    for (name, over) in [("sum", AlphaOver::Sum), ("mean", AlphaOver::Mean)] {
        check(name, [7, 2, 3], |x| x.lrn(5, 0.7, 0.75, 2.0, over));
        check(name, [2, 2, 2], |x| x.lrn(3, 0.5, 1.5, 1.0, over));
    }
}

#[test]
fn elementwise_ops() {
    for op in [Activation::Relu, Activation::Sigmoid, Activation::ScaledTanh] {
        check(&format!("{op:?}"), [2, 3, 4], |x| x.apply(op));
    }
    check("dropout", [4, 3, 3], |x| x.dropout(0.4));
    check("times", [2, 2, 2], |x| x.apply(MulConstant { factor: -0.3 }));
    check("softmax", [5, 1, 1], |x| x.flatten().softmax());
}

#[test]
fn combinations() {
    check("add", [2, 3, 3], |x| x.conv(2, 1) + x);
    check("twice itself", [2, 3, 3], |x| x + x);
    check("concat", [3, 3, 2], |x| concat([x.conv(2, 1), x, x.conv(1, 1)]));
    check("concat of vectors", [3, 1, 1], |x| concat([x.flatten(), x.linear(2)]));
    check("scale", [3, 3, 2], |x| x.scale(x.global_avg_pool()));
    check("scale by a vector", [3, 3, 2], |x| x.scale(x.global_avg_pool().linear(3)));
    check("slice", [5, 2, 3], |x| x.slice(1, 3));
    check("pad", [2, 2, 3], |x| x.pad_channels(1, 3));
    check("subsample", [2, 5, 4], |x| x.subsample(2));
    check("flatten", [2, 2, 3], |x| x.flatten());
}

#[test]
fn loss_with_smoothing_and_auxiliary_heads() {
    let graph = net("heads", [3, 4, 4], |x| {
        let x = x.conv(4, k(3).pad(1)).sigmoid();
        x.global_avg_pool().linear(5).output("aux", 0.3);
        x.conv(5, 1).global_avg_pool()
    });
    for smoothing in [0.0, 0.1] {
        check_loss("heads", graph.clone().unwrap(), 3, |engine, outputs| {
            engine.loss(outputs, &[4, 0, 2], smoothing)
        });
    }
}
