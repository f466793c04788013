//! What a run starts from: weights that have learnt before, and an earlier end of its own.

use anyhow::{Context, Result};
use top5::data::Preprocess;
use top5::graph::{Graph, Param, counted};
use top5::train::{FineTuning, Recipe, Schedule, State};
use top5::zoo::Network;
use top5::{Transplanted, transplant};

use crate::exit::Stop;
use crate::output::Output;
use crate::source::Start;

/// Reads the weights that the recipe names, and writes into it which they are and how their images are prepared.
pub(super) fn open(
    recipe: &mut Recipe,
    network: &'static Network,
    offline: bool,
    output: Output,
) -> Result<Option<Start>> {
    let Some(name) = &recipe.weights else { return Ok(None) };
    let start = Start::open(name, recipe.weights_key.as_deref(), network, offline, output)
        .with_context(|| format!("reading the weights to start from, {name}"))?;
    if let Some(expected) = recipe.weights_sha256.as_ref().filter(|sha| **sha != start.sha256) {
        let message = format!(
            "{} is not the file that the run is to start from: its SHA-256 is {}, and the recipe says {expected}: put that \
             file there, or begin another run, with --set weights_sha256=none",
            start.origin, start.sha256
        );
        return Err(Stop::CheckFailed(message).into());
    }
    recipe.weights_sha256 = Some(start.sha256.clone());
    let own = Preprocess { drawn_digits: false, ..start.model.preprocess.clone() };
    recipe.preprocess.get_or_insert(own);
    Ok(Some(start))
}

/// The weights for the run's network, which is said in a line.
pub(super) fn weights(
    start: &Start,
    graph: &Graph,
    recipe: &Recipe,
    output: Output,
) -> Result<Transplanted> {
    let transplanted = transplant(&start.model, graph, recipe.seed)
        .with_context(|| format!("starting from {}", start.origin))?;
    let [there, here] = [start.model.graph.classes(), graph.classes()];
    let head = match transplanted.redrawn.as_slice() {
        [] => format!("all of them, the head for {} included", counted(here, "class")),
        redrawn if there == here => {
            format!("drawn anew, since they lack them: {}", redrawn.join(", "))
        }
        redrawn => format!(
            "drawn anew for {}, of which they have {there}: {}",
            counted(here, "class"),
            redrawn.join(", ")
        ),
    };
    output.note(&format!("starting from {} (SHA-256 {}); {head}", start.origin, start.sha256));
    Ok(transplanted)
}

/// Says what stays as it is.
pub(super) fn describe(tuning: &FineTuning, output: Output) {
    let [moving, frozen] = tuning.counts();
    if frozen > 0 {
        output.note(&format!("learning: {}; frozen: {frozen}", counted(moving, "tensor")));
    }
}

/// Warns of what is frozen before it has learnt anything: most often a head that was drawn anew.
pub(super) fn warn_of_drawn(
    tuning: &FineTuning,
    graph: &Graph,
    start: Option<&Transplanted>,
    output: Output,
) {
    let drawn = |(name, param): (String, &Param)| {
        let anew = start.is_none_or(|start| start.redrawn.contains(&name));
        (param.learned && anew && tuning.is_frozen(&name)).then_some(name)
    };
    let drawn: Vec<String> = graph.params().filter_map(drawn).collect();
    let Some(first) = drawn.first() else { return };
    let others = match drawn.len() - 1 {
        0 => String::new(),
        others => format!(" and {}", counted(others, "other tensor")),
    };
    let weights = start.map_or("give --weights, or ", |_| "");
    output.warn(&format!(
        "frozen, but drawn at random: {first}{others}; {weights}leave what has learnt nothing out of freeze"
    ));
}

/// What is to be said of a run that has ended because validation stopped improving.
pub(super) fn stopped_early(state: &State) -> Option<String> {
    let most = state.recipe.early_stopping.filter(|_| state.stopped_early())?;
    Some(match most {
        1 => "stopped early: the last epoch was not the best".to_owned(),
        _ => format!("stopped early: none of the last {most} epochs was the best"),
    })
}

/// What is to be said where a run of these epochs is to have more.
pub(super) fn prolonged(recipe: &Recipe, epochs: usize) -> String {
    let schedule = match recipe.schedule {
        Schedule::Cosine { .. } | Schedule::Polynomial { .. } => {
            "its schedule is stretched: the learning rate goes on as in the middle of a run of that length"
        }
        Schedule::Constant
        | Schedule::Step { .. }
        | Schedule::Exponential { .. }
        | Schedule::Plateau(_) => "its schedule, which has no end, is followed further",
    };
    format!("the run is prolonged from {epochs} to {}; {schedule}", counted(recipe.epochs, "epoch"))
}
