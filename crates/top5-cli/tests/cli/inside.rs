//! `gallery`, `evolve`, `invariance`, `filters` and `correspond` as a user runs them.

use std::fs;

use crate::program::{Place, signalled};

/// The bytes of a file that a command wrote.
fn bytes(place: &Place, name: &str) -> Vec<u8> {
    fs::read(place.path(name)).unwrap()
}

#[test]
fn a_gallery_is_the_same_whole_resumed_and_on_any_threads() {
    let place = Place::new();
    let base = "gallery lenet --images 120 --maps 0,2,5 --top 4";
    let document = place.json(&format!("{base} --threads 1 --out one"));
    let layers = document["layers"].as_array().unwrap();
    assert!(!layers.is_empty(), "{document}");
    for layer in layers {
        for example in layer["examples"].as_array().unwrap() {
            assert!(example["value"].as_f64().unwrap() > 0.0, "{example}");
            let rectangle = &example["rectangle"];
            let end = |from: &str, size: &str| {
                rectangle[from].as_u64().unwrap() + rectangle[size].as_u64().unwrap()
            };
            assert!(end("top", "height") <= 28 && end("left", "width") <= 28, "{example}");
            // The embedded digits are not moved about, and have the input's size.
            assert_eq!(&example["source"], rectangle);
        }
    }
    place.text(&format!("{base} --threads 2 --batch-size 7 --save-every 10 --out two"));
    // What was seen before it is cut off is not looked at again; a second call only draws.
    let again = place.run(&format!("{base} --out one"));
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stderr.contains("going on after 120 images"), "{again:?}");
    let mut files: Vec<String> = vec!["gallery.json".into(), "index.html".into()];
    files.push("search.json".into());
    for layer in layers {
        files
            .extend(layer["sheets"].as_array().unwrap().iter().map(|s| s.as_str().unwrap().into()));
    }
    for file in files {
        assert_eq!(bytes(&place, &format!("one/{file}")), bytes(&place, &format!("two/{file}")));
    }
    place.fails(
        "gallery lenet --images 50 --maps 0,2,5 --top 4 --out one",
        3,
        &["another", "--force"],
    );
    place.fails("gallery lenet --maps 99", 3, &["no map 99"]);
    place.fails("gallery lenet --layers nonsense", 3, &["nonsense", "top5 show"]);
    fs::create_dir(place.path("mine")).unwrap();
    fs::write(place.path("mine/thesis.txt"), "").unwrap();
    place.fails("gallery lenet --out mine", 4, &["not empty", "--out"]);
}

#[test]
fn kept_epochs_evolve_and_others_say_how() {
    let place = Place::new();
    place.text("train lenet --epochs 2 --keep-epochs 1,2 --out run");
    let document = place.json("evolve run --images 60 --random 2 --out evolution");
    assert_eq!(document["epochs"], serde_json::json!([1, 2]));
    for layer in document["layers"].as_array().unwrap() {
        let sheet = layer["sheet"].as_str().unwrap();
        assert!(bytes(&place, &format!("evolution/{sheet}")).starts_with(b"\x89PNG"));
        for map in layer["maps"].as_array().unwrap() {
            let images = map["strongest"].as_array().unwrap();
            assert_eq!(images.len(), 2);
            let jumps = map["jumps"].as_array().unwrap();
            assert_eq!(jumps.len(), usize::from(images[0]["image"] != images[1]["image"]));
        }
    }
    // What is kept is a model as any other.
    let kept = place.json("eval run/epochs/epoch-0002.safetensors --data digits");
    assert_eq!(kept["images"], 400);
    // As where the run was killed between the checkpoint and this.
    let last = place.path("run/epochs/epoch-0002.safetensors");
    let model = fs::read(&last).unwrap();
    fs::remove_file(&last).unwrap();
    place.text("train --resume --keep-epochs 1,2 --out run");
    assert_eq!(fs::read(&last).unwrap(), model);
    place.fails("train lenet --epochs 2 --keep-epochs 3 --out other", 2, &["--keep-epochs 3"]);
    fs::create_dir(place.path("empty")).unwrap();
    place.fails("evolve empty", 3, &["--keep-epochs"]);
}

#[test]
fn changes_filters_and_parts_are_measured() {
    let place = Place::new();
    let drawing = |shift: u32| {
        image::GrayImage::from_fn(60, 60, |x, y| {
            image::Luma([if x.abs_diff(28 + shift) < 4 && y.abs_diff(30) < 22 { 10 } else { 250 }])
        })
    };
    drawing(0).save(place.path("a.png")).unwrap();
    drawing(5).save(place.path("b.png")).unwrap();

    let document = place.json("invariance lenet a.png --steps 4 --out moved");
    let curves = document["images"].as_array().unwrap();
    assert_eq!(curves.len(), 3);
    let still = &curves[1]["points"][0];
    assert_eq!((&still["amount"], &still["distances"][0]), (&1.0.into(), &0.0.into()));
    let moved = &curves[2]["points"][1]["distances"];
    assert!(moved[0].as_f64().unwrap() > 0.0 && moved[1].as_f64().unwrap() > 0.0, "{document}");
    let csv = fs::read_to_string(place.path("moved/invariance.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 3 * 5);
    assert!(bytes(&place, "moved/invariance.svg").starts_with(b"<svg"));
    place.fails("invariance lenet a.png --class dog", 3, &["dog"]);

    let document = place.json("filters lenet --images 100 --out filters");
    assert_eq!(document["images"], 100);
    let filters = document["filters"].as_array().unwrap();
    let share = filters[0]["active"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&share), "{document}");
    assert!(bytes(&place, "filters/filters.png").starts_with(b"\x89PNG"));
    place.fails("filters lenet --radius 0", 2, &["--radius"]);

    let header = "image,part,top,left,height,width\n";
    let lines = "a.png,top,5,20,15,20\nb.png,top,5,25,15,20\n";
    fs::write(place.path("parts.csv"), format!("{header}{lines}")).unwrap();
    let document = place.json("correspond lenet parts.csv");
    let rows = document["rows"].as_array().unwrap();
    assert_eq!((&rows[0]["part"], &rows[1]["part"]), (&"top".into(), &"random".into()));
    assert_eq!(rows[0]["scores"][0]["pairs"], 2);
    fs::write(place.path("parts.csv"), format!("{header}a.png,top,5,50,15,20\n{lines}")).unwrap();
    place.fails("correspond lenet parts.csv", 3, &["a.png", "60×60"]);
}

#[test]
fn what_cannot_be_looked_at_leaves_no_folder() {
    let place = Place::new();
    place.text("train lenet --epochs 2 --keep-epochs 1,2 --out run");
    place.text("train lenet --epochs 1 --image-size 32 --keep-epochs 1 --out other");
    let first = "epochs/epoch-0001.safetensors";
    fs::copy(place.path("other").join(first), place.path("run").join(first)).unwrap();
    fs::write(place.path("text.png"), "no image").unwrap();
    for (command, words) in
        [("evolve run", "epochs of one run"), ("invariance lenet text.png", "text.png")]
    {
        place.fails(&format!("{command} --out x"), 3, &[words]);
        assert!(!place.path("x").exists(), "{command}");
    }
    for command in ["filters lenet --images 0", "gallery lenet --all-maps --top 65536 --images 0"] {
        place.fails(&format!("{command} --out x"), 2, &["--images 0"]);
        assert!(!place.path("x").exists(), "{command}");
    }
}

#[test]
fn a_layer_named_twice_is_looked_at_once() {
    let place = Place::new();
    let twice = "lenet --layers relu2,relu1,relu2 --images 10";
    let document = place.json(&format!("gallery {twice} --random 1 --top 50000 --out x"));
    let layers = document["layers"].as_array().unwrap();
    let names: Vec<&str> = layers.iter().map(|layer| layer["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["relu2", "relu1"]);
    // Ten images have ten patches, whatever is asked for.
    for place in layers.iter().map(|layer| &layer["places"][0]) {
        assert!(place["height"].as_u64().unwrap() < 200, "{place}");
    }
    let document = place.json(&format!("probe {twice} --test-images 10"));
    assert_eq!(document["layers"].as_array().unwrap().len(), 2);
}

#[test]
fn a_gallery_of_other_layers_leaves_no_sheets_of_those_before() {
    let place = Place::new();
    place.text("gallery lenet --layers relu1,relu2 --images 10 --random 1 --out x");
    fs::write(place.path("x/notes.txt"), "").unwrap();
    place.text("gallery lenet --layers relu2 --images 10 --random 1 --out x --force");
    assert!(!place.path("x/relu1-1.png").exists());
    for file in ["relu2-1.png", "gallery.json", "search.json", "index.html", "notes.txt"] {
        assert!(place.path("x").join(file).exists(), "{file}");
    }
}

#[test]
fn a_gallery_that_is_stopped_while_it_projects_goes_on() {
    let place = Place::new();
    let base = "gallery lenet --all-maps --top 300";
    place.text(&format!("{base} --out whole"));
    let ran = signalled(&place, &format!("{base} --out cut"), "INT", "cut/search.json");
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.stderr.contains("stopped while projecting"), "{ran:?}");
    assert!(!place.path("cut/gallery.json").exists(), "{ran:?}");
    place.text(&format!("{base} --out cut"));
    for file in ["gallery.json", "index.html", "relu1-1.png", "relu2-1.png"] {
        let [whole, cut] =
            ["whole", "cut"].map(|folder| bytes(&place, &format!("{folder}/{file}")));
        assert!(whole == cut, "{file}");
    }
}
