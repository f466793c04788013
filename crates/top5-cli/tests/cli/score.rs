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
    // What depends on the image is told as it was used.
    assert_eq!(image.pointer("/settings/insertion/step").unwrap(), 28);
    assert_eq!(image.pointer("/settings/infidelity/side").unwrap(), 4);
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
    let parameters = "10 subsets of 1 2 3 6 12 22 42 80 %; infidelity: 200 squares of side 4";
    assert!(csv.lines().skip(1).all(|line| line.contains(parameters)), "{csv}");
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
fn sanity_is_drawn_and_goes_with_an_explanation() {
    let place = place();
    let report = place.json("sanity lenet seven.jpg --methods gradient,guided --plot curves.svg");
    let svg = fs::read_to_string(place.path("curves.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("guided") && svg.contains("SSIM"), "{svg}");
    let document = place.json("explain gradient,guided lenet seven.jpg --out why --sanity");
    assert_eq!(document["sanity"]["methods"], report["methods"]);
    for file in ["why/sanity.svg", "why/sanity.csv"] {
        assert!(place.path(file).is_file(), "{file}");
    }
    assert_eq!(fs::read_to_string(place.path("why/sanity.svg")).unwrap(), svg);
    let page = fs::read_to_string(place.path("why/index.html")).unwrap();
    assert!(page.contains("New weights from the top") && page.contains("data:image/svg+xml"));
    // Explanations come before new weights.
    let plain = place.json("explain gradient,guided lenet seven.jpg --out plain");
    assert_eq!(plain["explanations"][1]["most"], document["explanations"][1]["most"]);
    assert!(plain["sanity"].is_null());
}

#[test]
fn classes_are_named_and_numbers_prepared_as_told() {
    let place = place();
    place.text("convert lenet named.safetensors");
    let by_number = place.json("sanity lenet seven.jpg --methods gradient --class 3");
    let by_default = place.json("sanity lenet seven.jpg --methods gradient");
    assert_ne!(by_number["methods"], by_default["methods"]);
    assert_eq!(place.json("sanity lenet seven.jpg --methods gradient --class 7"), by_default);
    let line = "explain gradient lenet seven.jpg --std 0.5";
    let document = place.json(&format!("{line} --out other"));
    assert!(document["preprocess"].as_str().unwrap().contains("std [0.5]"), "{document}");
    place.fails("explain gradient lenet seven.jpg --std 0 --out x", 2, &["--std"]);
    let tuned = place.run("occlude lenet seven.jpg --tuning nothing.toml --out x");
    assert_eq!(tuned.code, Some(4), "{tuned:?}");
}

#[test]
fn the_pointing_game_is_played_on_boxes() {
    let place = Place::new();
    // ResNet-20 with random weights: only the rules of the game are looked at.
    place.text("convert resnet20_cifar --init 1 random.safetensors");
    let bright = |left: u32| {
        image::RgbImage::from_fn(32, 32, |x, y| {
            let inside = (left..left + 8).contains(&x) && (12..20).contains(&y);
            image::Rgb([if inside { 250 } else { 120 }; 3])
        })
    };
    bright(4).save(place.path("a.png")).unwrap();
    bright(20).save(place.path("b.png")).unwrap();
    let header = "image,class,top,left,height,width\n";
    fs::write(
        place.path("boxes.csv"),
        format!("{header}a.png,3,12,4,8,8\nb.png,3,12,20,8,8\nb.png,5,0,0,32,32\n"),
    )
    .unwrap();
    let line =
        "score random.safetensors a.png --methods occlusion --subsets 2 --squares 2 --changes 0";
    let report = place.json(&format!("{line} --boxes boxes.csv --tolerance 0"));
    let pointing = &report["pointing"];
    assert_eq!((&pointing["objects"], &pointing["tolerance"]), (&3.into(), &0.0.into()));
    let rows = pointing["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["occlusion", "random", "centred Gaussian"]);
    // The Gaussian's maximum is in the middle: outside of both squares, and inside the whole image.
    assert_eq!((&rows[2]["hits"], &rows[2]["accuracy"]), (&1.into(), &0.5.into()));
    let near = place.json(&format!("{line} --boxes boxes.csv --tolerance 15"));
    assert_eq!(near["pointing"]["rows"][2]["accuracy"], 1.0);
    let text = place.text(&format!("{line} --boxes boxes.csv"));
    assert!(text.contains("pointing game: 3 objects"), "{text}");
    for (lines, words) in [
        ("a.png,3,12,4,8,99", &["a.png", "32×32"][..]),
        ("a.png,zebra,12,4,8,8", &["zebra"]),
        ("a.png,3,12,4,8", &["line 2"]),
    ] {
        fs::write(place.path("boxes.csv"), format!("{header}{lines}\n")).unwrap();
        place.fails(&format!("{line} --boxes boxes.csv"), 3, words);
    }
    place.fails(&format!("{line} --tolerance 3"), 2, &["--boxes"]);
    place.fails(&format!("{line} --boxes boxes.csv --csv"), 2, &["--boxes", "--csv"]);
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
        fails("", 2, &["IMAGE"]);
    }
    place.fails("score lenet seven.jpg --radius 0", 2, &["--radius"]);
    place.fails("score lenet seven.jpg --subsets 1", 2, &["--subsets"]);
}
