//! What a network sees, as ZFNet taught (Zeiler & Fergus, ECCV 2014) and as the field learnt since, for any engine.
//!
//! Everything stands on two calls of [`Session`](top5_graph::Session): forward, and backward from a node by a
//! [`Rule`](top5_graph::Rule).

#![forbid(unsafe_code)]

pub mod zfnet;
