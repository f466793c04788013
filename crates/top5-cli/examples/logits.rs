//! What this engine answers, for others to compare with: `logits NETWORK FOLDER` writes the weights that belong to the
//! names of the network's tensors (those of the reference files), two images and their logits.
//!
//! `scripts/round_trips.py` runs it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use top5::formats::safetensors;
use top5::graph::{Device, Retain, SessionOptions, Weights};
use top5::{Options, zoo};
use top5_testkit::oracle;

const IMAGES: usize = 2;

pub(crate) fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [network, folder] = &arguments[..] else { bail!("usage: logits NETWORK FOLDER") };
    let folder = Path::new(folder);
    let graph = zoo::network(network)?.graph()?;
    let weights = oracle::weights_for(&graph);
    fs::write(folder.join("weights.safetensors"), safetensors::write(&weights, &BTreeMap::new()))?;

    let [channels, height, width] = graph.input();
    let images = oracle::image("input", &[IMAGES, channels, height, width]);
    let network = top5::device(&Options::default())?.network(&graph, weights, Retain::Nothing)?;
    let mut session = network.session(&graph, &SessionOptions::inference(IMAGES))?;
    let logits = session.forward(images.data())?.logits;
    let answers = [("images".to_owned(), images), ("logits".to_owned(), logits)];
    let answers: Weights = answers.into_iter().collect();
    fs::write(folder.join("logits.safetensors"), safetensors::write(&answers, &BTreeMap::new()))?;
    Ok(())
}
