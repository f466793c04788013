//! Predictions in a file: a safetensors file whose metadata say where they come from.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use top5::data::files::Regular;
use top5::eval::{Header, Predictions};
use top5::formats::safetensors;

use crate::exit::Stop;
use crate::output::{Kind, Output};

const HEADER: &str = "top5.predictions";

/// Reads what [`write`] wrote.
pub(crate) fn read(path: &Path) -> Result<Predictions> {
    let shown = path.display();
    let file = Regular::open(path).with_context(|| format!("reading {shown}"))?;
    let length = file.len();
    let (tensors, metadata) = safetensors::read_from(&mut file.into_file(), length)
        .with_context(|| format!("reading {shown}"))?;
    let wrong = |reason: String| {
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
