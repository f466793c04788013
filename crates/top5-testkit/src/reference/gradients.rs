//! Every backward rule against central differences in f64.

use super::array::Array;
use super::compute::Mode;
use super::pass::{run, run_back};
use super::training::loss;
use super::{Values, wide, zeros};
use crate::close::assert_close;
use crate::oracle::values;
use top5_graph::ops::{
    Activation, AlphaOver, Conv2d, EuclideanRbf, MulConstant, Subsampling, TableConv2d,
};
use top5_graph::{Graph, NodeId, Statistics, Targets, Var, concat, k, net};

const SEED: u64 = 11;

fn mode() -> Mode<'static> {
    Mode { statistics: Statistics::Batch, seed: Some(SEED), ..Mode::inference() }
}

/// Random parameters, and random images.
fn random(graph: &Graph, n: usize) -> (Values, Vec<f64>) {
    let images = wide(&values("images", n * graph.nodes()[0].shape().elements()));
    let mut params = zeros(graph, false);
    for ((name, _), values_of) in graph.params().zip(params.iter_mut().flatten()) {
        *values_of = wide(&values(&name, values_of.len()));
    }
    (params, images)
}

/// `(f(x + h) − f(x − h)) / 2h`
fn difference(mut f: impl FnMut(f64) -> f64) -> f64 {
    let h = 1e-5;
    (f(h) - f(-h)) / (2.0 * h)
}

/// Compares the gradients of `loss` with respect to the images and all learned parameters.
fn check_loss(
    name: &str,
    graph: &Graph,
    n: usize,
    loss: impl Fn(&[Array]) -> (f64, Vec<(NodeId, Array)>),
) {
    let (mut params, mut images) = random(graph, n);
    let outputs = |params: &Values, images: &[f64]| run(graph, params, images, &mode(), None);
    let forward = outputs(&params, &images).unwrap();
    let (_, starts) = loss(&forward.outputs);
    let back = run_back(graph, &params, &forward, starts, &mode(), None);
    let (dactivations, dparams) = back.unwrap();
    let value = |params: &Values, images: &[f64]| loss(&outputs(params, images).unwrap().outputs).0;
    let want: Vec<f64> = (0..images.len())
        .map(|i| {
            let x = images[i];
            let slope = difference(|h| {
                images[i] = x + h;
                value(&params, &images)
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
                    let w = params[node][p][i];
                    let slope = difference(|h| {
                        params[node][p][i] = w + h;
                        value(&params, &images)
                    });
                    params[node][p][i] = w;
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
    let graph = net(name, input, body).unwrap();
    check_loss(name, &graph, 2, |outputs| {
        let id = graph.logits().id;
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
    })
    .unwrap();
    let shares = [[0.5, 0.0, 0.25, 0.25, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0], [0.2; 5]].concat();
    for targets in [Targets::Classes(&[4, 0, 2]), Targets::Distributions(&shares)] {
        for smoothing in [0.0, 0.1] {
            check_loss("heads", &graph, 3, |outputs| loss(&graph, outputs, targets, smoothing));
        }
    }
}
