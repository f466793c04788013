//! How fast images become batches: `loading DATA [THREADS [ROUNDS]]` goes through the training part of some data as ImageNet's networks
//! are trained on it, a random part resized to 224 and mirrored, in batches of 64, and prints the images per second, a line for each
//! round.
//!
//! `scripts/loading_beside_torchvision.py` runs it beside torchvision.

#![expect(clippy::print_stdout, reason = "a program that measures prints what it measured")]

use std::time::Instant;

use anyhow::{Context, Result, bail};
use top5::data::{Augment, Loader, LoaderOptions, OpenOptions, Preprocess, open};

pub(crate) fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, usual: usize| match arguments.get(at) {
        Some(text) => text.parse().with_context(|| format!("{text} is no number")),
        None => Ok(usual),
    };
    let (threads, rounds) = (number(1, 2)?, number(2, 1)?);
    let Some(data) = arguments.first() else { bail!("usage: loading DATA [THREADS [ROUNDS]]") };
    let splits = open(data, &OpenOptions { validation: 0.0, ..OpenOptions::default() })?;
    let augment = vec![
        Augment::RandomResizedCrop {
            scale: [0.08, 1.0],
            ratio: [0.75, 4.0 / 3.0],
            random_filter: false,
        },
        Augment::FlipHorizontal { probability: 0.5 },
    ];
    let options = LoaderOptions { shuffle: true, augment, ..LoaderOptions::evaluation(64) };
    let loader = Loader::new(splits.train, Preprocess::imagenet(224, 224), options);
    let loader = loader.threads(threads);
    for round in 0..rounds {
        let start = Instant::now();
        let mut images = 0;
        for batch in loader.epoch(round as u64, 0) {
            images += batch?.labels.len();
        }
        println!("{:.1}", images as f64 / start.elapsed().as_secs_f64());
    }
    Ok(())
}
