//! The engine does what every engine must do, on every instruction set of this machine, with any number of threads.

use top5_cpu::{CpuDevice, Isa, Options};
use top5_testkit::{Tolerance, conformance};

fn conforms(options: &Options) {
    conformance(&|| Box::new(CpuDevice::new(options).unwrap()), Tolerance::F32);
}

#[test]
fn engine_conforms_on_every_instruction_set() {
    for isa in Isa::available() {
        conforms(&Options { isa: Some(isa), exact: true, ..Options::default() });
    }
}

#[test]
fn engine_conforms_with_more_threads_than_work() {
    conforms(&Options { threads: Some(5), oversubscribe: true, exact: true, ..Options::default() });
}

#[test]
fn engine_conforms_with_its_own_choice_of_kernels() {
    conforms(&Options::default());
}
