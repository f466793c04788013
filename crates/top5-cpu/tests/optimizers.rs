//! The engine's optimisers are PyTorch's, on every instruction set of this machine.

use top5_cpu::{CpuDevice, Isa, Options};
use top5_testkit::optimizers;

#[test]
fn twenty_steps_are_pytorchs_within_a_millionth() {
    for isa in Isa::available() {
        let options = Options { isa: Some(isa), exact: true, ..Options::default() };
        optimizers::check(&CpuDevice::new(&options).unwrap(), 1e-6);
    }
}
