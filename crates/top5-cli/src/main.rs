//! The command `top5`: one file per command, and what they share. A command goes through two stages: its arguments are parsed
//! (`cli.rs`, `parse.rs`), then resolved to values, its `Task`; only that acts.

#![forbid(unsafe_code)]

mod args;
mod augment;
mod bench;
mod cli;
mod convert;
mod data;
mod environment;
mod eval;
mod exit;
mod explain;
mod explained;
mod folder;
mod image_list;
mod inputs;
mod inside;
mod interrupt;
mod kernels;
mod limits;
mod listen;
mod man;
mod memory;
mod models;
mod output;
mod page;
mod parse;
mod parts;
mod plan;
mod predict;
mod preprocess;
mod printable;
mod probe;
mod progress;
mod protocols;
mod ranks;
mod recipes;
mod rectangles;
mod report;
mod run_folder;
mod sanity;
mod score;
mod serve;
mod show;
mod source;
mod table;
mod tensorboard;
mod timing;
mod train;
mod tune;
mod tuning;
mod watch;

use std::process::ExitCode;

use anyhow::Result;
use clap_complete::Shell;

use cli::Commands;
use output::Output;

/// Runs the command that the arguments ask for.
fn main() -> ExitCode {
    let (command, output) = parse::parse();
    interrupt::survive_long_files();
    match Task::resolve(command).and_then(|task| task.run(output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(output::report(&error)),
    }
}

/// A command with everything that it was given resolved to values: networks of the registry, places of weights, options of the
/// engine, recipes. Until it runs, files have been read, but nothing was computed, written or downloaded.
enum Task {
    Train(Box<train::Task>),
    Eval(Box<eval::Task>),
    Report(Box<report::Task>),
    Recipes(recipes::Task),
    Protocols(protocols::Task),
    Predict(Box<predict::Task>),
    Serve(Box<serve::Task>),
    Page(Box<page::Task>),
    Explain(Box<explain::Task>),
    Occlude(Box<explain::OccludeTask>),
    Data(data::Task),
    Plan(plan::Task),
    Probe(Box<probe::Task>),
    Score(Box<score::Task>),
    Sanity(Box<sanity::Task>),
    Bench(bench::Task),
    Kernels(kernels::Task),
    Tune(tune::Task),
    Convert(convert::Task),
    Models(models::Task),
    Show(show::Task),
    Gallery(Box<inside::Gallery>),
    Evolve(Box<inside::Evolve>),
    Invariance(Box<inside::Invariance>),
    Filters(Box<inside::Filters>),
    Correspond(Box<inside::Correspond>),
    Man(Option<String>),
    Completions(Shell),
}

impl Task {
    fn resolve(command: Commands) -> Result<Self> {
        Ok(match command {
            Commands::Train(args) => Self::Train(Box::new(train::Task::resolve(args)?)),
            Commands::Eval(args) => Self::Eval(Box::new(eval::Task::resolve(*args)?)),
            Commands::Recipes(args) => Self::Recipes(recipes::Task::resolve(&args)?),
            Commands::Report(args) => Self::Report(Box::new(report::Task::resolve(*args)?)),
            Commands::Protocols(args) => Self::Protocols(protocols::Task::resolve(args)?),
            Commands::Predict(args) => Self::Predict(Box::new(predict::Task::resolve(args)?)),
            Commands::Page(args) => Self::Page(Box::new(page::Task::resolve(args)?)),
            Commands::Serve(args) => Self::Serve(Box::new(serve::Task::resolve(args)?)),
            Commands::Explain(args) => Self::Explain(Box::new(explain::Task::resolve(*args)?)),
            Commands::Occlude(args) => {
                Self::Occlude(Box::new(explain::OccludeTask::resolve(*args)?))
            }
            Commands::Data(args) => Self::Data(data::Task::resolve(args)?),
            Commands::Plan(args) => Self::Plan(plan::Task::resolve(args)?),
            Commands::Probe(args) => Self::Probe(Box::new(probe::Task::resolve(args)?)),
            Commands::Score(args) => Self::Score(Box::new(score::Task::resolve(args)?)),
            Commands::Sanity(args) => Self::Sanity(Box::new(sanity::Task::resolve(args)?)),
            Commands::Bench(args) => Self::Bench(bench::Task::resolve(args)?),
            Commands::Kernels(args) => Self::Kernels(kernels::Task::resolve(args)?),
            Commands::Tune(args) => Self::Tune(tune::Task::resolve(args)?),
            Commands::Convert(args) => Self::Convert(convert::Task::resolve(args)?),
            Commands::Models(args) => Self::Models(models::Task::resolve(args)),
            Commands::Show(args) => Self::Show(show::Task::resolve(args)?),
            Commands::Gallery(args) => Self::Gallery(Box::new(inside::Gallery::resolve(args)?)),
            Commands::Evolve(args) => Self::Evolve(Box::new(inside::Evolve::resolve(args)?)),
            Commands::Invariance(args) => {
                Self::Invariance(Box::new(inside::Invariance::resolve(args)?))
            }
            Commands::Filters(args) => Self::Filters(Box::new(inside::Filters::resolve(args)?)),
            Commands::Correspond(args) => {
                Self::Correspond(Box::new(inside::Correspond::resolve(args)?))
            }
            Commands::Man { command } => Self::Man(command),
            Commands::Completions { shell } => Self::Completions(shell),
        })
    }

    fn run(self, output: Output) -> Result<()> {
        match self {
            Self::Train(task) => task.run(output),
            Self::Eval(task) => task.run(output),
            Self::Report(task) => task.run(output),
            Self::Recipes(task) => task.run(output),
            Self::Protocols(task) => task.run(output),
            Self::Predict(task) => task.run(output),
            Self::Serve(task) => task.run(output),
            Self::Page(task) => task.run(output),
            Self::Explain(task) => task.run(output),
            Self::Occlude(task) => task.run(output),
            Self::Data(task) => task.run(output),
            Self::Plan(task) => task.run(output),
            Self::Probe(task) => task.run(output),
            Self::Score(task) => task.run(output),
            Self::Sanity(task) => task.run(output),
            Self::Bench(task) => task.run(output),
            Self::Kernels(task) => task.run(output),
            Self::Tune(task) => task.run(output),
            Self::Convert(task) => task.run(output),
            Self::Models(task) => task.run(output),
            Self::Show(task) => task.run(output),
            Self::Gallery(task) => task.run(output),
            Self::Evolve(task) => task.run(output),
            Self::Invariance(task) => task.run(output),
            Self::Filters(task) => task.run(output),
            Self::Correspond(task) => task.run(output),
            Self::Man(command) => output.text(&man::page(command.as_deref())?),
            Self::Completions(shell) => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut parse::command(), "top5", &mut script);
                output.text(&String::from_utf8_lossy(&script))
            }
        }
    }
}
