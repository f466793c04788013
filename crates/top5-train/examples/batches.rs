//! Prints what a run of `tests/whole_runs.rs` begins with and learns from, for another program to learn from the same:
//! `cargo run -p top5-train --example batches < recipe.toml`. JSON: weights, and of each step images, labels and, where images
//! are mixed, the same images before, the other labels and the share of the own one.

#[path = "../tests/common/patterns.rs"]
mod patterns;

use serde_json::json;
use top5_train::{Recipe, initialise};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let recipe = Recipe::from_toml(&std::io::read_to_string(std::io::stdin())?)?;
    let plain = Recipe { mixup: 0.0, cutmix: 0.0, ..recipe.clone() };
    let [trainer, plain] = [&recipe, &plain].map(patterns::trainer);
    let mut steps = Vec::new();
    for epoch in 0..recipe.epochs as u64 {
        let [mixed, plain] = [&trainer, &plain].map(|of| of.training_images().epoch(epoch, 0));
        for (batch, before) in mixed.zip(plain) {
            let (batch, before) = (batch?, before?);
            let mixed = batch.mixed.as_ref();
            steps.push(json!({
                "images": batch.images,
                "labels": batch.labels,
                "before": mixed.map(|_| before.images),
                "others": mixed.map(|mixed| &mixed.labels),
                "share": mixed.map(|mixed| mixed.share),
            }));
        }
    }
    let weights = initialise(&patterns::graph(), recipe.seed);
    let weights: serde_json::Map<_, _> = weights
        .iter()
        .map(|(name, tensor)| {
            (name.to_owned(), json!({"shape": tensor.shape(), "values": tensor.data()}))
        })
        .collect();
    serde_json::to_writer(std::io::stdout().lock(), &json!({"weights": weights, "steps": steps}))?;
    Ok(())
}
