//! Results of other commands for the page: which folders hold them, what their documents say, and their pictures.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;
use top5::data::files;
use top5_serve::{Pictures, Shown};

use super::{is_name, split};
use crate::args::{DataArgs, ImageArgs};
use crate::eval::{self, DataChoice, Split};
use crate::exit::Stop;
use crate::inside;
use crate::output::Output;

/// Most bytes of a picture.
const MOST: u64 = 64 << 20;
/// What a PNG file begins with.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Kinds of results by the documents that they are known by, and the commands that make them.
const KINDS: [(&str, &str, &str); 4] = [
    (eval::REPORT, "evaluation", "eval --report"),
    (inside::GALLERY, "gallery", "gallery"),
    (inside::EVOLUTION, "evolution", "evolve"),
    (inside::INVARIANCE, "invariance", "invariance"),
];

/// What is shown beside the models.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShownArgs {
    /// A folder with results that the page shows, too: of eval --report, gallery, evolve or invariance; may be given more than once
    #[arg(long, value_name = "[NAME=]DIR")]
    show: Vec<String>,
    /// The images that shown results are about: a dataset's name or a folder. Without it their names are shown
    #[arg(long, value_name = "NAME|DIR", requires = "show")]
    data: Option<String>,
}

/// Results that are to be shown.
pub(crate) struct Results {
    folders: Vec<(String, PathBuf)>,
    data: DataChoice,
}

impl Results {
    pub(crate) fn resolve(args: ShownArgs, images: ImageArgs) -> Result<Self> {
        let mut folders: Vec<(String, PathBuf)> = Vec::new();
        for given in &args.show {
            let (name, folder) = split(given);
            if !is_name(&name) || folders.iter().any(|(taken, _)| *taken == name) {
                let message = format!(
                    "--show {given}: the name {name:?} is taken, or has other characters than letters, digits, \".\", \
                     \"_\" and \"-\": write NAME={folder}"
                );
                return Err(Stop::Usage(message).into());
            }
            folders.push((name, PathBuf::from(folder)));
        }
        let data = DataArgs { data: args.data, skip_bad: false, images };
        Ok(Self { folders, data: DataChoice::resolve(data, Split::All, None)? })
    }

    /// Reads them. Where the images are not at hand, it says so.
    pub(crate) fn open(&self, output: Output) -> Result<Vec<Arc<Shown>>> {
        let mut all = Vec::new();
        for (name, folder) in &self.folders {
            let found = KINDS.iter().find(|(file, ..)| folder.join(file).exists());
            let Some((file, kind, _)) = found else { return Err(nothing(folder).into()) };
            all.push(Arc::new(match *kind {
                "evaluation" => evaluation(name, folder, &self.data, output)?,
                _ => with_sheets(name, folder, (file, kind))?,
            }));
        }
        Ok(all)
    }
}

fn nothing(folder: &Path) -> Stop {
    let known = KINDS.map(|(file, _, command)| format!("{file} of top5 {command}"));
    Stop::BadInput(format!("{} has no results: expected {}", folder.display(), known.join(", or ")))
}

fn evaluation(name: &str, folder: &Path, data: &DataChoice, output: Output) -> Result<Shown> {
    let shown = eval::Shown::read(folder)?;
    let pictures = shown.pictures(data)?;
    if pictures.is_none() {
        let data = &shown.evaluation.data;
        output.note(&format!(
            "{name}: images are shown by name; --data with those of {data} shows them"
        ));
    }
    let about = format!("{}, {}", shown.evaluation.network, shown.evaluation.data);
    Ok(Shown::new(name.to_owned(), "evaluation", about, &shown, pictures)?)
}

/// A document beside which its pictures lie.
fn with_sheets(name: &str, folder: &Path, (file, kind): (&str, &'static str)) -> Result<Shown> {
    let path = folder.join(file);
    let reading = || format!("reading {}", path.display());
    let document: Value = serde_json::from_slice(&files::read(&path, MOST).with_context(reading)?)
        .map_err(|error| Stop::BadInput(format!("{}: {error}", path.display())))?;
    let mut names = BTreeSet::new();
    sheets(&document, &mut names);
    let word = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
    let words = [word("network"), word("data")];
    let words: Vec<&str> =
        words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
    let about = words.join(", ");
    let pictures = (!names.is_empty())
        .then(|| Arc::new(Sheets { folder: folder.to_owned(), names }) as Arc<dyn Pictures>);
    Ok(Shown::new(name.to_owned(), kind, about, &document, pictures)?)
}

/// Names of pictures in a document.
fn sheets(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            names.extend(Some(text.clone()).filter(|_| is_name(text) && text.ends_with(".png")));
        }
        Value::Array(all) => all.iter().for_each(|one| sheets(one, names)),
        Value::Object(all) => all.values().for_each(|one| sheets(one, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Pictures beside a document that names them; others in the folder are not shown.
#[derive(Debug)]
struct Sheets {
    folder: PathBuf,
    names: BTreeSet<String>,
}

impl Pictures for Sheets {
    fn picture(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.folder.join(self.names.get(name)?);
        // A link leads to what nobody meant to show.
        let is_link = path.symlink_metadata().ok()?.is_symlink();
        let bytes = (!is_link).then(|| files::read(&path, MOST).ok()).flatten()?;
        bytes.starts_with(PNG).then_some(bytes)
    }

    fn kept(&self) -> Vec<String> {
        self.names.iter().cloned().collect()
    }
}
