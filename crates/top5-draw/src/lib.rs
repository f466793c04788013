//! Figures as SVG text: the architecture of a network, the history of many, and training curves.
//!
//! Every function is a pure function of its arguments: nothing is written, and equal input gives equal bytes. Text stays text,
//! dark on a light ground; figures carry a title, a description, and a tooltip on each mark.

#![forbid(unsafe_code)]

mod architecture;
mod axis;
mod block;
mod curves;
mod fold;
mod history;
mod layout;
mod names;
mod panels;
mod svg;
mod units;

pub use architecture::architecture;
pub use curves::{Epoch, Run, curves};
pub use history::{Contestant, Entry, history};
pub use panels::{Panel, Series, panels};
pub use svg::{escape, wrapped};
