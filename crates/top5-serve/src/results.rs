//! Results of other commands that the page shows beside the models: evaluations, galleries, evolutions, invariance.
//!
//! Whoever has them reads their folders once and gives documents; pictures come when they are asked for, by names that the owner
//! of the results knows. No name of a request becomes a path here.

use std::fmt;
use std::sync::Arc;

use hyper::body::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::answer::{Answer, with_type};
use crate::app::App;
use crate::failure::Failure;

/// Pictures of a result, as PNG files. Asked on any thread.
pub trait Pictures: fmt::Debug + Send + Sync {
    /// The picture of this name; None where there is none or it cannot be made.
    fn picture(&self, name: &str) -> Option<Vec<u8>>;

    /// The names of those that an exported page takes along.
    fn kept(&self) -> Vec<String>;
}

/// A result that is shown.
#[derive(Debug)]
pub struct Shown {
    name: String,
    kind: &'static str,
    about: String,
    document: Bytes,
    pictures: Option<Arc<dyn Pictures>>,
}

impl Shown {
    /// Of this name (letters, digits, `.`, `_` and `-`), of a kind that the page has a view for, about something in words, with
    /// the document that the view shows. Fails where it has no form in JSON.
    pub fn new(
        name: String,
        kind: &'static str,
        about: String,
        document: &impl Serialize,
        pictures: Option<Arc<dyn Pictures>>,
    ) -> Result<Self, serde_json::Error> {
        let document = serde_json::to_vec(document)?.into();
        Ok(Self { name, kind, about, document, pictures })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// All of them, in a line each.
pub(crate) fn index(app: &App) -> Value {
    let entry = |one: &Arc<Shown>| json!({ "name": one.name, "kind": one.kind, "about": one.about, "pictures": one.pictures.is_some() });
    json!({ "results": app.options.shown.iter().map(entry).collect::<Vec<_>>() })
}

/// One, whole.
pub(crate) fn document(app: &App, name: &str) -> Result<Answer, Failure> {
    Ok(with_type("application/json", find(app, name)?.document.clone()))
}

/// A picture of one. It may have to be decoded and made smaller, for which it waits like other images.
pub(crate) async fn picture(app: &App, name: &str, file: &str) -> Result<Answer, Failure> {
    let absent = || Failure::absent("the result has no picture of this name");
    let pictures = find(app, name)?.pictures.clone().ok_or_else(absent)?;
    let file = file.to_owned();
    let png = app.apart(move || pictures.picture(&file).ok_or_else(absent)).await?;
    Ok(with_type("image/png", png))
}

/// Pictures for an exported page, each with the name of its file.
pub(crate) fn exported(app: &App) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for one in &app.options.shown {
        let Some(pictures) = &one.pictures else { continue };
        let named = |file: String| Some((format!("{}-{file}", one.name), pictures.picture(&file)?));
        files.extend(pictures.kept().into_iter().filter_map(named));
    }
    files
}

fn find<'a>(app: &'a App, name: &str) -> Result<&'a Arc<Shown>, Failure> {
    let found = app.options.shown.iter().find(|one| one.name == name);
    found.ok_or_else(|| {
        Failure::absent(
            "there is no result of this name: GET /v1/results lists those of --show DIR",
        )
    })
}
