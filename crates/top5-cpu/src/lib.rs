//! The CPU engine: a graph lowered to planned steps over the kernels

#![forbid(unsafe_code)]
