//! What must hold whatever the weights: identities between the rules, completeness, and the same bytes on any threads.

use top5_cpu::{CpuDevice, Options};
use top5_explain::method::perturb::Grid;
use top5_explain::{Explainer, Method, Target};
use top5_graph::{Device, Graph, Retain, k, net};
use top5_testkit::close::close;
use top5_testkit::oracle::{image, weights_for};

fn explainer(graph: &Graph, threads: usize) -> Explainer {
    let options = Options { threads: Some(threads), exact: true, ..Options::default() };
    let device = CpuDevice::new(&options).unwrap();
    let network = device.network(graph, weights_for(graph), Retain::Tensors).unwrap();
    Explainer::new(network, None, 3).unwrap()
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
    let map = ask(&mut explainer, &Method::IntegratedGradients { steps: 300 }, &image).map;
    let score =
        |explainer: &mut Explainer, image: &[f32]| explainer.logits(image).unwrap().data()[1];
    let difference = score(&mut explainer, &image) - score(&mut explainer, &vec![0.0; image.len()]);
    let sum: f32 = map.values().iter().sum();
    assert!((sum - difference).abs() < 2e-3 * difference.abs().max(0.1), "{sum} {difference}");
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
