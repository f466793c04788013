//! Tensors have the names and shapes that torchvision, timm and the article's code give them.

use std::collections::BTreeMap;
use top5_testkit::oracle::{forward, shared};
use top5_zoo::network;

#[test]
fn tensors_are_those_of_the_peers() {
    let Some(shared) = shared() else { return };
    let files = std::fs::read_dir(shared.join("reference/forward")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 60, "{} files", files.len());
    for file in files {
        let network = network(file.file_stem().unwrap().to_str().unwrap()).unwrap();
        let case = forward(network.name).unwrap();
        let graph = network.graph().unwrap();
        let ours: BTreeMap<String, Vec<usize>> =
            graph.params().map(|(name, param)| (name, param.shape.clone())).collect();
        let theirs: BTreeMap<String, Vec<usize>> = case.tensors.into_iter().collect();
        let missing: Vec<_> = theirs.iter().filter(|(n, s)| ours.get(*n) != Some(s)).collect();
        let extra: Vec<_> = ours.iter().filter(|(n, s)| theirs.get(*n) != Some(s)).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "{}: of the peer only: {missing:?}; ours only: {extra:?}",
            network.name
        );
        assert_eq!(graph.param_count(), case.parameters, "{}", network.name);
    }
}
