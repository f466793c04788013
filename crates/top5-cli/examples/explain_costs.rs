//! What looking inside costs, in forward passes: `explain_costs [ROUNDS]` prints, for networks with random weights, how long a
//! DeconvNet projection, Grad-CAM, occlusion and the search of a gallery take beside plain inference, on one thread. Rounds take
//! turns, and the fastest of each counts; where the system tells it, time is that of the processor, so that ratios compare like
//! with like on a busy machine.

use std::hint::black_box;
use std::io::Write;
use std::sync::LazyLock;
use std::time::Instant;

use anyhow::Result;
use top5::explain::signal::{Path, Start};
use top5::explain::zfnet::gallery::{Search, stages};
use top5::explain::{Explainer, Method, Target};
use top5::graph::{Device, Graph, Network, NodeId, Retain, Rule, SessionOptions};
use top5::{Options, zoo};
use top5_testkit::oracle::image;

/// Images at once where many are looked at.
const BATCH: usize = 8;
/// Images of the gallery.
const PHOTOGRAPHS: usize = 64;
/// A square and its steps on 224 pixels, which make 20 by 20 places.
const SQUARE: [usize; 2] = [34, 10];

/// The fastest of several rounds of each, in seconds; they take turns.
fn fastest<const N: usize>(
    rounds: usize,
    mut work: [&mut dyn FnMut() -> Result<()>; N],
) -> Result<[f64; N]> {
    let mut best = [f64::INFINITY; N];
    for _ in 0..rounds {
        for (work, best) in work.iter_mut().zip(&mut best) {
            let start = now();
            work()?;
            *best = best.min(now() - start);
        }
    }
    Ok(best)
}

/// Seconds that the processor has spent on this thread (Linux), or that have passed.
fn now() -> f64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| START.elapsed().as_secs_f64(), |nanoseconds| 1e-9 * nanoseconds)
}

/// Takes what was made, so that it is made.
fn used<T>(value: T) -> Result<()> {
    black_box(value);
    Ok(())
}

struct Loaded {
    graph: Graph,
    network: std::sync::Arc<dyn Network>,
}

fn load(name: &str) -> Result<Loaded> {
    let graph = zoo::network(name)?.graph()?.inference();
    let weights = top5::train::initialise(&graph, 1);
    let options = Options { threads: Some(1), ..Options::default() };
    let network = top5::device(&options)?.network(&graph, weights, Retain::Tensors)?;
    Ok(Loaded { graph, network })
}

fn images(graph: &Graph, count: usize) -> Vec<f32> {
    image("input", &[&[count], &graph.input()[..]].concat()).into_data()
}

/// DeconvNet's projection of the default layer's strongest activation, and Grad-CAM, over one forward pass.
fn signals(name: &str, rounds: usize) -> Result<String> {
    let Loaded { graph, network } = load(name)?;
    let image = images(&graph, 1);
    let mut plain = network.session(&graph, &SessionOptions::inference(1))?;
    let mut explainer = Explainer::new(network, None, 1)?;
    let mut other = Explainer::new(explainer.network().clone(), None, 1)?;
    let layer = explainer.layer().expect("the network has maps");
    let path = Path::projection(&graph, layer, Rule::deconvnet());
    let times = fastest(
        rounds,
        [
            &mut || used(plain.forward(&image)?),
            &mut || {
                let projector = explainer.projector(&path)?;
                projector.forward(&image)?;
                used(projector.backward(&[Start::Strongest(0)])?)
            },
            &mut || {
                let said =
                    other.explain(&Method::GradCam, &image, Target::class(3), &mut |_, _| ())?;
                used(said)
            },
        ],
    )?;
    let [forward, deconvnet, cam] = times.map(|seconds| 1e3 * seconds);
    Ok(format!(
        "{name}: forward {forward:.1} ms; DeconvNet from {} {deconvnet:.1} ms, {:.2} passes; Grad-CAM {cam:.1} ms, {:.2} passes",
        graph.node(layer).name,
        deconvnet / forward,
        cam / forward
    ))
}

/// Occlusion with 400 places beside the inference of as many images in batches.
fn occlusion(name: &str, rounds: usize) -> Result<String> {
    let Loaded { graph, network } = load(name)?;
    let (image, batch) = (images(&graph, 1), images(&graph, BATCH));
    let mut plain = network.session(&graph, &SessionOptions::inference(BATCH))?;
    let mut explainer = Explainer::new(network, None, BATCH)?;
    let [size, stride] = SQUARE;
    let method = Method::Occlusion { size, stride };
    let mut places = 0;
    let times = fastest(
        rounds,
        [&mut || (0..400 / BATCH).try_for_each(|_| used(plain.forward(&batch)?)), &mut || {
            let mut count = |_, all| places = all;
            let said = explainer.explain(&method, &image, Target::class(3), &mut count)?;
            used(said)
        }],
    )?;
    let [inference, occlusion] = times;
    Ok(format!(
        "{name}: 400 images in batches of {BATCH} {inference:.1} s; occlusion at {places} places {occlusion:.1} s, ratio {:.3}",
        occlusion / inference
    ))
}

/// The search of a gallery of all maps of the stages beside plain inference, and a projection.
fn gallery(name: &str, rounds: usize) -> Result<String> {
    let Loaded { graph, network } = load(name)?;
    let layers: Vec<NodeId> = stages(&graph);
    let maps = |&layer: &NodeId| (0..graph.node(layer).shape().channels()).collect();
    let maps: Vec<Vec<usize>> = layers.iter().map(maps).collect();
    let count: usize = maps.iter().map(Vec::len).sum();
    let batch = images(&graph, BATCH);
    let mut plain = network.session(&graph, &SessionOptions::inference(BATCH))?;
    let keep = SessionOptions { keep: layers.clone(), ..SessionOptions::inference(BATCH) };
    let mut keeping = network.session(&graph, &keep)?;
    let mut explainer = Explainer::new(network, None, 1)?;
    let path = Path::projection(&graph, layers[layers.len() / 2], Rule::deconvnet());
    let image = images(&graph, 1);
    let times = fastest(
        rounds,
        [
            &mut || {
                let mut batches = 0..PHOTOGRAPHS / BATCH;
                batches.try_for_each(|_| used(plain.forward(&batch)?))
            },
            &mut || {
                let mut search = Search::new("", 9, maps.clone());
                for first in (0..PHOTOGRAPHS).step_by(BATCH) {
                    let kept = keeping.forward(&batch)?.kept;
                    let numbers: Vec<usize> = (first..first + BATCH).collect();
                    search.observe(&numbers, &kept, 0)?;
                }
                used(search)
            },
            &mut || {
                let projector = explainer.projector(&path)?;
                projector.forward(&image)?;
                used(projector.backward(&[Start::Strongest(0)])?)
            },
        ],
    )?;
    let [inference, search, projection] = times;
    Ok(format!(
        "{name}: {PHOTOGRAPHS} photographs {inference:.2} s; with the search of {count} maps of {} layers {search:.2} s, ratio \
         {:.3}; a projection from {} {:.1} ms",
        layers.len(),
        search / inference,
        graph.node(path.from).name,
        1e3 * projection
    ))
}

pub(crate) fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(5), |rounds| rounds.parse())?;
    let mut out = std::io::stdout();
    for name in ["alexnet", "vgg16", "resnet50", "googlenet"] {
        writeln!(out, "{}", signals(name, 4 * rounds)?)?;
    }
    writeln!(out, "{}", gallery("vgg16", rounds)?)?;
    writeln!(out, "{}", occlusion("resnet50", rounds.div_ceil(3))?)?;
    Ok(())
}
