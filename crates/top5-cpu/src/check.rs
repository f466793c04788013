//! The plan checker: an independent interpreter of plans, with symbols for numbers (regalloc2's checker is the model).
//!
//! It derives from the graph what each node's value, its gradient and each parameter's gradient are, runs the steps over a
//! symbolic arena, and compares: every read sees the value that the graph means, no two live values share memory, every
//! output is written, what is added to was zeroed or written, no gradient is missing, and nothing is computed that nobody reads. It
//! knows the contracts of the kernels and nothing of how plans are made.

mod conv;
mod effects;
mod meaning;
mod memory;
mod norm;
mod terms;
mod tests;

use crate::buffer::Plan;
use crate::ir::Program;
use crate::purpose::Mode;
use crate::step::loss::Loss;
use effects::Interpreter;
use meaning::Meaning;
use memory::{Memory, View};
use std::collections::BTreeMap;
use terms::Terms;
use top5_graph::{Graph, Signals};

/// Checks a plan for runs with `n` images; the error says what is wrong.
pub(crate) fn check(
    graph: &Graph,
    mode: Mode,
    signals: Option<&Signals>,
    program: &Program,
    plan: &Plan,
    n: usize,
) -> Result<(), String> {
    let mut terms = Terms::default();
    let meaning = Meaning::of(graph, mode, signals, &mut terms);
    let mut interpreter = Interpreter {
        program,
        plan,
        n,
        terms: &mut terms,
        memory: Memory::default(),
        gradients: BTreeMap::new(),
        statistics: BTreeMap::new(),
        losses: Vec::new(),
        copies: BTreeMap::new(),
        at: 0,
        graph,
        meaning: &meaning,
        trains: mode == Mode::Training,
    };
    let place = |at: usize| {
        let step = &program.steps[at];
        format!("step {at}, {} of {}", step.kernel.name(), graph.node(step.node).name)
    };
    // Signals go backward twice: the first time must leave what the second one reads.
    for first in [0, program.forward] {
        for at in first..program.steps.len() {
            interpreter.at = at;
            interpreter.run().map_err(|why| format!("{}: {why}", place(at)))?;
        }
        ends(&meaning, &mut interpreter)?;
    }
    results(graph, &meaning, &mut interpreter)?;
    parameters(graph, mode, &meaning, &interpreter)?;
    // What nobody reads was computed for nothing, unless the graph says so.
    let needed = |step: &usize| {
        let node = program.steps[*step].node.index();
        meaning.used[node] && (meaning.learns[node] || !program.steps[*step].kernel.is::<Loss>())
    };
    let memory = &interpreter.memory;
    if let Some((step, by)) = memory.wasted.iter().find(|(step, _)| needed(step)) {
        return Err(format!("{}: overwritten by {} unread", place(*step), place(*by)));
    }
    match memory.unread().find(needed) {
        Some(step) => Err(format!("{}: nobody reads what it writes", place(step))),
        None => Ok(()),
    }
}

/// What is read after a run is there.
fn results(graph: &Graph, meaning: &Meaning, on: &mut Interpreter<'_>) -> Result<(), String> {
    for output in graph.outputs() {
        if !on.program.results.iter().any(|(node, _)| *node == output.node) {
            return Err(format!("the output {} is missing", output.name));
        }
    }
    for &(node, buffer) in &on.program.results {
        let name = &graph.node(node).name;
        let view = View::planes(on.program, on.plan, buffer, on.n);
        let found = on.memory.read(on.terms, &view).map_err(|why| format!("{name}: {why}"))?;
        let wanted = meaning.values[node.index()];
        if found.value != wanted || on.program.buffers[buffer.0].bf16 {
            let [is, wanted] = [found.value, wanted].map(|value| on.terms.show(value));
            return Err(format!("{name} is {is} instead of {wanted}"));
        }
    }
    Ok(())
}

/// Signals end in what the graph means.
fn ends(meaning: &Meaning, on: &mut Interpreter<'_>) -> Result<(), String> {
    if meaning.signals.len() != on.program.signals.len() {
        return Err(format!("signals end in {} buffers", on.program.signals.len()));
    }
    for (i, (&wanted, buffer)) in meaning.signals.iter().zip(&on.program.signals).enumerate() {
        let Some(buffer) = *buffer else {
            if wanted.is_some() {
                return Err(format!("signal {i} is lost"));
            }
            continue;
        };
        let view = View::planes(on.program, on.plan, buffer, on.n);
        let found = on.memory.read(on.terms, &view).map_err(|why| format!("signal {i}: {why}"))?;
        if Some(found.value) != wanted {
            let is = on.terms.show(found.value);
            let wanted = wanted.map(|wanted| on.terms.show(wanted));
            return Err(format!("signal {i} is {is} instead of {wanted:?}"));
        }
    }
    Ok(())
}

/// Losses, running statistics and the gradients of all parameters are those of the graph.
fn parameters(
    graph: &Graph,
    mode: Mode,
    meaning: &Meaning,
    on: &Interpreter<'_>,
) -> Result<(), String> {
    let mut losses: Vec<(usize, f32)> = Vec::new();
    if mode == Mode::Training {
        losses.extend(graph.outputs().iter().map(|output| (output.node.index(), output.weight)));
    }
    if losses != on.losses {
        return Err(format!("the losses are {:?} instead of {losses:?}", on.losses));
    }
    let params = &on.program.packed.list;
    let named = |param: &usize| params[*param].content.name().unwrap_or("a constant").to_owned();
    let compare = |what: &str, is: &BTreeMap<usize, terms::Tensor>, wanted: &[_]| {
        let is: BTreeMap<String, _> =
            is.iter().map(|(param, &value)| (named(param), value)).collect();
        let wanted: BTreeMap<String, _> = wanted.iter().cloned().collect();
        for name in is.keys().chain(wanted.keys()) {
            let [a, b] = [&is, &wanted].map(|map| map.get(name).copied());
            if a != b {
                let [a, b] = [a, b].map(|value| value.map(|value| on.terms.show(value)));
                return Err(format!("{what} of {name}: {a:?} instead of {b:?}"));
            }
        }
        Ok(())
    };
    compare("gradient", &on.gradients, &meaning.parameters)?;
    compare("statistics", &on.statistics, &meaning.statistics)
}
