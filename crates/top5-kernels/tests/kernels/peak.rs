//! The rate of multiply-adds: what is counted.

use top5_kernels::peak::multiply_adds;
use top5_kernels::{Isa, LANES, Threads};

/// Jobs per thread.
const JOBS: usize = 8;

#[test]
fn operations_are_counted_on_every_instruction_set() {
    for isa in Isa::available() {
        let count = |threads, rounds| multiply_adds(isa, threads, rounds);
        let [one, two, three] = [1, 2, 3].map(Threads::oversubscribed);
        let chains = count(&one, 1) / (2 * LANES * JOBS) as u64;
        assert!((3..=12).contains(&chains), "{isa}: {chains} chains");
        assert_eq!(count(&one, 1000), 1000 * count(&one, 1), "{isa}");
        let tens = 10 * three.count() as u64;
        assert_eq!(count(&three, 10), tens * count(&one, 1), "{isa}");
        assert_eq!(count(&two, 0), 0, "{isa}");
    }
}
