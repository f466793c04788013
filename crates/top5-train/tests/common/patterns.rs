//! A small network without kinks and images to train it on, for runs that are compared with PyTorch's.

use std::sync::Arc;

use top5_data::{MemoryDataset, Preprocess, Splits};
use top5_graph::random::Stream;
use top5_graph::{Graph, net};
use top5_train::{FineTuning, Recipe, Trainer};

/// Two convolutions with batch normalisation and a head. Sigmoids, so that rounding tips nothing over.
pub(crate) fn graph() -> Graph {
    net("patterns", [3, 8, 8], |x| {
        x.conv_bn(4, 3).sigmoid().conv_bn(6, 3).sigmoid().flatten().linear(3)
    })
    .expect("the network is right")
}

/// A run by this recipe: 80 images of three classes, brighter from class to class in the first channel and darker in the
/// second, and none for validation.
pub(crate) fn trainer(recipe: &Recipe) -> Trainer {
    let mut stream = Stream::new(2012, 0);
    let labels: Vec<u32> = (0..80).map(|i| i % 3).collect();
    let mut pixel = |base: u32| (base + stream.below(120) as u32) as u8;
    let image = |&label: &u32| {
        let bases = [20 + 50 * label, 120 - 50 * label, 70];
        bases.into_iter().flat_map(|base| [base; 64]).map(&mut pixel).collect::<Vec<u8>>()
    };
    let pixels = labels.iter().flat_map(image).collect();
    let classes = ["dark", "medium", "bright"].map(str::to_owned).to_vec();
    let dataset = |pixels, labels| {
        Arc::new(MemoryDataset::new("patterns", classes.clone(), [3, 8, 8], pixels, labels))
    };
    let (train, validation) = (dataset(pixels, labels), dataset(Vec::new(), Vec::new()));
    let splits =
        Splits { train, validation, test: None, skipped: Vec::new(), unused: Arc::default() };
    let tuning = FineTuning::new(&graph(), recipe).expect("the recipe suits the network");
    Trainer::new(recipe.clone(), &splits, Preprocess::squash([3, 8, 8])).fine_tuning(tuning)
}
