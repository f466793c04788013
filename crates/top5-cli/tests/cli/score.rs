//! `top5 score` and `top5 sanity` as a user runs them.

use std::fs;

use crate::program::Place;

/// A folder with a drawn seven.
fn place() -> Place {
    let place = Place::new();
    fs::write(place.path("seven.jpg"), crate::predict::JPEG).unwrap();
    place
}

#[test]
fn occlusion_and_ablation_of_a_digit_beat_both_controls() {
    let place = place();
    let line = "score lenet seven.jpg --methods occlusion,ablation --changes 2";
    let report = place.json(line);
    let image = &report["images"][0];
    assert_eq!(image["class_name"], "7");
    let rows = image["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["occlusion", "ablation", "random", "centred Gaussian"]);
    let value = |row: usize, pointer: &str| rows[row].pointer(pointer).unwrap().as_f64().unwrap();
    for (method, control) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        for high in ["/insertion/auc", "/road/score", "/sensitivity_n/mean"] {
            assert!(value(method, high) > value(control, high), "{high}: {image}");
        }
        for low in ["/deletion/auc", "/infidelity/scaled"] {
            assert!(value(method, low) < value(control, low), "{low}: {image}");
        }
    }
    assert!(value(0, "/max_sensitivity") > 0.0 && rows[2]["max_sensitivity"].is_null());
    assert_eq!(image.pointer("/settings/deletion/substrate/kind").unwrap(), "zero");
    assert_eq!(image.pointer("/settings/road/noise").unwrap().as_f64().unwrap() as f32, 0.01);
}

#[test]
fn threads_and_seeds_rule_scores() {
    let place = place();
    let line = "score lenet seven.jpg --methods gradient-times-input --changes 0 --subsets 10";
    let one = place.text(&format!("{line} --threads 1"));
    assert_eq!(one, place.text(&format!("{line} --threads 2")));
    assert_ne!(one, place.text(&format!("{line} --seed 1")));
    assert!(one.contains("random (control)") && one.contains("centred Gaussian"), "{one}");
    assert!(one.contains("means over 1 image,") || one.contains("means over 1 image;"), "{one}");
    let csv = place.text(&format!("{line} --csv"));
    assert!(csv.starts_with("image,class,method,control,deletion") && csv.lines().count() == 4);
}

#[test]
fn sanity_begins_at_one_and_falls() {
    let place = place();
    let line = "sanity lenet seven.jpg --methods gradient,grad-cam";
    let report = place.json(line);
    for curve in report["methods"].as_array().unwrap() {
        let points = curve["points"].as_array().unwrap();
        let layers: Vec<_> = points.iter().map(|point| point["layer"].as_str()).collect();
        let order = [None, Some("fc3"), Some("fc2"), Some("fc1"), Some("conv2"), Some("conv1")];
        assert_eq!(layers, order);
        assert_eq!(points[0]["spearman"], 1.0);
        assert!(points[5]["spearman"].as_f64().unwrap() < 0.6, "{curve}");
        assert!(points[5]["ssim"].as_f64().unwrap() < 0.5, "{curve}");
    }
    assert!(report["recipe"].as_str().unwrap().contains("cascading"));
    let one = place.text(&format!("{line} --csv --threads 1"));
    assert_eq!(one, place.text(&format!("{line} --csv --threads 2")));
    assert_eq!(one.lines().count(), 13);
    let guided = place.run("sanity lenet seven.jpg --methods guided");
    assert!(guided.stderr.contains("say little of the network's decision"), "{}", guided.stderr);
}

#[test]
fn wrong_arguments_are_explained() {
    let place = place();
    for command in ["score", "sanity"] {
        let fails = |rest: &str, code: i32, words: &[&str]| {
            place.fails(&format!("{command} lenet {rest}"), code, words);
        };
        fails("seven.jpg --methods lime", 2, &["lime", "occlusion"]);
        fails("seven.jpg --class 10", 3, &["10 classes"]);
        fails("seven.jpg --methods grad-cam --layer conv9", 3, &["conv9"]);
        fails("nothing.png", 4, &["nothing.png"]);
        fails("", 2, &["FILE"]);
    }
    place.fails("score lenet seven.jpg --radius 0", 2, &["--radius"]);
    place.fails("score lenet seven.jpg --subsets 1", 2, &["--subsets"]);
}
