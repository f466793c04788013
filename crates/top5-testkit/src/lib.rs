//! Test kit: f64 reference ops, comparison, conformance suite and the reader of the reference files

#![forbid(unsafe_code)]
