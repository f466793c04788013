//! The images of a run by their names, written into its folder: which it learns from, and which choose the epoch.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use top5::data::{Dataset, Listed, Listing, Splits, files};
use top5::graph::counted;

use crate::exit::Stop;
use crate::output::Output;
use crate::run_folder::RunFolder;

/// The file in the run's folder.
const IMAGES: &str = "images.json";
/// Most bytes of it that are read.
const LONGEST: u64 = 1 << 30;

/// The images of a run, each with its class.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImageList {
    classes: Vec<String>,
    train: Vec<Listing>,
    validation: Vec<Listing>,
}

/// The images of a run in data that have changed.
pub(crate) struct Found {
    pub(crate) splits: Splits,
    /// What those are called that are gone.
    gone: Vec<String>,
    /// How many the run did not begin with.
    new: usize,
}

impl Found {
    /// Of data that have not.
    pub(crate) fn all(splits: Splits) -> Self {
        Self { splits, gone: Vec::new(), new: 0 }
    }

    /// How many are gone, and what one of them is called; None where all are there.
    pub(crate) fn told_gone(&self) -> Option<String> {
        let first = self.gone.first()?;
        Some(format!("{} of the run, {first:?} for one", counted(self.gone.len(), "image")))
    }

    /// Says how many are left out since the run did not begin with them.
    pub(crate) fn warn_of_new(&self, output: Output) {
        if self.new > 0 {
            let new = counted(self.new, "image");
            output.warn(&format!("left out: {new} of the data that the run did not begin with"));
        }
    }
}

impl ImageList {
    /// Of these parts.
    pub(crate) fn of(splits: &Splits) -> Self {
        let list = |part: &Arc<dyn Dataset>| {
            (0..part.len()).map(|i| (part.label(i), part.sample_name(i))).collect()
        };
        let [train, validation] = [&splits.train, &splits.validation].map(list);
        Self { classes: splits.train.classes().to_vec(), train, validation }
    }

    pub(crate) fn write(&self, folder: &RunFolder) -> Result<()> {
        let text = serde_json::to_string(self).context("writing the names of the images")?;
        folder.write(IMAGES, format!("{text}\n").as_bytes())
    }

    /// That of the run in a folder; earlier versions wrote none.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(IMAGES);
        let reading = || format!("reading {}", path.display());
        if !files::exists(&path).with_context(reading)? {
            return Ok(None);
        }
        let bytes = files::read(&path, LONGEST).with_context(reading)?;
        let unusable = |error: serde_json::Error| {
            let message = format!("{}: {error}: write it as it was, or delete it", path.display());
            Stop::BadInput(message)
        };
        Ok(Some(serde_json::from_slice(&bytes).map_err(unusable)?))
    }

    /// Its images among those of the data before any division; what else was opened is kept. None where names do not tell which
    /// images are meant, or most are gone.
    pub(crate) fn find(
        self,
        opened: Splits,
        whole: Splits,
        fingerprints: &[String; 2],
    ) -> Option<Found> {
        if whole.train.classes() != self.classes {
            return None;
        }
        let [train_print, validation_print] =
            fingerprints.each_ref().map(|print| u64::from_str_radix(print, 16).ok());
        // Without a part of their own, the images that choose the epoch are of those to learn from.
        let of_validation =
            if whole.validation.is_empty() { &whole.train } else { &whole.validation };
        let train = Listed::new(Arc::clone(&whole.train), self.train, train_print?)?;
        let validation =
            Listed::new(Arc::clone(of_validation), self.validation, validation_print?)?;
        let gone: Vec<String> = train.gone().chain(validation.gone()).map(str::to_owned).collect();
        let there = train.len() + validation.len() - gone.len();
        if there < gone.len() {
            return None;
        }
        let new = whole.train.len() + whole.validation.len() - there;
        let (train, validation): (Arc<dyn Dataset>, Arc<dyn Dataset>) =
            (Arc::new(train), Arc::new(validation));
        Some(Found { splits: Splits { train, validation, ..opened }, gone, new })
    }
}
