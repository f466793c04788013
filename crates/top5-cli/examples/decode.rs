//! How long decoding takes: `decode FOLDER [ROUNDS]` decodes all images of a folder, on one thread and from memory, and
//! prints the milliseconds per image, a line for each round.
//!
//! `scripts/decode_beside_pillow.py` runs it beside Pillow.

#![expect(clippy::print_stdout, reason = "a program that measures prints what it measured")]

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use top5::data::{Limits, decode};

pub(crate) fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, rounds) = match &arguments[..] {
        [folder] => (folder, 1),
        [folder, rounds] => (folder, rounds.parse().context("ROUNDS is a number")?),
        _ => bail!("usage: decode FOLDER [ROUNDS]"),
    };
    let mut images = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("listing {folder}"))? {
        images.push(fs::read(entry?.path())?);
    }
    for _ in 0..rounds {
        let start = Instant::now();
        for image in &images {
            black_box(decode(black_box(image), &Limits::default())?);
        }
        println!("{:.3}", start.elapsed().as_secs_f64() * 1e3 / images.len() as f64);
    }
    Ok(())
}
