//! The three forms of ResNeXt's block have the same weights, cut differently.

use top5_graph::{Graph, Tensor, Weights};
use top5_zoo::forms::{Form, join, split};
use top5_zoo::network;

fn graph(name: &str) -> Graph {
    network(name).unwrap().graph().unwrap()
}

/// Weights of which every value says where it was.
fn numbered(graph: &Graph) -> Weights {
    let mut next = 0.0;
    let mut tensor = |shape: &[usize]| {
        let values = (0..shape.iter().product()).map(|_| {
            // Few enough to be exact, a prime so that no part is like another.
            next = (next + 1.0) % 8_388_593.0;
            next
        });
        Tensor::new(shape, values.collect()).unwrap()
    };
    graph.params().map(|(name, param)| (name, tensor(&param.shape))).collect()
}

#[test]
fn forms_share_their_weights() {
    let whole = numbered(&graph("resnext50_32x4d"));
    for (form, name) in [(Form::A, "resnext50_32x4d_a"), (Form::B, "resnext50_32x4d_b")] {
        let parts = split(&whole, 32, form);
        assert_eq!(parts.check(&graph(name)), Ok(()));
        assert_eq!(join(&parts), whole);
    }
}

#[test]
fn path_has_its_rows_and_columns() {
    let tensor = |shape: &[usize]| {
        let count = shape.iter().product::<usize>() as u16;
        Tensor::new(shape, (0..count).map(f32::from).collect()).unwrap()
    };
    let mut whole = Weights::new();
    whole.insert("layer1.0.conv2.weight", tensor(&[4, 1, 1, 1]));
    whole.insert("layer1.0.conv3.weight", tensor(&[2, 4, 1, 1]));
    whole.insert("conv1.weight", tensor(&[4, 1, 1, 1]));
    let parts = split(&whole, 2, Form::A);
    let part = |name: &str| parts.tensor(name).unwrap().data();
    assert_eq!(part("layer1.0.paths.1.conv2.weight"), [2.0, 3.0]);
    assert_eq!(part("layer1.0.paths.1.conv3.weight"), [2.0, 3.0, 6.0, 7.0]);
    assert_eq!(part("conv1.weight"), [0.0, 1.0, 2.0, 3.0]);
    assert!(split(&whole, 2, Form::B).tensor("layer1.0.conv3.weight").is_some());
}

#[test]
fn weights_that_do_not_fit_stay_as_they_are() {
    let whole = numbered(&graph("resnext50_32x4d"));
    let error = split(&whole, 7, Form::A).check(&graph("resnext50_32x4d_a")).unwrap_err();
    assert!(!error.missing.is_empty() && !error.unexpected.is_empty(), "{error}");
    let mut parts = split(&whole, 32, Form::B);
    parts.remove("layer1.0.paths.5.conv2.weight");
    let joined = join(&parts);
    assert!(joined.tensor("layer1.0.conv2.weight").is_none());
    assert!(joined.tensor("layer1.0.paths.6.conv2.weight").is_some());
    assert!(joined.tensor("layer1.0.conv1.weight").is_some());
}
