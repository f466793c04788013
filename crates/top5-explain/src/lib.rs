//! What a network sees, as ZFNet taught (Zeiler & Fergus, ECCV 2014) and as the field learnt since, for any engine.
//!
//! Everything stands on two calls of [`Session`](top5_graph::Session): forward, and backward from a node by a
//! [`Rule`](top5_graph::Rule). [`signal`] makes them; [`Explainer`] asks a network by any [`Method`]; [`picture`], [`npy`] and
//! [`page`] show what came of it. All is returned as bytes: nothing is written here.

#![forbid(unsafe_code)]

pub mod blocks;
mod error;
pub mod layers;
mod map;
pub mod method;
pub mod npy;
pub mod page;
pub mod picture;
pub mod probe;
pub mod receptive;
pub mod sanity;
pub mod score;
pub mod signal;
pub mod zfnet;

pub use error::ExplainError;
pub use map::{Fact, Map};
pub use method::{Explainer, Explanation, Method, Pace, Target};
