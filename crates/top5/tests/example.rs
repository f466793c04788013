//! The example of the README runs.

#[path = "../examples/digits.rs"]
mod digits;

#[test]
fn digits_are_learnt_and_recognised() {
    digits::main().unwrap();
    let model = top5::Model::load(std::env::temp_dir().join("top5-digits.safetensors")).unwrap();
    let mut classifier = top5::Classifier::new(model, 1, &top5::Options::default()).unwrap();
    let test = top5::data::digits().test.unwrap();
    let mut right = |index| {
        let sample = test.sample(index).unwrap();
        classifier.predict(&sample.image, 1).unwrap()[0].label == sample.label
    };
    let right = (0..test.len()).filter(|&index| right(index)).count();
    assert!(10 * right > 9 * test.len(), "{right} of {}", test.len());
}
