//! Weights and graphs to and from the file formats of others

#![forbid(unsafe_code)]
