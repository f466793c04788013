//! `top5 protocols`: how often, and where, the papers looked at an image.

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::eval::{NAMES, Protocol, named};

use crate::args::positive;
use crate::eval::protocol::{Choice, write};
use crate::output::Output;
use crate::table::{self, Column};

#[derive(Debug, Args)]
pub(crate) struct ProtocolsArgs {
    /// The protocol to print, in the form that `eval --protocol FILE` reads; all are listed without
    pub(crate) name: Option<String>,
    /// Side of the network's input, which the scales follow
    #[arg(long, visible_alias = "img-size", value_name = "N", default_value = "224")]
    #[arg(value_parser = positive)]
    pub(crate) input: usize,
}

/// The document of `--json`.
#[derive(Serialize)]
struct List {
    protocols: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    about: &'static str,
    views: usize,
    #[serde(flatten)]
    protocol: Protocol,
}

/// The command, resolved.
pub(crate) struct Task {
    /// The one to print; all are listed without.
    one: Option<Protocol>,
    input: [usize; 2],
}

impl Task {
    pub(crate) fn resolve(args: ProtocolsArgs) -> Result<Self> {
        let input = [args.input; 2];
        let one = args.name.map(|name| Choice::resolve(&name)?.at(input)).transpose()?;
        Ok(Self { one, input })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        match self.one {
            Some(protocol) if output.json => output.document(&protocol),
            Some(protocol) => output.text(&write(&protocol)?),
            None => {
                let entry = |(name, about)| {
                    let protocol = named(name, self.input).expect("names of the list are known");
                    Entry { about, views: protocol.count(), protocol }
                };
                let protocols: Vec<Entry> = NAMES.into_iter().map(entry).collect();
                match output.json {
                    true => output.document(&List { protocols }),
                    false => output.text(&list(&protocols)),
                }
            }
        }
    }
}

fn list(entries: &[Entry]) -> String {
    const COLUMNS: [Column; 3] = [("protocol", false), ("views", true), ("what", false)];
    let row = |entry: &Entry| {
        [entry.protocol.name.clone(), entry.views.to_string(), entry.about.to_owned()]
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    table::aligned(COLUMNS, &rows)
}
