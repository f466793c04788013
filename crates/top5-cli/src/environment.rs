//! What beside recipe and data decides the numbers of a run, written into its folder so that it goes on as it began.

use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::json;
use top5::data::{Splits, files};
use top5::graph::EngineError;
use top5::{CpuDevice, Isa, Options, Precision};

use crate::args::{EngineArgs, PrecisionArg};
use crate::exit::Stop;
use crate::image_list::{Found, ImageList};
use crate::output::Output;
use crate::run_folder::{CONFIG, RunFolder};

/// The file in the run's folder.
pub(crate) const ENVIRONMENT: &str = "environment.json";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the file holds of the engine and of the data; the rest is for people.
#[derive(Debug, Deserialize)]
pub(crate) struct Environment {
    top5: String,
    instructions: String,
    precision: String,
    #[serde(default)]
    exact: bool,
    images: Images,
    /// What identifies the images to learn from and those that choose the epoch.
    fingerprints: [String; 2],
    /// The same, with the lengths of their files; earlier versions told of these otherwise.
    contents: Option<[String; 2]>,
}

/// How many images the parts have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Images {
    train: usize,
    validation: usize,
    test: usize,
}

impl Images {
    fn of(splits: &Splits) -> Self {
        let test = splits.test.as_ref().map_or(0, |test| test.len());
        Self { train: splits.train.len(), validation: splits.validation.len(), test }
    }
}

/// The images of a run, as they are now.
pub(crate) struct Own {
    /// Whether other things are in them, where none is gone.
    pub(crate) changed: bool,
    pub(crate) found: Found,
}

/// Fingerprints, and the same with the lengths of the files.
fn prints(splits: &Splits) -> [[String; 2]; 2] {
    let parts = [&splits.train, &splits.validation];
    let text = |print: u64| format!("{print:016x}");
    [parts.map(|part| text(part.fingerprint())), parts.map(|part| text(part.revision()))]
}

impl Environment {
    /// That of the run in a folder, which cannot go on without; None where none has begun.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let config = folder.join(CONFIG);
        let has_begun =
            || files::exists(&config).with_context(|| format!("reading {}", config.display()));
        match Self::find(folder)? {
            None if has_begun()? => {
                let message = format!(
                    "{} is missing, which says how the run computes: put it back, or begin another run",
                    folder.join(ENVIRONMENT).display()
                );
                Err(Stop::BadInput(message).into())
            }
            found => Ok(found),
        }
    }

    /// That of the run in a folder, if it is there.
    pub(crate) fn find(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(ENVIRONMENT);
        let reading = || format!("reading {}", path.display());
        if !files::exists(&path).with_context(reading)? {
            return Ok(None);
        }
        let bytes = files::read(&path, files::TEXT).with_context(reading)?;
        let unusable = |error: serde_json::Error| {
            let message =
                format!("{}: {error}: write it as it was, or begin another run", path.display());
            Stop::BadInput(message)
        };
        Ok(Some(serde_json::from_slice(&bytes).map_err(unusable)?))
    }

    /// Writes that of a run into its folder.
    pub(crate) fn write(
        folder: &RunFolder,
        device: &CpuDevice,
        exact: bool,
        splits: &Splits,
    ) -> Result<()> {
        let [fingerprints, contents] = prints(splits);
        ImageList::of(splits).write(folder)?;
        let environment = json!({
            "top5": VERSION,
            "system": std::env::consts::OS,
            "processor": std::env::consts::ARCH,
            "instructions": device.isa().name(),
            "precision": device.precision().name(),
            "exact": exact,
            "threads": device.thread_count(),
            "images": Images::of(splits),
            "fingerprints": fingerprints,
            "contents": contents,
        });
        let text = format!("{environment:#}\n");
        folder.write(ENVIRONMENT, text.as_bytes())
    }

    /// The images of the run in `folder` among those that were opened, wherever they lie: [`Self::find_images`], and an error where
    /// they are not among them.
    pub(crate) fn own_images(
        &self,
        folder: &Path,
        data: &str,
        opened: Splits,
        whole: impl FnOnce() -> Result<Splits>,
        skip_gone: bool,
    ) -> Result<Own> {
        let (here, there) = (Images::of(&opened), self.images);
        let found = self.find_images(folder, opened, whole, skip_gone)?;
        found.ok_or_else(|| {
            let message = format!(
                "the images in {data} are not those of the run: {} to learn from and {} to choose the epoch, the run has {} and {}, \
                 and all of the same names: give --data where the run's images are, put back what was deleted or \
                 renamed, or begin another run",
                here.train, here.validation, there.train, there.validation
            );
            Stop::BadInput(message).into()
        })
    }

    /// The images of the run in `folder`. Where files have come or gone since it began, its own are found by their names in `whole`,
    /// the data before any division. None where names do not tell; fails where some are gone and `skip_gone` does not allow it.
    pub(crate) fn find_images(
        &self,
        folder: &Path,
        opened: Splits,
        whole: impl FnOnce() -> Result<Splits>,
        skip_gone: bool,
    ) -> Result<Option<Own>> {
        let [fingerprints, contents] = prints(&opened);
        let changed = |now: &[String; 2]| self.contents.as_ref().is_some_and(|then| then != now);
        if fingerprints == self.fingerprints {
            return Ok(Some(Own { changed: changed(&contents), found: Found::all(opened) }));
        }
        let found = match ImageList::read(folder)? {
            Some(list) => list.find(opened, whole()?, &self.fingerprints),
            None => None,
        };
        match found.as_ref().and_then(Found::told_gone) {
            Some(gone) if !skip_gone => Err(Stop::BadInput(format!(
                "gone: {gone}: put back what was deleted or renamed, give --data where the run's images are, or add \
                 --skip-bad to go on without"
            ))
            .into()),
            gone => {
                let all_there = gone.is_none();
                Ok(found.map(|found| {
                    let [_, contents] = prints(&found.splits);
                    Own { changed: all_there && changed(&contents), found }
                }))
            }
        }
    }

    /// The arguments with which the run goes on: its own where `args` leaves them out. Fails where `args` wants others, and
    /// warns where the run cannot go on as it was: then another instruction set may be asked for.
    pub(crate) fn resume(&self, args: &EngineArgs, output: Output) -> Result<EngineArgs> {
        let precision = PrecisionArg::from_str(&self.precision, false).map_err(|_| {
            let message = format!(
                "{ENVIRONMENT}: there is no precision '{}': write it as it was, or begin another run",
                self.precision
            );
            Stop::BadInput(message)
        })?;
        // bf16 needs more of a machine than its instruction set.
        let runs = |isa: Isa| {
            let (isa, precision) = (Some(isa), precision.into());
            let options = Options { isa, precision, threads: Some(1), ..Options::default() };
            !matches!(top5::device(&options), Err(EngineError::Machine { .. }))
        };
        let own = Isa::available().into_iter().find(|isa| isa.name() == self.instructions);
        let own = own.filter(|isa| runs(*isa));
        let mut differences = Vec::new();
        if let Some(wanted) = args.precision.filter(|wanted| *wanted != precision) {
            let wanted = Precision::from(wanted).name();
            differences.push(format!("--precision {wanted}, {}", self.precision));
        }
        if let (Some(own), Some(wanted)) = (own, args.isa)
            && wanted != own
        {
            differences.push(format!("--isa {wanted}, {}", self.instructions));
        }
        if args.exact && !self.exact {
            differences.push("--exact, absent".to_owned());
        }
        if !differences.is_empty() {
            let message = format!(
                "the run computes otherwise than asked for ({}; the second is the run's): leave the \
                 difference out, or begin another run",
                differences.join("; ")
            );
            return Err(Stop::BadInput(message).into());
        }
        let isa = own.or(args.isa);
        if self.top5 != VERSION || own.is_none() {
            let here = isa.unwrap_or_else(|| Isa::detect(precision.into()));
            output.warn(&format!(
                "the run was made by top5 {} with {}, and goes on with top5 {VERSION} and {here}: its numbers will \
                 differ by rounding from those of a run that was not stopped",
                self.top5, self.instructions
            ));
        }
        Ok(EngineArgs { precision: Some(precision), isa, exact: self.exact, ..args.clone() })
    }
}
