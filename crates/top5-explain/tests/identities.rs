//! What must hold whatever the weights: identities between the rules, completeness, and the same bytes on any threads.

use top5_cpu::{CpuDevice, Options};
use top5_explain::method::perturb::Grid;
use top5_explain::signal::{Path, Start};
use top5_explain::{Explainer, Method, Target};
use top5_graph::{Device, Graph, Retain, Rule, Tensor, Weights, k, net};
use top5_testkit::close::close;
use top5_testkit::oracle::{image, weights_for};

fn explainer(graph: &Graph, threads: usize) -> Explainer {
    explainer_of(graph, weights_for(graph), threads)
}

fn explainer_of(graph: &Graph, weights: Weights, threads: usize) -> Explainer {
    let options = Options { threads: Some(threads), exact: true, ..Options::default() };
    let device = CpuDevice::new(&options).unwrap();
    let network = device.network(graph, weights, Retain::Tensors).unwrap();
    Explainer::new(network, None, 3).unwrap()
}

/// The rules of gradient, DeconvNet and guided backpropagation.
fn rules() -> [Rule; 3] {
    [Rule::gradient(), Rule::deconvnet(), Rule::guided()]
}

fn input(graph: &Graph) -> Vec<f32> {
    image("input", &[&[1], &graph.input()[..]].concat()).into_data()
}

fn ask(explainer: &mut Explainer, method: &Method, image: &[f32]) -> top5_explain::Explanation {
    explainer.explain(method, image, Target::class(1), &mut |_, _| ()).unwrap()
}

fn signal(explainer: &mut Explainer, method: Method, image: &[f32]) -> Vec<f32> {
    ask(explainer, &method, image).signal.unwrap().into_data()
}

fn linear() -> Graph {
    let graph = net("linear", [3, 9, 9], |x| x.conv(4, k(3).pad(1)).conv(5, 3).flatten().linear(3));
    graph.unwrap()
}

#[test]
fn without_relu_all_rules_are_one() {
    let graph = linear();
    let (mut explainer, image) = (explainer(&graph, 1), input(&graph));
    let plain = signal(&mut explainer, Method::Gradient, &image);
    assert_eq!(plain, signal(&mut explainer, Method::Guided, &image));
    assert_eq!(plain, signal(&mut explainer, Method::Deconvnet, &image));
}

#[test]
fn where_all_is_positive_all_rules_are_one() {
    let graph = net("positive", [3, 10, 10], |x| {
        let x = x.conv(4, k(3).pad(1)).relu().max_pool(k(3).stride(2).ceil());
        x.conv(5, 3).relu().flatten().linear(6).relu().linear(3)
    });
    let graph = graph.unwrap();
    let positive = |tensor: &Tensor| -> Tensor {
        let values = tensor.data().iter().map(|v| v.abs() + 1e-3).collect();
        Tensor::new(tensor.shape(), values).unwrap()
    };
    let weights = weights_for(&graph);
    let weights =
        weights.iter().map(|(name, tensor)| (name.to_owned(), positive(tensor))).collect();
    let mut explainer = explainer_of(&graph, weights, 1);
    let image: Vec<f32> = input(&graph).into_iter().map(|v| v.abs() + 1e-3).collect();
    let [plain, deconvnet, guided] = [Method::Gradient, Method::Deconvnet, Method::Guided]
        .map(|method| signal(&mut explainer, method, &image));
    assert!(plain.iter().any(|&v| v > 0.0) && plain.iter().all(|&v| v >= 0.0));
    assert_eq!(plain, deconvnet);
    assert_eq!(plain, guided);
}

#[test]
fn unpooling_puts_signals_where_the_maxima_were_and_nowhere_else() {
    let windows = [
        k(2).stride(2),
        k(2).stride(2).ceil(),
        k(3).stride(2),
        k(3).stride(2).ceil(),
        k(3).stride(2).pad(1),
        k([2, 3]).stride([3, 1]),
    ];
    for (number, window) in windows.into_iter().enumerate() {
        for size in [[7, 9], [8, 8]] {
            let graph = net("pooled", [2, size[0], size[1]], |x| {
                x.conv(3, k(3).pad(1))
                    .named("maps")
                    .max_pool(window)
                    .named("pool")
                    .flatten()
                    .linear(2)
            });
            let graph = graph.unwrap();
            let [maps, pool] = ["maps", "pool"].map(|name| graph.find(name).unwrap().id);
            let (mut explainer, image) = (explainer(&graph, 2), input(&graph));
            for rule in rules() {
                let path = Path { from: pool, to: vec![maps], rule };
                let projector = explainer.projector(&path).unwrap();
                projector.forward(&image).unwrap();
                let switches = projector.session().switches(pool).unwrap();
                // Whole numbers, whose sums are exact in any order.
                let values: Vec<f32> = (0..switches.len()).map(|i| (i % 11) as f32 - 4.0).collect();
                let got = projector.backward(&[Start::Elements(values.clone())]).unwrap().remove(0);
                let plane = size[0] * size[1];
                let mut want = vec![0.0; 3 * plane];
                let per_map = switches.len() / 3;
                for (at, (&switch, value)) in switches.iter().zip(values).enumerate() {
                    want[at / per_map * plane + switch as usize] += value;
                }
                assert_eq!(got.shape(), [1, 3, size[0], size[1]]);
                assert_eq!(got.data(), want, "window {number}, {size:?}, {rule:?}");
            }
        }
    }
}

/// The weights of a network without the batch normalisations of another one, which its convolutions take up.
fn folded(normalised: &Weights, layers: usize) -> Weights {
    let mut weights = normalised.clone();
    for layer in 1..=layers {
        let mut take =
            |name: &str| weights.remove(&format!("bn{layer}.{name}")).unwrap().into_data();
        let [gamma, beta, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(&mut take);
        let scale: Vec<f32> =
            gamma.iter().zip(&variance).map(|(g, v)| g / (v + 1e-5).sqrt()).collect();
        for part in ["weight", "bias"] {
            let name = format!("conv{layer}.{part}");
            let mut tensor = weights.remove(&name).unwrap();
            let per_map = tensor.data().len() / scale.len();
            for (map, values) in tensor.data_mut().chunks_exact_mut(per_map).enumerate() {
                for value in values {
                    *value = match part {
                        "weight" => *value * scale[map],
                        _ => (*value - mean[map]) * scale[map] + beta[map],
                    };
                }
            }
            weights.insert(name, tensor);
        }
    }
    weights
}

#[test]
fn folded_normalisation_is_explained_as_unfolded() {
    let normalised = net("normalised", [3, 12, 12], |x| {
        let x = x.conv(6, k(3).pad(1)).batch_norm().relu().max_pool(k(2).stride(2));
        x.conv(5, 3).batch_norm().relu().flatten().linear(3)
    });
    let plain = net("plain", [3, 12, 12], |x| {
        let x = x.conv(6, k(3).pad(1)).relu().max_pool(k(2).stride(2));
        x.conv(5, 3).relu().flatten().linear(3)
    });
    let (normalised, plain) = (normalised.unwrap(), plain.unwrap());
    let weights = weights_for(&normalised);
    let mut folded = explainer_of(&plain, folded(&weights, 2), 1);
    let mut unfolded = explainer_of(&normalised, weights, 1);
    let image = input(&plain);
    for name in Method::NAMES {
        let mut method = Method::usual(name, 12).unwrap();
        if let Method::Rise { masks, .. } = &mut method {
            *masks = 20;
        }
        let [a, b] = [&mut folded, &mut unfolded].map(|of| ask(of, &method, &image).map);
        close(a.values(), b.values(), 1e-5).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn occlusion_of_a_linear_network_is_gradient_times_input() {
    let graph = linear();
    let (mut explainer, image) = (explainer(&graph, 1), input(&graph));
    let shares = ask(&mut explainer, &Method::GradientTimesInput, &image).map;
    let falls =
        ask(&mut explainer, &Method::Occlusion { size: 3, stride: 3 }, &image).cells.unwrap();
    let grid = Grid::new([9, 9], 3, 3).unwrap();
    let sums: Vec<f32> = (0..grid.count())
        .map(|place| {
            let [top, left, bottom, right] = grid.rectangle(place);
            (top..bottom)
                .flat_map(|y| (left..right).map(move |x| (y, x)))
                .map(|(y, x)| shares.at(y, x))
                .sum()
        })
        .collect();
    close(falls.values(), &sums, 1e-5).unwrap();
}

#[test]
fn integrated_gradients_add_up_to_the_difference_of_scores() {
    let graph = top5_zoo::network("lenet").unwrap().graph().unwrap().inference();
    let (mut explainer, image) = (explainer(&graph, 2), input(&graph));
    let said = ask(&mut explainer, &Method::IntegratedGradients { steps: 300 }, &image);
    let score =
        |explainer: &mut Explainer, image: &[f32]| explainer.logits(image).unwrap().data()[1];
    let difference = score(&mut explainer, &image) - score(&mut explainer, &vec![0.0; image.len()]);
    let sum: f32 = said.map.values().iter().sum();
    assert!((sum - difference).abs() < 2e-3 * difference.abs().max(0.1), "{sum} {difference}");
    // Both are told, since with few points they differ.
    let words = said.notes[0].split(' ').map(|word| word.trim_end_matches([',', '.']));
    let told: Vec<f32> = words.filter_map(|word| word.parse().ok()).collect();
    close(&[told[0], told[2]], &[sum, difference], 1e-3).unwrap();
    assert_eq!(told[1], 300.0);
}

#[test]
fn grad_cam_is_what_its_paper_says() {
    let graph = net("cam", [2, 6, 6], |x| {
        x.conv(3, k(3).pad(1)).relu().named("maps").global_avg_pool().flatten().linear(4)
    });
    let graph = graph.unwrap();
    let (mut explainer, image) = (explainer(&graph, 1), input(&graph));
    assert_eq!(graph.node(explainer.layer().unwrap()).name, "maps");
    let cam = ask(&mut explainer, &Method::GradCam, &image).cells.unwrap();
    // Behind a global mean, a map's mean derivative is its weight in the class over the number of cells.
    let options = top5_graph::SessionOptions {
        keep: vec![graph.find("maps").unwrap().id],
        ..top5_graph::SessionOptions::inference(1)
    };
    let maps = explainer
        .network()
        .session(&graph, &options)
        .unwrap()
        .forward(&image)
        .unwrap()
        .kept
        .remove(0);
    let weights = weights_for(&graph);
    let fc =
        weights.iter().find(|(name, t)| name.ends_with("weight") && t.shape() == [4, 3]).unwrap().1;
    let want: Vec<f32> = (0..36)
        .map(|at| {
            (0..3).map(|c| fc.data()[3 + c] / 36.0 * maps.data()[c * 36 + at]).sum::<f32>().max(0.0)
        })
        .collect();
    close(cam.values(), &want, 1e-5).unwrap();
    let hires = ask(&mut explainer, &Method::HiresCam, &image).cells.unwrap();
    close(hires.values(), &want, 1e-5).unwrap();
}

#[test]
fn every_method_gives_the_same_bytes_on_one_and_two_threads() {
    let graph = top5_zoo::network("lenet").unwrap().graph().unwrap().inference();
    let (mut one, mut two) = (explainer(&graph, 1), explainer(&graph, 2));
    let image = input(&graph);
    for name in Method::NAMES {
        let mut method = Method::usual(name, 28).unwrap();
        if let Method::Rise { masks, .. } = &mut method {
            *masks = 20;
        }
        assert_eq!(ask(&mut one, &method, &image), ask(&mut two, &method, &image), "{name}");
    }
}

#[test]
fn every_network_has_a_default_layer_of_several_cells() {
    for network in top5_zoo::networks() {
        let graph = network.graph().unwrap().inference();
        let layer = top5_explain::layers::default_layer(&graph);
        let layer = layer.unwrap_or_else(|| panic!("{} has none", network.name));
        let [h, w] = graph.node(layer).shape().size();
        assert!(h * w > 1, "{}: {}", network.name, graph.node(layer).name);
    }
}
