//! Evaluation: top-1 and top-5 under the protocols of the papers

#![forbid(unsafe_code)]
