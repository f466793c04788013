//! The ImageNet champions as graphs, one page per paper

#![forbid(unsafe_code)]
