//! `docs/zoo.md` is what the registry and the heads of the pages say. `cargo xtask bless` rewrites it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use top5_zoo::{
    Colours, Ensemble, Fact, Network, Paper, Preprocessing, Published, Resample, ensembles,
    networks,
};

const HEAD: &str = "\
# The zoo

<!-- Written by `cargo xtask bless` from the pages in crates/top5-zoo/src. Edit those. -->

For those who choose a network or doubt a number: every network, the paper that it is from, its place in the contest,
what it costs, which errors were published, and where it departs from its paper.

- **Parameters** are learned values at the registered input and number of classes, auxiliary heads included; running
  means and variances are not counted.
- **MACs** are the multiply-accumulates of convolutions and fully connected layers for one image at inference. Papers
  often call them FLOPs.
- **Activations** are the values of all layers' outputs for one image at inference.
- **Sees** is how much of the input one value of the last feature map depends on, at most the whole input. After a
  squeeze that is everything.
- **Errors** are in percent, as printed by the source; protocols differ, and so do training recipes. timm's results are those
  of its table for ImageNet at its commit 7479d45; other versions differ by some hundredths.

`top5 models` prints the same figures, `top5 show NETWORK` the layers.
";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The head of the page beside the part of the catalogue that registers `name`, from `Departures:` on.
fn departures(name: &str) -> String {
    let registers = format!("name: \"{name}\"");
    let mut parts = std::fs::read_dir(folder().join("catalogue")).unwrap();
    let page = parts.find_map(|part| {
        let part = part.unwrap();
        let text = std::fs::read_to_string(part.path()).unwrap();
        text.contains(&registers).then(|| folder().join("pages").join(part.file_name()))
    });
    let page = page.unwrap_or_else(|| panic!("the catalogue does not register {name}"));
    let page = std::fs::read_to_string(page).unwrap();
    let head = page.lines().map_while(|line| line.strip_prefix("//! "));
    let lines: Vec<&str> = head.skip_while(|line| !line.starts_with("Departures:")).collect();
    let text = lines.join("\n  ").replace("[`crate::forms`]", "`top5_zoo::forms`");
    let text = text.strip_prefix("Departures: ");
    text.unwrap_or_else(|| panic!("the page of {name} says no departures")).to_owned()
}

fn citation(Paper { authors, title, venue, arxiv }: &Paper) -> String {
    let arxiv = arxiv.map(|number| format!(", [arXiv:{number}](https://arxiv.org/abs/{number})"));
    format!("{authors}, “{title}”, {venue}{}.", arxiv.unwrap_or_default())
}

fn prose(fact: &Fact<&'static str>) -> String {
    match fact {
        Fact::Known(text) => (*text).to_owned(),
        Fact::Missing(reason) => format!("none: {reason}"),
    }
}

fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap())
        .collect();
    groups.join(",")
}

fn percent(value: Option<f32>) -> String {
    let text = value.map(|value| value.to_string()).unwrap_or_default();
    if text.is_empty() || text.contains('.') { text } else { text + ".0" }
}

fn preprocessing(p: &Preprocessing) -> String {
    let filter = match p.resample {
        Resample::Bilinear => "bilinear",
        Resample::Bicubic => "bicubic",
    };
    let colours = match p.colours {
        Colours::Grey => "grey",
        Colours::Rgb => "RGB",
        Colours::Bgr => "BGR",
    };
    let (side, source) = (p.resize, p.source);
    format!("{colours}, shorter side {side} ({filter}), the centre; mean and scale: {source}")
}

fn images(network: &Network) -> String {
    let images = preprocessing(&network.preprocessing);
    match &network.converted {
        Some(converted) => {
            format!("{images}; for PyTorch's files: {}", preprocessing(converted))
        }
        None => images,
    }
}

fn costs(network: &Network) -> String {
    let graph = network.graph().unwrap().inference();
    let fields = graph.receptive_fields();
    let maps = graph.nodes().iter().rfind(|node| node.shape().size() != [1, 1]);
    let [height, width] = maps.map_or([1, 1], |node| fields[node.id.index()].size);
    let [c, h, w] = network.input;
    let aliases = match network.aliases {
        [] => String::new(),
        names => format!(" ({})", names.join(", ")),
    };
    format!(
        "| `{}`{aliases} | {} | {} | {c}×{h}×{w} | {} | {} | {} | {} | {height}×{width} |\n",
        network.name,
        network.section,
        network.year,
        network.classes,
        thousands(network.params),
        thousands(network.macs),
        thousands(graph.activations() as u64),
    )
}

/// The published errors, one line each; of a network without, the reason.
fn errors(name: &str, published: &Fact<&'static [Published]>) -> String {
    match published {
        Fact::Missing(reason) => format!("| `{name}` | | | {reason} | | |\n"),
        Fact::Known(errors) => errors
            .iter()
            .map(|error| {
                let [top1, top5] = [error.top1, error.top5].map(percent);
                let Published { set, protocol, source, .. } = error;
                format!("| `{name}` | {top1} | {top5} | {set} | {protocol} | {source} |\n")
            })
            .collect(),
    }
}

const COSTS: &str = "\
| network | where | year | input | classes | parameters | MACs | activations | sees |
|---|---|---:|---:|---:|---:|---:|---:|---:|
";
const ERRORS: &str = "\
| network | top-1 error | top-5 error | images | protocol | source |
|---|---:|---:|---|---|---|
";

/// One line per value of `of`, after the networks that share it.
fn shared(page: &mut String, networks: &[&Network], title: &str, of: impl Fn(&Network) -> String) {
    let mut values: Vec<(String, Vec<&str>)> = Vec::new();
    for network in networks {
        let value = of(network);
        match values.iter_mut().find(|(known, _)| *known == value) {
            Some((_, names)) => names.push(network.name),
            None => values.push((value, vec![network.name])),
        }
    }
    for (value, names) in &values {
        let names = match values.len() {
            1 => String::new(),
            _ => format!(" ({})", names.join(", ")),
        };
        writeln!(page, "- **{title}**{names}: {value}").unwrap();
    }
}

fn family(page: &mut String, networks: &[&Network]) {
    writeln!(page, "\n## {}\n", networks[0].family).unwrap();
    shared(page, networks, "Paper", |network| citation(&network.paper));
    shared(page, networks, "Place", |network| prose(&network.place));
    shared(page, networks, "Starts as", |network| network.init.to_owned());
    shared(page, networks, "Images", images);
    shared(page, networks, "Departures", |network| departures(network.name));
    writeln!(page).unwrap();
    *page += COSTS;
    networks.iter().for_each(|network| *page += &costs(network));
    writeln!(page).unwrap();
    *page += ERRORS;
    networks.iter().for_each(|network| *page += &errors(network.name, &network.published));
}

fn ensemble(page: &mut String, ensemble: &Ensemble) {
    let Ensemble { name, family, paper, place, section, members, published, .. } = ensemble;
    writeln!(page, "\n## {family}\n").unwrap();
    writeln!(page, "- **Paper**: {}", citation(paper)).unwrap();
    writeln!(page, "- **Place**: {}", prose(place)).unwrap();
    writeln!(page, "- **Composition**: {section}\n").unwrap();
    *page += "| member | weight |\n|---|---:|\n";
    for (member, weight) in *members {
        writeln!(page, "| `{member}` | {weight:.4} |").unwrap();
    }
    writeln!(page).unwrap();
    *page += ERRORS;
    *page += &errors(name, published);
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut families: Vec<Vec<&Network>> = Vec::new();
    for network in networks() {
        match families.iter_mut().find(|family| family[0].family == network.family) {
            Some(family) => family.push(network),
            None => families.push(vec![network]),
        }
    }
    families.iter().for_each(|networks| family(&mut page, networks));
    ensembles().for_each(|one| ensemble(&mut page, one));
    page
}

#[test]
fn page_of_the_zoo_is_what_the_registry_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/zoo.md");
    let now = page();
    for name in networks().map(|n| n.name).chain(ensembles().map(|e| e.name)) {
        assert!(now.contains(&format!("| `{name}`")), "{name} is missing");
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, now).unwrap();
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differ = written.lines().zip(now.lines()).find(|(was, is)| was != is);
    assert!(written == now, "docs/zoo.md is old, first {differ:#?}; run `cargo xtask bless`");
}
