//! `explain` and `occlude` as a user runs them.

use std::fs;

use crate::predict::JPEG;
use crate::program::{Place, parse, signalled};

/// A folder with a drawn seven.
fn place() -> Place {
    let place = Place::new();
    fs::write(place.path("seven.jpg"), JPEG).unwrap();
    place
}

#[test]
fn explanations_are_pictures_numbers_and_a_page() {
    let place = place();
    let document = place.json("explain grad-cam,deconvnet lenet seven.jpg --class 7 --out why");
    let said = document["explanations"].as_array().unwrap();
    assert_eq!(said.len(), 2);
    assert_eq!((&said[0]["class"], &said[1]["class"]), (&"7".into(), &"7".into()));
    assert!(said[0]["warning"].is_null());
    let warning = said[1]["warning"].as_str().unwrap();
    for name in said.iter().flat_map(|said| said["files"].as_array().unwrap()) {
        let bytes = fs::read(place.path(format!("why/{}", name.as_str().unwrap()))).unwrap();
        assert!(!bytes.is_empty(), "{name}");
    }
    let page = fs::read_to_string(place.path("why/index.html")).unwrap();
    assert!(page.contains("says little") || page.contains("say little"), "the page must warn");
    let png = fs::read(place.path("why/001-seven.deconvnet.png")).unwrap();
    assert!(String::from_utf8_lossy(&png).contains(warning), "the picture must warn");
}

#[test]
fn the_five_panels_are_written() {
    let place = place();
    let document = place.json("occlude lenet seven.jpg --out panels --size 8 --stride 8");
    assert_eq!(document["images"][0]["places"], serde_json::json!([4, 4]));
    for panel in ["a", "b", "c", "d", "e"] {
        assert!(place.path(format!("panels/000-{panel}.png")).is_file(), "{panel}");
    }
}

#[test]
fn bad_input_is_told_before_a_folder_is_made() {
    let place = place();
    fs::write(place.path("text.png"), "no image").unwrap();
    for (command, code, words) in [
        ("explain gradient lenet seven.jpg --out x --class 10", 3, "--class 10"),
        ("explain gradient lenet seven.jpg --out x --class 7 --against 7", 3, "another class"),
        ("explain grad-cam lenet seven.jpg --out x --layer nowhere", 3, "nowhere"),
        ("explain gradient lenet text.png --out x", 3, "text.png"),
        ("explain magic lenet seven.jpg --out x", 2, "magic"),
        ("explain rise lenet seven.jpg --out x --map 1", 2, "--map"),
        ("explain guided lenet seven.jpg --out x --map first", 2, "--map"),
        ("explain guided lenet seven.jpg --out x --map 16", 3, "no map 16"),
        ("explain gradient,smoothgrad lenet seven.jpg --out x --level -1", 3, "level"),
        ("explain gradient,occlusion lenet seven.jpg --out x --size 29", 3, "size"),
        ("explain gradient,grad-cam lenet seven.jpg --out x --layer relu3", 3, "relu3"),
        ("occlude lenet seven.jpg --out x --size 29", 3, "size"),
        ("occlude lenet seven.jpg --out x --size 4 --stride 5", 3, "stride"),
    ] {
        place.fails(command, code, &[words]);
        assert!(!place.path("x").exists(), "{command}");
    }
}

#[test]
fn contrasts_are_what_is_randomised_and_told() {
    let place = place();
    let curves = |contrast: &str| {
        let line =
            format!("explain gradient lenet seven.jpg --class 7 {contrast} --sanity --force");
        place.json(&format!("{line} --out curves"))["sanity"]["methods"].clone()
    };
    assert_ne!(curves("--against 1"), curves(""), "the contrast's maps are not the class's");
    let meaning = |contrast: &str| {
        let line = format!("explain rise lenet seven.jpg --class 7 {contrast} --masks 2 --out r");
        let document = place.json(&format!("{line} --force"));
        document["explanations"][0]["meaning"].as_str().unwrap().to_owned()
    };
    assert!(meaning("--against 1").contains("than the other"));
    assert!(meaning("").contains("the probability of the class"));
}

#[test]
fn settings_that_no_method_has_are_warned_of() {
    let place = place();
    for (line, idle) in [
        ("explain gradient,occlusion lenet seven.jpg --layer relu1 --size 14", &["layer"][..]),
        ("explain gradient,grad-cam lenet seven.jpg --layer relu1", &[]),
        ("explain gradient lenet seven.jpg --layer relu1 --map 2", &[]),
        ("explain gradient lenet seven.jpg --samples 3 --stride 2", &["samples", "stride"]),
        ("explain gradient lenet seven.jpg --seed 3", &["seed"]),
        ("explain gradient lenet seven.jpg --seed 3 --sanity", &[]),
        ("explain gradient,smoothgrad lenet seven.jpg --samples 3 --seed 3", &[]),
    ] {
        let ran = place.run(&format!("{line} --out x --force"));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let said = ran.stderr.matches("changes nothing here").count();
        let named = idle.iter().all(|key| ran.stderr.contains(&format!("--{key} changes nothing")));
        assert!(said == idle.len() && named, "{line}: {ran:?}");
    }
    let command = "sanity lenet seven.jpg --methods gradient --layer relu1";
    assert!(place.run(command).stderr.contains("--layer changes nothing here"));
}

#[test]
fn a_folder_holds_what_its_report_names_and_what_others_put_there() {
    let place = place();
    fs::copy(place.path("seven.jpg"), place.path("other.jpg")).unwrap();
    place.text("explain gradient,grad-cam lenet seven.jpg other.jpg --out x");
    fs::write(place.path("x/notes.txt"), "").unwrap();
    place.text("occlude lenet seven.jpg --size 14 --out x --force");
    let document = place.json("explain hires-cam lenet other.jpg --out x --force");
    let mut names: Vec<String> = fs::read_dir(place.path("x"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let files = document["explanations"][0]["files"].as_array().unwrap();
    let mut named: Vec<String> =
        files.iter().map(|file| file.as_str().unwrap().to_owned()).collect();
    let beside = [".top5-files", "explanation.json", "index.html", "notes.txt"];
    named.extend(beside.map(str::to_owned));
    names.sort();
    named.sort();
    assert_eq!(names, named);
    let mut told = document;
    told.as_object_mut().unwrap().remove("folder");
    let file = fs::read_to_string(place.path("x/explanation.json")).unwrap();
    assert_eq!(parse(&file), told);
}

#[test]
fn folders_that_hold_something_are_left_alone() {
    let place = place();
    fs::create_dir(place.path("mine")).unwrap();
    fs::write(place.path("mine/thesis.txt"), "").unwrap();
    place.fails("explain gradient lenet seven.jpg --out mine", 4, &["not empty", "--force"]);
    place.fails("explain gradient lenet seven.jpg --out seven.jpg/x", 4, &["seven.jpg"]);
    place.fails("explain gradient lenet seven.jpg --out seven.jpg", 4, &["seven.jpg", "no folder"]);
    place.text("explain gradient lenet seven.jpg --out mine --force");
    assert!(place.path("mine/thesis.txt").exists());
}

#[test]
fn places_that_cannot_be_written_are_found_before_the_work() {
    let place = place();
    // A page cannot take the place of a folder: found before any picture is drawn.
    fs::create_dir_all(place.path("taken/index.html")).unwrap();
    for command in ["explain gradient lenet seven.jpg", "occlude lenet seven.jpg --size 14"] {
        place.fails(&format!("{command} --out taken --force"), 4, &["index.html"]);
        let names = fs::read_dir(place.path("taken")).unwrap().map(|entry| entry.unwrap().path());
        assert_eq!(names.collect::<Vec<_>>(), [place.path("taken/index.html")], "{command}");
    }
    // The image, which would be read first, is not even there.
    place.fails("sanity lenet none.jpg --plot missing/x.svg", 4, &["missing/x.svg"]);
}

/// The embedded model with the first of its classes only, as a safetensors file.
fn one_class(place: &Place) -> Vec<u8> {
    place.text("convert lenet whole.safetensors");
    let bytes = fs::read(place.path("whole.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (header, data) = bytes[8..].split_at(length);
    let mut header: serde_json::Value = serde_json::from_slice(header).unwrap();
    header["__metadata__"]["top5.classes"] = "[\"0\"]".into();
    let mut kept: Vec<u8> = Vec::new();
    for (name, tensor) in header.as_object_mut().unwrap() {
        if name == "__metadata__" {
            continue;
        }
        let [from, to] = [0, 1].map(|i| tensor["data_offsets"][i].as_u64().unwrap() as usize);
        let mut values = &data[from..to];
        if name.starts_with("fc3.") {
            values = &values[..values.len() / 10];
            tensor["shape"][0] = 1.into();
        }
        tensor["data_offsets"] = serde_json::json!([kept.len(), kept.len() + values.len()]);
        kept.extend_from_slice(values);
    }
    let header = header.to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes()[..], &header, &kept].concat()
}

#[test]
fn a_network_of_one_class_is_explained_and_told() {
    let place = place();
    let bytes = one_class(&place);
    fs::write(place.path("one.safetensors"), bytes).unwrap();
    let ran = place.run("explain gradient,occlusion,grad-cam one.safetensors seven.jpg --out x");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("one class, whose probability is always 1"), "{ran:?}");
    place.fails("explain gradient one.safetensors seven.jpg --against 1", 3, &["--against 1"]);
}

#[test]
fn what_is_done_when_a_signal_comes_is_written() {
    let place = place();
    fs::create_dir(place.path("photos")).unwrap();
    (0..30).for_each(|i| fs::write(place.path(format!("photos/{i:02}.jpg")), JPEG).unwrap());
    for (command, signal, code, first, document, list) in [
        (
            "explain rise,deconvnet lenet photos --masks 2000",
            "INT",
            130,
            "000-00.rise.npy",
            "explanation.json",
            "explanations",
        ),
        ("occlude lenet photos --stride 1", "TERM", 143, "000-e.png", "occlusion.json", "images"),
    ] {
        let folder = &document[..4];
        let line = format!("{command} --out {folder}");
        let ran = signalled(&place, &line, signal, &format!("{folder}/{first}"));
        assert_eq!((ran.code, &*ran.stdout), (Some(code), ""), "{ran:?}");
        assert!(ran.stderr.contains("which are written"), "{ran:?}");
        let told = fs::read_to_string(place.path(format!("{folder}/{document}"))).unwrap();
        let told = parse(&told);
        let done = told[list].as_array().unwrap();
        assert!((1..30).contains(&done.len()), "{command}: {}", done.len());
        for name in done.iter().flat_map(|one| one["files"].as_array().unwrap()) {
            assert!(place.path(folder).join(name.as_str().unwrap()).is_file(), "{name}");
        }
        let page = fs::read_to_string(place.path(format!("{folder}/index.html"))).unwrap();
        assert!(page.ends_with("</html>\n"), "{command}");
    }
}
