//! The analyses of "Visualizing and Understanding Convolutional Networks" (Zeiler & Fergus, ECCV 2014, arXiv:1311.2901),
//! for any network: what each map answers to most (figures 2 and 4), what it ignores (figure 5), first-layer filters
//! (figure 6), and whether parts of objects correspond (table 1).

pub mod correspondence;
pub mod field;
pub mod filters;
pub mod gallery;
pub mod invariance;
pub mod strongest;
