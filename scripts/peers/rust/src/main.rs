//! One Rust peer: `rust-peers PEER MODEL IMAGES BATCH,CHANNELS,HEIGHT,WIDTH`, which speaks the protocol of `worker.py`.
//!
//! IMAGES is a file of little-endian f32. PEER_THREADS, RAYON_NUM_THREADS and RTEN_NUM_THREADS are set by `worker.py`.

mod burn_peer;
mod candle_peer;
mod graph;
mod rten_peer;
mod tract_peer;

use std::io::{BufRead, Write};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// What one run computes: the logits of the whole batch.
type Run = Box<dyn FnMut() -> Result<Vec<f32>>>;

const FEWEST_RUNS: usize = 3;
const WARM_UP: usize = 3;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [peer, model, images, shape] = arguments.as_slice() else {
        bail!("usage: rust-peers PEER MODEL IMAGES BATCH,CHANNELS,HEIGHT,WIDTH");
    };
    let bytes = std::fs::read(images).with_context(|| images.clone())?;
    let (chunks, _) = bytes.as_chunks();
    let images = chunks.iter().map(|&four| f32::from_le_bytes(four)).collect();
    let lengths: Vec<usize> = shape.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let shape: [usize; 4] = lengths.as_slice().try_into()?;
    let (mut run, version) = match peer.as_str() {
        "burn" => (burn_peer::load(model, images, shape)?, version_of("burn")),
        "candle" => (candle_peer::load(model, images, shape)?, version_of("candle-core")),
        "rten" => (rten_peer::load(model, images, shape)?, version_of("rten")),
        "tract" => (tract_peer::load(model, images, shape)?, version_of("tract-onnx")),
        other => bail!("no peer {other}"),
    };
    let logits = run()?;
    for _ in 0..WARM_UP {
        run()?;
    }
    // Debug's form of finite numbers and of lists of them is JSON.
    answer(&format!(r#"{{"version": {version:?}, "logits": {logits:?}}}"#))?;
    for line in std::io::stdin().lock().lines() {
        let budget: f64 = line?.trim().parse()?;
        let begin = Instant::now();
        let mut times = Vec::new();
        while times.len() < FEWEST_RUNS || begin.elapsed().as_secs_f64() < budget {
            let start = Instant::now();
            run()?;
            times.push(1e3 * start.elapsed().as_secs_f64());
        }
        answer(&format!("{times:?}"))?;
    }
    Ok(())
}

fn answer(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// The version of a crate in Cargo.lock.
fn version_of(name: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let after = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).map(|(_, rest)| rest);
    after.and_then(|rest| rest.split_once('"')).map_or("?", |(version, _)| version)
}
