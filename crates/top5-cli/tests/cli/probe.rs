//! `top5 probe` as a user runs it.

use crate::program::Place;

#[test]
fn later_layers_of_the_embedded_network_are_easier_to_read() {
    let place = Place::new();
    let line = "probe lenet --images 150 --test-images 150 --iterations 60";
    let report = place.json(line);
    let layers = report["layers"].as_array().unwrap();
    let accuracy = |layer: usize| layers[layer]["test_accuracy"].as_f64().unwrap();
    assert_eq!(layers[0]["layer"], "input");
    assert_eq!(layers.last().unwrap()["layer"], "fc3");
    assert!(accuracy(layers.len() - 1) > accuracy(0) + 5.0, "{report}");
    let majority = report["majority"].as_f64().unwrap();
    assert!(accuracy(0) > majority + 30.0 && majority < 20.0, "{report}");
    for layer in layers {
        let interval = layer["test_interval"].as_array().unwrap();
        let accuracy = layer["test_accuracy"].as_f64().unwrap();
        assert!(interval[0].as_f64().unwrap() <= accuracy);
        assert!(accuracy <= interval[1].as_f64().unwrap());
        assert!(layer["features"].as_u64().unwrap() <= 1024);
    }
    assert_eq!(report["reference"][5]["caltech_101"], 85.5);
    let one = place.text(&format!("{line} --layers pool2,fc3 --threads 1"));
    assert_eq!(one, place.text(&format!("{line} --layers pool2,fc3 --threads 2")));
    assert!(one.contains("pool2") && one.contains("table 7") && !one.contains("relu1"), "{one}");
    let csv = place.text(&format!("{line} --layers fc3 --csv"));
    assert!(csv.starts_with("layer,channels,") && csv.lines().count() == 2, "{csv}");
    let other = place.json(&format!("{line} --layers fc3 --seed 5"));
    assert_ne!(other["layers"][0], layers[layers.len() - 1]);
}

#[test]
fn wrong_arguments_are_explained() {
    let place = Place::new();
    place.fails("probe lenet --layers conv9", 3, &["conv9", "top5 show", "fc3"]);
    place.fails("probe lenet --images 0", 2, &["--images"]);
    place.fails("probe lenet --l2 -1", 2, &["--l2"]);
    place.fails("probe lenet --csv --json", 2, &["--csv"]);
    place.fails("probe vgg16", 3, &["vgg16", "--weights"]);
    place.fails("probe lenet --data nowhere", 3, &["nowhere"]);
}

#[test]
fn one_image_of_each_class_is_enough() {
    let place = Place::new();
    for (path, shade) in [("train/a", 10), ("train/b", 200), ("test/a", 20), ("test/b", 210)] {
        let folder = place.path(format!("few/{path}"));
        std::fs::create_dir_all(&folder).unwrap();
        let image = image::GrayImage::from_pixel(28, 28, image::Luma([shade]));
        image.save(folder.join("1.png")).unwrap();
    }
    let report = place.json("probe lenet --data few --layers relu1");
    assert_eq!((&report["train_images"], &report["test_images"]), (&2.into(), &2.into()));
    // Of a run it is the run's division that counts.
    place.fails("train lenet --data few --epochs 1 --out run", 3, &["--validation 0"]);
}
