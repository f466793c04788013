//! The command line: every command with its arguments as they are given, the first of two stages. The second is each command's
//! `Task::resolve`. Each flag can also come from the environment, as `TOP5_` and its name.

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::exit::TABLE;
use crate::{
    bench, convert, data, eval, explain, inside, kernels, models, page, plan, predict, probe,
    protocols, recipes, report, sanity, score, serve, show, train, tune,
};

/// Heading of a group of flags in `--help`.
const OUTPUT: &str = "Output";

/// The ImageNet champions, from LeNet to SENet: train, evaluate, look inside and ship.
#[derive(Debug, Parser)]
#[command(name = "top5", version, propagate_version = true, arg_required_else_help = true)]
#[command(before_help = EXAMPLES, after_help = TABLE)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(subcommand)]
    pub(crate) command: Commands,
}

const EXAMPLES: &str = "\
Examples:
  top5 train lenet                      learn handwritten digits, in under a minute
  top5 predict digit.png                which digit is it?
  top5 eval runs/lenet-digits           top-1 and top-5 on the test images
  top5 show resnet50                    its layers, parameters and MACs";

#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Write one JSON document to stdout
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub(crate) json: bool,
    /// Say nothing on stderr but errors and warnings
    #[arg(long, short, global = true, conflicts_with = "verbose", help_heading = OUTPUT)]
    pub(crate) quiet: bool,
    /// Say more on stderr
    #[arg(long, short, global = true, help_heading = OUTPUT)]
    pub(crate) verbose: bool,
    /// Replace files whatever they are
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Commands {
    /// Train a network; without more arguments, on the embedded digits
    #[command(before_help = train::EXAMPLES)]
    Train(train::TrainArgs),
    /// Evaluate a model: top-1, top-5, loss, per class
    #[command(before_help = eval::EXAMPLES)]
    Eval(Box<eval::EvalArgs>),
    /// Write a run as one page: its course, its mistakes, and what it followed from
    #[command(before_help = report::EXAMPLES)]
    Report(Box<report::ReportArgs>),
    /// List the recipes of published trainings, or print one as a file
    #[command(before_help = recipes::EXAMPLES)]
    Recipes(recipes::RecipesArgs),
    /// List the protocols that look at an image more than once, or print one as a file
    Protocols(protocols::ProtocolsArgs),
    /// Say what images show
    #[command(before_help = predict::EXAMPLES)]
    Predict(predict::PredictArgs),
    /// Answer over HTTP: a page for people, the Open Inference Protocol for programs
    #[command(before_help = serve::EXAMPLES)]
    Serve(serve::ServeArgs),
    /// Write the page of `serve` into a folder, with results computed beforehand
    #[command(before_help = page::EXAMPLES)]
    Page(page::PageArgs),
    /// Show why a network says what it says of images: heat maps, projections, contrasts
    #[command(before_help = explain::EXAMPLES)]
    Explain(Box<explain::ExplainArgs>),
    /// Hide parts of images behind a gray square: figure 7 of Zeiler & Fergus
    #[command(before_help = explain::OCCLUDE_EXAMPLES)]
    Occlude(Box<explain::OccludeArgs>),
    /// List the networks with their published numbers
    #[command(before_help = models::EXAMPLES)]
    Models(models::ModelsArgs),
    /// Show the layers of a network or of a model: its classes and preprocessing, too
    #[command(before_help = show::EXAMPLES)]
    Show(show::ShowArgs),
    /// Fit a linear classifier to what each layer sees
    #[command(before_help = probe::EXAMPLES)]
    Probe(probe::ProbeArgs),
    /// Measure how good explanations are, beside two controls
    #[command(before_help = score::EXAMPLES)]
    Score(score::ScoreArgs),
    /// Test whether explanations depend on what the network has learnt
    #[command(before_help = sanity::EXAMPLES)]
    Sanity(sanity::SanityArgs),
    /// Show what a network's maps answer to: their strongest patches of a data set, beside projections
    #[command(before_help = inside::GALLERY_EXAMPLES)]
    Gallery(inside::GalleryArgs),
    /// Show how what maps answer to changes while a network learns
    #[command(before_help = inside::EVOLVE_EXAMPLES)]
    Evolve(inside::EvolveArgs),
    /// Measure what moving, scaling and turning images changes
    #[command(before_help = inside::INVARIANCE_EXAMPLES)]
    Invariance(inside::InvarianceArgs),
    /// Show the first layer's filters: their scale, aliasing, dead and saturated maps
    #[command(before_help = inside::FILTERS_EXAMPLES)]
    Filters(inside::FiltersArgs),
    /// Measure whether hiding the same part of objects changes features alike
    #[command(before_help = inside::CORRESPOND_EXAMPLES)]
    Correspond(inside::CorrespondArgs),
    /// Look at images before a network does: what is wrong with them, what it will see
    Data(data::DataCommandArgs),
    /// Show how a network would run: steps, kernels and why, memory
    Plan(plan::PlanArgs),
    /// Measure how fast networks run here
    Bench(bench::BenchArgs),
    /// Measure every kernel that can run a convolution
    Kernels(kernels::KernelsArgs),
    /// Measure which kernel runs each layer fastest, and save it for --tuning
    Tune(tune::TuneArgs),
    /// Write a model in another format
    #[command(visible_alias = "export", before_help = convert::EXAMPLES)]
    Convert(convert::ConvertArgs),
    /// Print a manual page: `top5 man train | man -l -`
    Man {
        /// The command that it is about; the program by default
        command: Option<String>,
    },
    /// Print the completions for a shell
    #[command(before_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  top5 completions bash > ~/.local/share/bash-completion/completions/top5
  top5 completions fish > ~/.config/fish/completions/top5.fish";
