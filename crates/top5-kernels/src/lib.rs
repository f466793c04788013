//! CPU kernels on slices: the only crate with unsafe code
