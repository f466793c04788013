//! The reference's optimisers are PyTorch's.

use top5_testkit::{ReferenceDevice, optimizers};

/// The bound is that of rounding to f32, of the rates on the way in and of the results on the way out.
#[test]
fn reference_updates_as_pytorch_does() {
    optimizers::check(&ReferenceDevice, 1e-7);
}
