//! Networks that no file of weights tells apart: they have the same tensors and compute otherwise, as the two GoogLeNets for
//! CIFAR do, whose batch normalisations differ in an epsilon.

use top5_graph::Graph;
use top5_zoo::{Colours, Network};

/// What is to be said where a network was recognised by its tensors and could be another one.
pub(crate) fn about_twins(recognised: &str) -> Option<String> {
    let network = top5_zoo::network(recognised).ok()?;
    let graph = network.graph().ok()?;
    let twins: Vec<&str> = top5_zoo::networks()
        .filter(|other| other.name != network.name && other.params == network.params)
        .filter(|other| is_caffe(other) == is_caffe(network)) // which a file's format tells
        .filter(|other| other.graph().is_ok_and(|other| have_the_same_tensors(&graph, &other)))
        .map(|other| other.name)
        .collect();
    let named = twins.join(" or ");
    (!twins.is_empty()).then(|| {
        format!(
            "the tensors are those of {0} and of {named}, which compute otherwise: taken as {0}; if it is not, name the \
             network and give the file with --weights",
            network.name
        )
    })
}

/// Whether both have as many layers with the same tensors: then they differ in numbers, or in the order of layers.
fn have_the_same_tensors(a: &Graph, b: &Graph) -> bool {
    let tensors = |graph: &Graph| -> Vec<_> {
        graph.params().map(|(name, param)| (name, param.shape.clone())).collect()
    };
    a.nodes().len() == b.nodes().len() && tensors(a) == tensors(b)
}

fn is_caffe(network: &Network) -> bool {
    network.preprocessing.colours == Colours::Bgr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_that_files_do_not_tell_apart_are_told_of() {
        for network in top5_zoo::networks() {
            // The two AlexNets normalise and pool in another order.
            let is_one = network.name.starts_with("googlenet_cifar")
                || ["alexnet", "alexnet_caffe"].contains(&network.name);
            assert_eq!(about_twins(network.name).is_some(), is_one, "{}", network.name);
        }
        let said = about_twins("googlenet_cifar").unwrap();
        assert!(said.contains("and of googlenet_cifar_n5x5"), "{said}");
    }
}
