//! `top5 recipes`: the recipes of published trainings, which are part of the program.

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::graph::alike;
use top5::train::{About, Outcome, Recipe};

use crate::exit::Stop;
use crate::models::matches;
use crate::output::Output;
use crate::table::{self, Column};

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 recipes
  top5 recipes resnet20-cifar10 > mine.toml           to be changed and given to train
  top5 train resnet20-cifar10 --data cifar-10-batches-bin";

#[derive(Debug, Args)]
pub(crate) struct RecipesArgs {
    /// The recipe to print, in the form that `top5 train FILE.toml` reads; or of names with * and ?, which to list
    #[arg(default_value = "*")]
    pub(crate) name: String,
}

/// The document of `--json`.
#[derive(Serialize)]
struct List {
    recipes: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    recipe: Recipe,
}

/// The command, resolved.
pub(crate) enum Task {
    /// The file to print, and what it says.
    One(&'static str, Box<Recipe>),
    /// Those to list.
    Some(Vec<(&'static str, Recipe)>),
}

impl Task {
    pub(crate) fn resolve(args: &RecipesArgs) -> Result<Self> {
        let mut recipes: Vec<_> =
            top5::recipes().filter(|(name, _)| matches(&args.name, name)).collect();
        match (top5::recipe_file(&args.name), recipes.len()) {
            (Some(file), _) => Ok(Self::One(file, Box::new(recipes.remove(0).1))),
            (None, 0) => {
                let all: Vec<&str> = top5::recipes().map(|(name, _)| name).collect();
                let near = alike(&args.name, all.iter().copied());
                let near = near.map_or_else(String::new, |near| format!("nearest: {near}; "));
                let message = format!(
                    "no recipe is called {:?}; {near}there are {}",
                    args.name,
                    all.join(", ")
                );
                Err(Stop::BadInput(message).into())
            }
            (None, _) => Ok(Self::Some(recipes)),
        }
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        match self {
            Self::One(_, recipe) if output.json => output.document(&recipe),
            Self::One(file, _) => output.text(file),
            Self::Some(recipes) if output.json => {
                let recipes =
                    recipes.into_iter().map(|(name, recipe)| Entry { name, recipe }).collect();
                output.document(&List { recipes })
            }
            Self::Some(recipes) => output.text(&list(&recipes)),
        }
    }
}

fn list(recipes: &[(&str, Recipe)]) -> String {
    const COLUMNS: [Column; 8] = [
        ("recipe", false),
        ("year", true),
        ("network", false),
        ("trained on", false),
        ("epochs", true),
        ("top-1 err", true),
        ("top-5 err", true),
        ("measured on; source", false),
    ];
    let row = |(name, recipe): &(&str, Recipe)| {
        let about = recipe.about.as_ref();
        let of = |text: fn(&About) -> String| about.map_or(String::new(), text);
        let result = about.and_then(|about| about.published.as_ref());
        let error = |error: fn(&Outcome) -> Option<f64>| {
            result.and_then(error).map_or("-".to_owned(), |percent| format!("{percent} %"))
        };
        [
            (*name).to_owned(),
            of(|about| about.year.to_string()),
            recipe.network.clone(),
            of(|about| about.data.clone()),
            recipe.epochs.to_string(),
            error(|of| of.top1_error),
            error(|of| of.top5_error),
            result.map_or("-".to_owned(), |of| format!("{}; {}", of.on, of.source)),
        ]
    };
    let rows: Vec<_> = recipes.iter().map(row).collect();
    table::aligned(COLUMNS, &rows)
}
