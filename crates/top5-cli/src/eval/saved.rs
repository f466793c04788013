//! Predictions in a file: a safetensors file whose metadata say where they come from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use top5::data::files::Regular;
use top5::eval::{Header, Predictions, PredictionsError};
use top5::formats::{Loaded, safetensors};
use top5::graph::in_plain_words;

use crate::exit::Stop;
use crate::output::{Kind, Output};

const HEADER: &str = "top5.predictions";

/// Reads what [`write`] wrote of a whole part of the data.
pub(crate) fn read(path: &Path) -> Result<Predictions> {
    read_all(&[path.to_owned()])
}

/// Reads what [`write`] wrote: one file, or all shards of an evaluation.
pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Predictions> {
    let shards = paths.iter().map(|path| read_one(path)).collect::<Result<Vec<_>>>()?;
    let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let wrong = |error: PredictionsError| Stop::BadInput(format!("{}: {error}", shown.join(", ")));
    Ok(Predictions::join(shards).map_err(wrong)?)
}

/// Whether there are saved answers at this path, not weights.
pub(crate) fn is(path: &Path) -> bool {
    path.is_file() && Kind::Predictions.is_at(path)
}

fn read_one(path: &Path) -> Result<Predictions> {
    let shown = path.display();
    let file = Regular::open(path).with_context(|| format!("reading {shown}"))?;
    let length = file.len();
    let Loaded { weights: tensors, metadata, .. } =
        safetensors::read_from(&mut file.into_file(), length)
            .with_context(|| format!("reading {shown}"))?;
    let wrong = |reason: String| {
        let reason = in_plain_words(&reason);
        Stop::BadInput(format!(
            "{shown} holds no predictions ({reason}): write some with eval --save"
        ))
    };
    let header = metadata.get(HEADER).ok_or_else(|| wrong(format!("no {HEADER} in it")))?;
    let header: Header = serde_json::from_str(header).map_err(|error| wrong(error.to_string()))?;
    Ok(Predictions::from_tensors(header, tensors).map_err(|error| wrong(error.to_string()))?)
}

/// Writes predictions.
pub(crate) fn write(predictions: &Predictions, path: &Path, output: Output) -> Result<()> {
    let header = serde_json::to_string(&predictions.header)?;
    let metadata = BTreeMap::from([(HEADER.to_owned(), header)]);
    output.file(path, Kind::Predictions, &safetensors::write(&predictions.tensors(), &metadata))
}
