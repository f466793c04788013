//! What a network is: a graph of layers with shapes, parameters and costs, and the trait of the engines that run it

#![forbid(unsafe_code)]

pub mod random;
