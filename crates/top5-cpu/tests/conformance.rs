//! The engine does what every engine must do, on every instruction set of this machine, with any number of threads.

use top5_cpu::{CpuEngine, Isa, Options};
use top5_testkit::conformance;

fn conforms(options: &Options) {
    conformance(&mut |graph, batch| {
        Box::new(CpuEngine::new(graph.clone(), batch, options).unwrap())
    });
}

#[test]
fn engine_conforms_on_every_instruction_set() {
    for isa in Isa::available() {
        conforms(&Options { isa: Some(isa), exact: true, ..Options::default() });
    }
}

#[test]
fn engine_conforms_with_more_threads_than_work() {
    conforms(&Options { threads: Some(5), exact: true, ..Options::default() });
}

#[test]
fn engine_conforms_with_its_own_choice_of_kernels() {
    conforms(&Options::default());
}
