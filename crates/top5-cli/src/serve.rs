//! `top5 serve`: models behind an HTTP door, and a page. Everything but the start is the library `top5-serve`'s.

mod reload;
pub(crate) mod results;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::graph::Device;
use top5::{Model, Options};
use top5_serve::Server;

use crate::args::{ImageArgs, TunedArgs, WeightsArgs, positive};
use crate::exit::Stop;
use crate::interrupt::Interrupt;
use crate::listen;
use crate::memory::{check_served, limited};
use crate::output::Output;
use crate::printable;
use crate::source::StoredModel;
use results::{Results, ShownArgs};

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 serve                                          the embedded LeNet; the page is at http://127.0.0.1:8000
  top5 serve runs/lenet-digits flowers=runs/flowers   two models, the second under a name of its own
  top5 serve --show results/                          and an evaluation: top5 eval lenet --report results/
  curl --data-binary @digit.png http://127.0.0.1:8000/v1/predict/lenet-digits";

/// Headings of groups of flags in `--help`.
const LIMITS: &str = "Limits";
const BATCHES: &str = "Batches";

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Models, each with the name it is asked for by: run folders, weights files, timm folders or hf-hub:ORG/NAME
    #[arg(value_name = "[NAME=]MODEL", default_value = "lenet-digits")]
    models: Vec<String>,
    /// The address to listen at, or its name; others than this machine's own let the network in
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = listen::host)]
    host: String,
    /// The port; 0 takes a free one
    #[arg(long, short, value_name = "N", default_value_t = 8000)]
    port: u16,
    /// The folder of a training run that is shown, too, while it trains or later
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,
    #[command(flatten)]
    shown: ShownArgs,
    /// A name that requests may be for, beside localhost and addresses; may be given more than once
    #[arg(long, value_name = "NAME", value_parser = listen::host_name)]
    allow_host: Vec<String>,
    /// Explain no images: it takes a second copy of the weights
    #[arg(long)]
    no_explain: bool,
    /// Open no network connection to load a model: read the hub's cache only
    #[arg(long)]
    offline: bool,
    /// Most images that run at once, and most of one request
    #[arg(long, value_name = "N", default_value = "8", value_parser = positive, help_heading = BATCHES)]
    max_batch: usize,
    /// How long a batch waits for more images
    #[arg(long, value_name = "MS", default_value_t = 0, help_heading = BATCHES)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=60_000))]
    batch_delay: u64,
    /// Most images of a model that are decoded, wait or run; the next one gets 503
    #[arg(long, value_name = "N", default_value = "128", value_parser = positive, help_heading = LIMITS)]
    queue: usize,
    /// How long a request may take once it has arrived
    #[arg(long, value_name = "MS", default_value_t = 30_000, help_heading = LIMITS)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    deadline: u64,
    /// How long an explanation may wait and run
    #[arg(long, value_name = "MS", default_value_t = 120_000, help_heading = LIMITS)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    explain_deadline: u64,
    /// Most bytes of a request's body
    #[arg(long, value_name = "BYTES", default_value_t = 10 << 20, help_heading = LIMITS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    max_body: u32,
    /// Most connections at a time; others wait
    #[arg(long, value_name = "N", default_value = "1024", value_parser = positive, help_heading = LIMITS)]
    connections: usize,
    /// How long requests are still taken after SIGTERM or Ctrl-C, while readiness is denied
    #[arg(long, value_name = "MS", default_value_t = 0, help_heading = LIMITS)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=3_600_000))]
    drain_delay: u64,
    /// How long requests that have begun may take then; a second signal ends the program at once
    #[arg(long, value_name = "MS", default_value_t = 10_000, help_heading = LIMITS)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=3_600_000))]
    shutdown_timeout: u64,
    #[command(flatten)]
    images: ImageArgs,
    #[command(flatten)]
    engine: TunedArgs,
}

/// The document of `--json`, written when the server listens.
#[derive(Serialize)]
struct Listening {
    address: String,
    models: Vec<String>,
}

/// The command, resolved.
pub(crate) struct Task {
    models: Vec<(String, StoredModel)>,
    /// What was given, to be read again, and whether no connection may be opened for it.
    given: Vec<String>,
    offline: bool,
    host: String,
    port: u16,
    options: top5_serve::Options,
    engine: Options,
    watched: Option<crate::watch::Followed>,
    results: Results,
}

impl Task {
    pub(crate) fn resolve(args: ServeArgs) -> Result<Self> {
        let models = named(&args.models, args.offline)?;
        let results = Results::resolve(args.shown, args.images.clone())?;
        let ms = Duration::from_millis;
        // Whoever is told the name of the server asks for it.
        let hosts = [args.allow_host, vec![args.host.clone()]].concat();
        let options = top5_serve::Options {
            hosts,
            max_batch: args.max_batch,
            batch_delay: ms(args.batch_delay),
            queue: args.queue,
            deadline: ms(args.deadline),
            explain: !args.no_explain,
            explain_deadline: ms(args.explain_deadline),
            body: args.max_body as usize,
            connections: args.connections,
            images: args.images.limits(),
            drain_delay: ms(args.drain_delay),
            shutdown_timeout: ms(args.shutdown_timeout),
            ..top5_serve::Options::default()
        };
        let watched = args.run.as_deref().map(crate::watch::Followed::resolve).transpose()?;
        let engine = args.engine.options()?;
        let decoders = engine.threads.unwrap_or(options.decoders);
        let options = top5_serve::Options { decoders, ..options };
        Ok(Self {
            models,
            given: args.models,
            offline: args.offline,
            host: args.host,
            port: args.port,
            options,
            engine,
            watched,
            results,
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let listener = listen::bind(&self.host, self.port, "--port")?;
        let address = listener.local_addr()?;
        let models = opened(&self.models, output)?;
        let device = Arc::new(top5::device(&limited(self.engine))?);
        let (batch, explain) = (self.options.max_batch, self.options.explain);
        check_served(&device, &models, batch, explain)?;
        let interrupt = Interrupt::default();
        interrupt.listen()?;
        let run = self.watched.map(|watched| watched.begin(interrupt.stop())).transpose()?;
        let run = run.map(|(feed, _)| feed);
        let shown = self.results.open(output)?;
        let options = top5_serve::Options { run, shown, ..self.options };
        let server = Server::new(models, Arc::clone(&device) as Arc<dyn Device>, options)?;
        let again =
            reload::Again { given: self.given, offline: self.offline, device, batch, explain };
        again.begin(server.reloader(), interrupt.stop(), output)?;
        if !address.ip().is_loopback() {
            output.warn("whoever reaches this machine may use the models: there are no passwords");
        }
        let names: Vec<String> = self.models.into_iter().map(|(name, _)| name).collect();
        let address = format!("http://{address}");
        match output.json {
            true => output.document(&Listening { address, models: names })?,
            false => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let names = printable::list(names.into_iter(), 8);
                output.text(&format!("{address} serves {names}; Ctrl-C ends it\n"))?;
            }
        }
        Ok(server.run(listener, &interrupt.stop())?)
    }
}

/// Reads the models.
fn opened(models: &[(String, StoredModel)], output: Output) -> Result<Vec<(String, Model)>> {
    let open = |(name, stored): &(String, StoredModel)| {
        Ok((name.clone(), stored.open(output)?.inference()))
    };
    models.iter().map(open).collect()
}

/// Models with the names that they are asked for by, from `[NAME=]MODEL`.
pub(crate) fn named(given: &[String], offline: bool) -> Result<Vec<(String, StoredModel)>> {
    let weights = WeightsArgs { weights: None, ema: false, weights_key: None, offline };
    let mut models: Vec<(String, StoredModel)> = Vec::new();
    for given in given {
        let (name, model) = split(given);
        if !is_name(&name) || models.iter().any(|(taken, _)| *taken == name) {
            let message = format!(
                "{given}: the name {name:?} is taken, or has other characters than letters, digits, \".\", \"_\" and \
                 \"-\": write NAME={model}"
            );
            return Err(Stop::Usage(message).into());
        }
        models.push((name, StoredModel::resolve(model, &weights)?));
    }
    Ok(models)
}

/// The name that is given, or the one that a file, folder or repository has.
fn split(given: &str) -> (String, &str) {
    if let Some((name, model)) = given.split_once('=').filter(|(name, _)| is_name(name)) {
        return (name.to_owned(), model);
    }
    let last = given.trim_end_matches('/').rsplit('/').next().unwrap_or(given);
    let last = if given.contains(':') { last.split('@').next().unwrap_or(last) } else { last };
    let stem = Path::new(given).is_file().then(|| Path::new(last).file_stem()).flatten();
    let name = stem.and_then(|stem| stem.to_str()).unwrap_or(last);
    (if name == "lenet" { "lenet-digits" } else { name }.to_owned(), given)
}

/// Whether a path of the server may hold it.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=100).contains(&name.len()) && name.chars().all(allowed) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_names() {
        for (given, name, model) in [
            ("lenet", "lenet-digits", "lenet"),
            ("runs/flowers/", "flowers", "runs/flowers/"),
            ("a=runs/b=c", "a", "runs/b=c"),
            (
                "hf-hub:timm/resnet18.a1_in1k@main",
                "resnet18.a1_in1k",
                "hf-hub:timm/resnet18.a1_in1k@main",
            ),
        ] {
            assert_eq!(split(given), (name.to_owned(), model), "{given}");
        }
        for wrong in ["", ".", "..", "a b", "a/b", "ä", "<b>"] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
