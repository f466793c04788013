//! The command `top5`: one file per command, and what they share.

#![forbid(unsafe_code)]

mod args;
mod bench;
mod convert;
mod environment;
mod eval;
mod exit;
mod inputs;
mod interrupt;
mod kernels;
mod memory;
mod models;
mod output;
mod plan;
mod predict;
mod preprocess;
mod progress;
mod run_folder;
mod show;
mod source;
mod table;
mod timing;
mod train;
mod tune;
mod tuning;

use std::process::ExitCode;

use anyhow::Result;

use args::Commands;
use output::Output;

/// Runs the command that the arguments ask for.
fn main() -> ExitCode {
    let (command, output) = args::parse();
    match dispatch(command, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}

fn dispatch(command: Commands, output: Output) -> Result<()> {
    match command {
        Commands::Train(args) => train::run(&args, output),
        Commands::Eval(args) => eval::run(&args, output),
        Commands::Predict(args) => predict::run(&args, output),
        Commands::Plan(args) => plan::run(&args, output),
        Commands::Bench(args) => bench::run(&args, output),
        Commands::Kernels(args) => kernels::run(&args, output),
        Commands::Tune(args) => tune::run(&args, output),
        Commands::Convert(args) => convert::run(&args, output),
        Commands::Models(args) => models::run(&args, output),
        Commands::Show(args) => show::run(&args, output),
        Commands::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut args::command(), "top5", &mut script);
            output.text(&String::from_utf8_lossy(&script))
        }
    }
}
