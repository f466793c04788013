//! The file of measured choices that `top5 tune` writes and `--tuning` reads: JSON, one entry per shape.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use top5::data::files;
use top5::{LayerShape, Tuning};

use crate::exit::Stop;
use crate::output::{Kind, Output};

/// The version of the file's layout: it changes when [`Entry`] does.
const LAYOUT: u32 = 2;

/// What files of all layouts have.
#[derive(Deserialize)]
struct Version {
    schema_version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema_version: u32,
    layers: Vec<Entry>,
}

/// A shape and its kernel; the fields are those of [`LayerShape`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    batch: usize,
    inputs: usize,
    outputs: usize,
    rows: usize,
    cols: usize,
    taps: usize,
    step: usize,
    blocks: usize,
    group: usize,
    kernel: String,
}

/// Reads a file of [`write`].
pub(crate) fn read(path: &Path) -> Result<Tuning> {
    let read = || {
        let bytes = files::read(path, files::TEXT)?;
        let Version { schema_version: found } = serde_json::from_slice(&bytes).map_err(unusable)?;
        if found != LAYOUT {
            return Err(unusable(format!("its layout is {found}, expected {LAYOUT}")));
        }
        let file: File = serde_json::from_slice(&bytes).map_err(unusable)?;
        Ok(file.layers.into_iter().map(Entry::into_choice).collect::<BTreeMap<_, _>>())
    };
    let choices = read().with_context(|| format!("reading {}", path.display()))?;
    let mut tuning = Tuning::default();
    choices.into_iter().for_each(|(shape, kernel)| tuning.choose(shape, kernel));
    Ok(tuning)
}

fn unusable(why: impl std::fmt::Display) -> anyhow::Error {
    let message =
        format!("not a file of this `top5 tune` ({why}): write it with `top5 tune NETWORK --anew`");
    Stop::BadInput(message).into()
}

/// Writes all choices; such a file that is there is replaced.
pub(crate) fn write(path: &Path, tuning: &Tuning, output: Output) -> Result<()> {
    let layers = tuning.iter().map(|(shape, kernel)| Entry::new(*shape, kernel)).collect();
    let file = File { schema_version: LAYOUT, layers };
    output.file(path, Kind::Tuning, &serde_json::to_vec_pretty(&file)?)
}

impl Entry {
    fn new(shape: LayerShape, kernel: &str) -> Self {
        let LayerShape { batch, inputs, outputs, rows, cols, taps, step, blocks, group } = shape;
        let kernel = kernel.to_owned();
        Self { batch, inputs, outputs, rows, cols, taps, step, blocks, group, kernel }
    }

    fn into_choice(self) -> (LayerShape, String) {
        let Self { batch, inputs, outputs, rows, cols, taps, step, blocks, group, kernel } = self;
        (LayerShape { batch, inputs, outputs, rows, cols, taps, step, blocks, group }, kernel)
    }
}
