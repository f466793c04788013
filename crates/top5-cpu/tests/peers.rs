//! The engine against PyTorch: every file of `shared/reference` whose network is in the zoo.

use top5_cpu::{CpuEngine, Isa, Options};
use top5_graph::Graph;
use top5_testkit::oracle::{self, Tolerances, check_forward, check_training};

fn graph(name: &str) -> Graph {
    top5_zoo::network(name).unwrap().graph().unwrap()
}

fn forward(name: &str, options: &Options, tolerance: f64) {
    let Some(case) = oracle::forward(name) else { return };
    let [channels, height, width] = case.input.shape[1..] else { panic!("{name}: not images") };
    let graph = graph(name).with_input([channels, height, width]).unwrap();
    assert_eq!(graph.param_count(), case.parameters, "{name}");
    let mut engine = CpuEngine::new(graph, case.input.shape[0], options).unwrap();
    check_forward(&mut engine, &case, tolerance);
}

fn train(name: &str, options: &Options, tolerances: Tolerances) {
    let Some(case) = oracle::training(name) else { return };
    let mut engine = CpuEngine::new(graph(name), case.batch.shape[0], options).unwrap();
    check_training(&mut engine, &case, tolerances);
}

#[test]
fn lenet_equals_pytorch_on_every_instruction_set() {
    for isa in Isa::available() {
        let options = Options { isa: Some(isa), exact: true, ..Options::default() };
        forward("lenet", &options, 1e-6);
        let tolerances =
            Tolerances { first_loss: 1e-6, losses: 1e-6, gradients: 1e-5, state: Some(1e-5) };
        train("lenet", &options, tolerances);
    }
}
