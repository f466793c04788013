//! The registry as rows: what a table of networks tells of each, measured on its graph where that is cheap.

use serde::Serialize;
use top5_graph::GraphError;
use top5_zoo::{Ensemble, Fact, Network, Paper, Published, network};

/// One network or ensemble.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: &'static str,
    /// Other names under which it is known.
    pub aliases: &'static [&'static str],
    /// Its family.
    pub family: &'static str,
    /// Year of its paper or contest.
    pub year: u16,
    /// Its place in the contest.
    pub place: Option<&'static str>,
    /// Authors, title and venue.
    pub paper: String,
    /// Its number at arXiv.
    pub arxiv: Option<&'static str>,
    /// Where the paper describes it.
    pub section: &'static str,
    /// Channels, height and width; none of an ensemble.
    pub input: Option<[usize; 3]>,
    /// Number of classes.
    pub classes: Option<usize>,
    /// Learned parameters, auxiliary heads included; an ensemble's members together.
    pub params: u64,
    /// Multiply-accumulates of one image.
    pub macs: u64,
    /// Values of all activations of one image.
    pub activations: u64,
    /// Height and width of the input that one element of the last feature map sees.
    pub receptive_field: Option<[usize; 2]>,
    /// Published errors.
    pub published: Vec<PublishedError>,
    /// Whether timm has it, under this name.
    pub timm: bool,
    /// An ensemble's networks with their weights.
    pub members: &'static [(&'static str, f32)],
}

/// A published error, in percent.
#[derive(Clone, Debug, Serialize)]
pub struct PublishedError {
    /// How often the first guess is wrong.
    pub top1: Option<f32>,
    /// How often none of the first five guesses is right.
    pub top5: Option<f32>,
    /// The images that were classified.
    pub set: String,
    /// Crops, scales and number of networks.
    pub protocol: &'static str,
    /// Where it is printed.
    pub source: &'static str,
}

impl Listed {
    /// A network's row.
    pub fn of_network(network: &'static Network) -> Result<Self, GraphError> {
        let seen = network.graph()?.inference();
        let is_map = |id: &usize| seen.nodes()[*id].shape().size() != [1, 1];
        let last_map = (0..seen.nodes().len()).rev().find(is_map);
        Ok(Self {
            name: network.name,
            aliases: network.aliases,
            family: network.family,
            year: network.year,
            place: network.place.known().copied(),
            paper: citation(&network.paper),
            arxiv: network.paper.arxiv,
            section: network.section,
            input: Some(network.input),
            classes: Some(network.classes),
            params: network.params,
            macs: network.macs,
            activations: seen.activations() as u64,
            receptive_field: last_map.map(|id| seen.receptive_fields()[id].size),
            published: errors(&network.published),
            timm: network.is_in_timm(),
            members: &[],
        })
    }

    /// An ensemble's row. Its members are networks of the registry.
    pub fn of_ensemble(ensemble: &'static Ensemble) -> Result<Self, GraphError> {
        let known = |name: &str| network(name).expect("members are in the registry");
        let members = ensemble.members.iter().map(|(name, _)| Self::of_network(known(name)));
        let members = members.collect::<Result<Vec<Self>, _>>()?;
        let sum = |part: fn(&Self) -> u64| members.iter().map(part).sum();
        Ok(Self {
            name: ensemble.name,
            aliases: ensemble.aliases,
            family: ensemble.family,
            year: ensemble.year,
            place: ensemble.place.known().copied(),
            paper: citation(&ensemble.paper),
            arxiv: ensemble.paper.arxiv,
            section: ensemble.section,
            input: None,
            classes: members.first().and_then(|member| member.classes),
            params: sum(|row| row.params),
            macs: sum(|row| row.macs),
            activations: sum(|row| row.activations),
            receptive_field: None,
            published: errors(&ensemble.published),
            timm: false,
            members: ensemble.members,
        })
    }
}

/// Authors, title and venue of a paper in one line.
pub fn citation(paper: &Paper) -> String {
    let arxiv = paper.arxiv.map(|number| format!(", arXiv:{number}")).unwrap_or_default();
    format!("{}, \"{}\", {}{arxiv}", paper.authors, paper.title, paper.venue)
}

fn errors(published: &Fact<&'static [Published]>) -> Vec<PublishedError> {
    let published = published.known().copied().unwrap_or_default();
    let row = |error: &Published| PublishedError {
        top1: error.top1,
        top5: error.top5,
        set: error.set.to_string(),
        protocol: error.protocol,
        source: error.source,
    };
    published.iter().map(row).collect()
}
