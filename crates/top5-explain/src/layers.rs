//! Which layer a method looks at, where none is named: the last feature map that the whole network goes through.

use top5_graph::{Family, Graph, Node, NodeId, Shape};

use crate::error::ExplainError;

/// The layer that heat maps are made of unless one is named: the last activation, sum or join of maps larger than 1×1 that
/// every path from the image to the logits goes through, before pooling and classifier (Selvaraju et al., ICCV 2017, section
/// 3). `None` where a network has no such map.
pub fn default_layer(graph: &Graph) -> Option<NodeId> {
    let graph_len = graph.nodes().len();
    let mut needed = vec![false; graph_len];
    needed[graph.logits().id.index()] = true;
    // The first node that reads what lies before a node and is none of the nodes before it, seen from the logits.
    let mut candidates = Vec::new();
    let mut earliest = usize::MAX;
    for node in graph.nodes().iter().rev() {
        let at = node.id.index();
        if !needed[at] {
            continue;
        }
        // No edge from before this node to after it: every path goes through it.
        if earliest >= at {
            candidates.push(node);
        }
        for input in &node.inputs {
            needed[input.index()] = true;
            earliest = earliest.min(input.index());
        }
    }
    let maps = |node: &&&Node| is_feature_map(node) && node.id != graph.logits().id;
    candidates.iter().find(maps).map(|node| node.id)
}

fn is_feature_map(node: &Node) -> bool {
    let family = match node.spec.family {
        Family::Convolution | Family::Normalisation | Family::Activation | Family::Join => true,
        Family::Input | Family::Linear | Family::Pooling | Family::Rearrangement => false,
    };
    family && matches!(node.shape(), Shape::Map([_, h, w]) if h * w > 1)
}

/// The layer of this name, or the default one. Fails where there is none, or where it has no maps.
pub fn layer(graph: &Graph, name: Option<&str>) -> Result<NodeId, ExplainError> {
    let Some(name) = name else {
        let why = "the network has no feature map before its classifier";
        return default_layer(graph).ok_or_else(|| wrong(graph, "default", why));
    };
    match graph.find(name) {
        None => Err(wrong(graph, name, "there is no such layer")),
        Some(node) if node.inputs.is_empty() => Err(wrong(graph, name, "that is the image")),
        Some(node) => Ok(node.id),
    }
}

/// As [`layer`], and fails unless it is a map of more than one cell, as heat maps of layers need.
pub fn map_layer(graph: &Graph, name: Option<&str>) -> Result<NodeId, ExplainError> {
    let id = layer(graph, name)?;
    let node = graph.node(id);
    match node.shape() {
        Shape::Map([_, h, w]) if h * w > 1 => Ok(id),
        Shape::Map(_) | Shape::Flat(_) => {
            Err(wrong(graph, &node.name, "it has no map of more than one cell"))
        }
    }
}

fn wrong(graph: &Graph, name: &str, why: &str) -> ExplainError {
    ExplainError::Layer { name: name.to_owned(), why: why.to_owned(), choices: near(graph, name) }
}

/// Names of layers with maps: those that resemble `name`, or else the last ones.
fn near(graph: &Graph, name: &str) -> Vec<String> {
    const SHOWN: usize = 8;
    let maps = graph.nodes().iter().filter(|node| is_feature_map(node));
    let names: Vec<&str> = maps.map(|node| &*node.name).collect();
    let alike = |other: &&&str| {
        let (a, b) = (other.to_lowercase(), name.to_lowercase());
        !b.is_empty() && (a.contains(&b) || b.contains(&a))
    };
    let mut found: Vec<&str> = names.iter().filter(alike).copied().collect();
    if found.is_empty() {
        found = names[names.len().saturating_sub(SHOWN)..].to_vec();
    }
    found.into_iter().take(SHOWN).map(str::to_owned).collect()
}
