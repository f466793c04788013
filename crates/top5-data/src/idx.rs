//! IDX files: MNIST and Fashion-MNIST.
