//! Where a file of weights comes from decides how its images are prepared, and its input which heads are built.

use std::collections::BTreeMap;

use top5::Model;
use top5::formats::safetensors;
use top5::zoo::network;

#[test]
fn weights_in_files_of_pytorch_want_its_images_where_they_were_converted() {
    let legacy = network("legacy_seresnet50").unwrap();
    let weights = Model::untrained(legacy, 0).unwrap().weights;
    let model = Model::from_bytes(&safetensors::write(&weights, &BTreeMap::new())).unwrap();
    assert_eq!(model.graph.name(), legacy.name);
    assert_eq!(model.preprocess.std, [0.229, 0.224, 0.225]);
    // Caffe's own are bytes less a mean.
    assert_eq!(top5::preprocessing(legacy, legacy.input).std, [1.0 / 255.0; 3]);
}

#[test]
fn heads_that_the_input_has_no_room_for_are_left_out() {
    let mut model = Model::untrained(network("inception_v3").unwrap(), 0).unwrap();
    assert!(model.weights.tensor("AuxLogits.fc.weight").is_some());
    model.preprocess.input_size = [3, 192, 256];
    let read = Model::from_bytes(&model.to_bytes()).unwrap();
    assert_eq!((read.graph.input(), read.graph.outputs().len()), ([3, 192, 256], 1));
    assert!(read.weights.tensor("AuxLogits.fc.weight").is_none());
    assert_eq!(read.weights.tensor("fc.weight"), model.weights.tensor("fc.weight"));
}
