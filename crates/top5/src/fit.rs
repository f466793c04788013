//! Tensors and a network of the zoo put together: which network they belong to, at how many classes, under which names.

use top5_formats::{self as formats, Format};
use top5_graph::{Graph, GraphError, Node, Weights, WeightsError};
use top5_zoo::{Colours, Network, Settings};

use crate::error::ModelError;

/// The network at the number of classes that the weights have, and at `input` if it is given, otherwise for as many channels as the
/// weights are for, with the weights under its names. Auxiliary heads that the file lacks, or that the input has no room for, are left out. `said` is the number of classes of
/// a network whose tensors do not tell it.
pub(crate) fn fit(
    network: &'static Network,
    weights: Weights,
    input: Option<[usize; 3]>,
    said: Option<usize>,
) -> Result<(Graph, Weights), ModelError> {
    let mut settings = Settings { input: input.unwrap_or(network.input), ..network.settings() };
    let mut graph = build(network, &mut settings)?;
    if let (None, Some(classes)) = (head(&graph), said) {
        settings.classes = classes;
        graph = network.with(settings)?;
    }
    // As most files are: then no copy is made.
    if weights.check(&graph).is_ok() {
        return Ok((graph, weights));
    }
    let mut error = match formats::fit(weights.clone(), &graph) {
        Ok(weights) => return Ok((graph, weights)),
        Err(error) => error,
    };
    let mut graphs = Vec::new();
    let channels = other_channels(&graph, &error).filter(|_| input.is_none());
    let classes = other_classes(&graph, &error);
    if channels.is_some() || classes.is_some() {
        settings.input[0] = channels.unwrap_or(settings.input[0]);
        settings.classes = classes.unwrap_or(settings.classes);
        let graph = network.with(settings)?;
        match formats::fit(weights.clone(), &graph) {
            Ok(weights) => return Ok((graph, weights)),
            // It tells what is wrong beside these numbers.
            Err(other) => error = other,
        }
        graphs.push(graph.inference());
    }
    graphs.push(graph.inference());
    let fitted = graphs
        .into_iter()
        .find_map(|graph| Some((formats::fit(weights.clone(), &graph).ok()?, graph)));
    match fitted {
        Some((weights, graph)) => Ok((graph, weights)),
        None => {
            let graphs = all_graphs()?;
            check_single(&weights, &graphs)?;
            let found = formats::recognise(&weights, &graphs);
            match found.first().filter(|_| !found.contains(&network.name)) {
                Some(meant) => {
                    Err(ModelError::Other { error, meant: top5_zoo::network(meant)?.name })
                }
                None => Err(error.into()),
            }
        }
    }
}

/// The networks of the zoo.
fn all_graphs() -> Result<Vec<Graph>, GraphError> {
    top5_zoo::networks().map(Network::graph).collect()
}

/// Fails where tensors that fit nothing are those of several networks.
fn check_single(weights: &Weights, graphs: &[Graph]) -> Result<(), ModelError> {
    let found = formats::several(weights, graphs);
    if found.is_empty() { Ok(()) } else { Err(ModelError::Several(found)) }
}

/// The network as it is set, without its auxiliary heads where they, which only training needs, do not fit the input.
fn build(network: &Network, settings: &mut Settings) -> Result<Graph, GraphError> {
    network.with(*settings).or_else(|error| {
        settings.auxiliary = false;
        network.with(*settings).map_err(|_| error)
    })
}

/// The number of the input's channels in a file whose first layer has another one than the graph's.
fn other_channels(graph: &Graph, error: &WeightsError) -> Option<usize> {
    let weight = formats::stem(graph)?;
    error.mismatched.iter().find(|mismatch| mismatch.name == weight)?.got.get(1).copied()
}

/// The number of classes in a file whose last layer has another one than the graph's.
fn other_classes(graph: &Graph, error: &WeightsError) -> Option<usize> {
    let head = head(graph)?;
    let weight = head.param_name(head.spec.params.first()?);
    error.mismatched.iter().find(|mismatch| mismatch.name == weight)?.got.first().copied()
}

/// The layer whose parameters tell the number of classes: that of the logits, or where only their shape is changed after it (a
/// classifier that is a convolution), that one.
fn head(graph: &Graph) -> Option<&Node> {
    let mut node = graph.logits();
    while node.spec.params.is_empty() {
        let &[input] = &node.inputs[..] else { return None };
        node = graph.node(input);
    }
    (node.shape().channels() == graph.classes()).then_some(node)
}

/// The network of the registry that has these tensors: of several, the one that is built as Caffe builds it if the file is
/// Caffe's, otherwise the one that is registered first, which is the usual one.
pub(crate) fn recognise(weights: &Weights, format: Format) -> Result<&'static Network, ModelError> {
    let graphs = all_graphs()?;
    let found = formats::recognise(weights, &graphs);
    let found: Vec<_> = found.into_iter().map(top5_zoo::network).collect::<Result<_, _>>()?;
    let caffe = found.iter().find(|network| format == Format::Caffe && is_caffe(network));
    if let Some(network) = caffe.or(found.first()) {
        return Ok(network);
    }
    check_single(weights, &graphs)?;
    // One that lacks most of the network's tensors is no hint.
    let differences = graphs.iter().filter_map(|graph| {
        let error = weights.check(graph).err()?;
        (2 * error.missing.len() < graph.params().count()).then_some(error)
    });
    let wrong = |error: &WeightsError| {
        error.missing.len() + error.unexpected.len() + error.mismatched.len()
    };
    let nearest = differences.min_by_key(wrong);
    Err(ModelError::Unrecognised { tensors: weights.len(), nearest })
}

/// The network, unless the file is Caffe's and another network has the same tensors and is built as Caffe builds it.
pub(crate) fn check_caffe(
    network: &'static Network,
    weights: &Weights,
    format: Format,
) -> Result<&'static Network, ModelError> {
    if format != Format::Caffe || is_caffe(network) {
        return Ok(network);
    }
    match recognise(weights, format) {
        Ok(meant) if is_caffe(meant) && network.params == meant.params => {
            Err(ModelError::Caffe { named: network.name, meant: meant.name })
        }
        Ok(_) | Err(_) => Ok(network),
    }
}

/// Whether the network is built, and its images prepared, as in Caffe.
fn is_caffe(network: &Network) -> bool {
    network.preprocessing.colours == Colours::Bgr
}
