//! Dense forms of the paper's networks on photographs: at the network's own input they are the network, and on larger
//! images they are its classifier, slid over the feature map of the whole image.

use std::fs;
use std::path::PathBuf;

use top5_cpu::{CpuDevice, Options};
use top5_data::{Image, Limits, Preprocess, read_image};
use top5_eval::{Part, named};
use top5_graph::random::{Stream, hash};
use top5_graph::{
    DenseForm, Device, Family, Graph, Network, NodeId, Retain, SessionOptions, Shape, Tensor,
    Weights, net,
};
use top5_testkit::oracle::shared;
use top5_zoo::network;

/// He et al.'s initialisation, so that logits are of an ordinary size.
fn weights(graph: &Graph) -> Weights {
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let mut stream = Stream::new(3, hash(&name));
        let fan: usize = shape[1..].iter().product();
        let deviation = (2.0 / fan as f32).sqrt();
        let values =
            (0..shape.iter().product())
                .map(|_| {
                    if shape.len() == 1 {
                        0.01
                    } else {
                        deviation * 3.46 * (stream.uniform() - 0.5)
                    }
                })
                .collect();
        (name, Tensor::new(shape, values).unwrap())
    };
    graph.params().map(|(name, param)| (name, param.shape.clone())).map(tensor).collect()
}

/// The first photographs of the shared samples.
fn photographs(count: usize) -> Option<Vec<Image>> {
    let folder = shared()?.join("data/imagenet-samples");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: &PathBuf| read_image(path, &Limits::default()).unwrap();
    Some(files.iter().take(count).map(read).collect())
}

/// The layers from the first flattening on, for a map of this shape.
fn classifier(graph: &Graph, flatten: NodeId, shape: [usize; 3]) -> Graph {
    net("classifier", shape, |x| {
        graph.nodes()[flatten.index() + 1..].iter().fold(x.flatten(), |x, node| {
            let family = node.spec.family;
            if family == Family::Linear {
                x.linear(node.shape().channels()).named(&node.name)
            } else if family == Family::Activation {
                x.relu()
            } else {
                x
            }
        })
    })
    .unwrap()
}

/// Networks at three sizes; the largest ones where all is asked for.
fn cases() -> Vec<&'static str> {
    match std::env::var_os("TOP5_EXHAUSTIVE") {
        None => vec!["alexnet"],
        Some(_) => vec!["alexnet", "vgg11", "overfeat_fast", "overfeat_accurate"],
    }
}

fn close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(0f32, |scale, x| scale.max(x.abs()));
    let worst = got.iter().zip(want).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(scale > 0.01 && worst <= 1e-5 * scale, "{what}: {worst} of {scale}");
}

#[test]
fn exhaustive_dense_forms_are_the_network_slid_over_the_feature_map() {
    let Some(photographs) = photographs(3) else { return };
    let device = CpuDevice::new(&Options::default()).unwrap();
    for name in cases() {
        let graph = network(name).unwrap().graph().unwrap().inference();
        let packed = device.network(&graph, weights(&graph), Retain::Tensors).unwrap();
        own_input(name, &graph, packed.as_ref(), &photographs[0]);
        for (image, shorter) in photographs.iter().zip([256, 288, 320]) {
            for every_offset in [false, true] {
                let form = DenseForm { every_offset, ..DenseForm::default() };
                slid(name, &graph, packed.as_ref(), image, shorter, form);
            }
        }
    }
}

/// At the network's own input.
fn own_input(name: &str, graph: &Graph, packed: &dyn Network, photograph: &Image) {
    let [_, height, width] = graph.input();
    let mut input = vec![0.0; graph.input().iter().product()];
    Preprocess::imagenet(height, width).apply(photograph, &mut input);
    let logits = |form: &Graph| {
        let session = packed.session(form, &SessionOptions::inference(1));
        session.unwrap().forward(&input).unwrap().logits.into_data()
    };
    let own = logits(graph);
    for every_offset in [false, true] {
        let form = DenseForm { every_offset, ..DenseForm::default() };
        let dense = graph.dense_form(graph.input(), form).unwrap();
        close(&format!("{name} at its own input"), &logits(&dense), &own);
    }
}

/// At a larger one.
fn slid(
    name: &str,
    graph: &Graph,
    packed: &dyn Network,
    photograph: &Image,
    shorter: usize,
    form: DenseForm,
) {
    let [channels, height, width] = graph.input();
    let protocol = named(&format!("vgg-dense@{shorter}"), [height, width]).unwrap();
    let Part::Dense(whole) = &protocol.parts[0] else { panic!("{protocol:?}") };
    let view = whole.views([photograph.height, photograph.width], [height, width])[0];
    let mut input = vec![0.0; channels * view.size[0] * view.size[1]];
    view.apply(photograph, &Preprocess::imagenet(height, width), &mut input);
    let dense = graph.dense_form([channels, view.size[0], view.size[1]], form).unwrap();

    // The map that the classifier reads, and how far its elements are from each other.
    let flatten = graph.nodes().iter().find(|node| matches!(node.shape(), Shape::Flat(_))).unwrap();
    let pool = graph.node(flatten.inputs[0]);
    let Shape::Map([c, h, w]) = pool.shape() else { panic!("{pool:?}") };
    let step = if form.every_offset { pool.spec.window.unwrap().stride } else { [1, 1] };
    let kept = dense.find(&pool.name).unwrap();
    let options = SessionOptions { keep: vec![kept.id], ..SessionOptions::inference(1) };
    let forward = packed.session(&dense, &options).unwrap().forward(&input).unwrap();
    let (map, features) = (&forward.logits, &forward.kept[0]);
    let Shape::Map([_, rows, columns]) = dense.logits().shape() else { panic!() };
    let [_, _, _, feature_columns] = features.shape() else { panic!() };
    let (places, plane) = (rows * columns, features.data().len() / c);
    assert!(places > 1, "{name}");

    let classifier = classifier(graph, flatten.id, [c, h, w]);
    let mut session = packed.session(&classifier, &SessionOptions::inference(1)).unwrap();
    for place in [0, places / 2, places - 1] {
        let at = [place / columns, place % columns];
        let mut window = Vec::with_capacity(c * h * w);
        for channel in 0..c {
            for y in 0..h {
                for x in 0..w {
                    let (y, x) = (at[0] + y * step[0], at[1] + x * step[1]);
                    window.push(features.data()[channel * plane + y * feature_columns + x]);
                }
            }
        }
        let want = session.forward(&window).unwrap().logits.into_data();
        let got: Vec<f32> = map.data().iter().skip(place).step_by(places).copied().collect();
        close(&format!("{name} at {:?}, place {at:?}, {form:?}", view.size), &got, &want);
    }
}
