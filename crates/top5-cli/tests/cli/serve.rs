//! `top5 serve`: from the start to SIGTERM, with the answers of `top5 predict`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::program::Place;

#[cfg(unix)]
#[test]
fn server_answers_as_predict_and_ends_at_sigterm() {
    let place = Place::new();
    let drawing = image::GrayImage::from_fn(90, 120, |x, y| {
        image::Luma([if x.abs_diff(45) < 6 && y.abs_diff(60) < 40 { 20 } else { 250 }])
    });
    drawing.save(place.path("digit.png")).unwrap();
    let predicted: Value = serde_json::from_str(&place.text("predict digit.png --json")).unwrap();

    let mut server =
        place.command("serve one=lenet lenet --port 0").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("one, lenet-digits"), "{line}");
    let address = line.split(' ').next().unwrap().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let file = fs::read(place.path("digit.png")).unwrap();
    let head = format!(
        "POST /v1/predict/one HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        file.len()
    );
    stream.write_all(&[head.as_bytes(), &file].concat()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    let said: Value = serde_json::from_str(body).unwrap();
    let (said, predicted) = (&said["predictions"], &predicted["results"][0]["predictions"]);
    assert_eq!(said[0]["class"], predicted[0]["class"]);
    let difference =
        said[0]["probability"].as_f64().unwrap() - predicted[0]["probability"].as_f64().unwrap();
    assert!(difference.abs() < 1e-5, "{said} {predicted}");

    let killed = Command::new("kill").arg(server.id().to_string()).status().unwrap();
    assert!(killed.success());
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

#[test]
fn names_that_cannot_be_asked_for_are_wrong_usage() {
    let place = Place::new();
    for line in ["serve lenet lenet-digits", "serve a=lenet a=lenet"] {
        let ran = place.run(line);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains("NAME="), "{ran:?}");
    }
    let ran = place.run("serve none --port 0");
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("neither a file or folder nor a network"), "{ran:?}");
}

#[test]
fn page_is_exported_into_an_empty_folder() {
    let place = Place::new();
    let written = place.json("page export site --methods gradient");
    assert!(written["bytes"].as_u64().unwrap() > 100_000, "{written}");
    for name in ["index.html", "page.js", "data.js", "style.css", "digit-9.png"] {
        assert!(fs::metadata(place.path("site").join(name)).unwrap().len() > 100, "{name}");
    }
    let page = fs::read_to_string(place.path("site/index.html")).unwrap();
    assert!(page.contains("src=\"data.js\"") && !page.contains("type=\"module\""), "{page}");
    place.fails("page export site", 4, &["not empty", "--force"]);
    place.fails("page import site", 2, &["export"]);
}

/// Each of the models would fit.
#[cfg(target_os = "linux")]
#[test]
fn models_that_do_not_fit_together_are_refused_with_their_numbers() {
    let place = Place::new();
    let models: Vec<String> = (0..12).map(|at| format!("m{at}=lenet")).collect();
    let line = format!("serve {} --max-batch 4096 --threads 1 --port 0", models.join(" "));
    let ran = place.run_within(&line, 400 << 10);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    for words in ["serving m0 (", "m11 (", "MiB are available", "a smaller batch takes less"] {
        assert!(ran.stderr.contains(words), "{ran:?}");
    }
}

/// A page's answers.
fn answers(place: &Place, folder: &str) -> Value {
    let data = fs::read_to_string(place.path(folder).join("data.js")).unwrap();
    let data = data.strip_prefix("globalThis.TOP5 = ").unwrap().strip_suffix(";\n").unwrap();
    serde_json::from_str(data).unwrap()
}

#[test]
fn results_of_other_commands_are_shown_with_their_pictures() {
    let place = Place::new();
    place.text("eval lenet --report judged");
    place.text("gallery lenet --images 40 --out maps");
    place.text("page export site --methods gradient --show judged --show found=maps");
    let data = answers(&place, "site");
    let judged = &data["answers"]["v1/results/judged"];
    let report: Value =
        serde_json::from_str(&fs::read_to_string(place.path("judged/report.json")).unwrap())
            .unwrap();
    for key in ["top1", "top5_interval", "per_class", "suspects", "origin"] {
        assert_eq!(judged[key], report[key], "{key}");
    }
    // Every image is in one cell, and those beside the diagonal are the wrong ones.
    let column = |key: &str| judged["answers"][key].as_array().unwrap();
    let images = report["images"].as_u64().unwrap() as usize;
    assert!(
        ["image", "label", "taken", "rank", "probability"]
            .iter()
            .all(|key| column(key).len() == images)
    );
    let wrong: Vec<usize> =
        (0..images).filter(|&at| column("label")[at] != column("taken")[at]).collect();
    assert_eq!(images - wrong.len(), report["top1_right"].as_u64().unwrap() as usize);
    for at in wrong {
        let picture = fs::read(place.path("site").join(format!("judged-{at}.png"))).unwrap();
        assert!(picture.starts_with(b"\x89PNG"), "{at}");
    }
    // Each map has its place in a sheet, which comes along.
    let found = &data["answers"]["v1/results/found"];
    for layer in found["layers"].as_array().unwrap() {
        let [maps, places] = ["maps", "places"].map(|key| layer[key].as_array().unwrap().len());
        assert!(maps == places && maps > 0, "{layer}");
        for sheet in layer["sheets"].as_array().unwrap() {
            let file = place.path("site").join(format!("found-{}", sheet.as_str().unwrap()));
            let sheet = image::open(file).unwrap();
            for spot in layer["places"].as_array().unwrap() {
                let side = |key: &str| spot[key].as_u64().unwrap() as u32;
                assert!(side("top") + side("height") <= sheet.height(), "{spot}");
                assert!(side("left") + side("width") <= sheet.width(), "{spot}");
            }
        }
    }
}

#[test]
fn folders_without_results_are_refused_with_what_would_be_one() {
    let place = Place::new();
    place.fails("page export site --show .", 2, &["NAME="]);
    fs::create_dir(place.path("empty")).unwrap();
    place.fails(
        "page export site --show empty",
        3,
        &["no results", "report.json of top5 eval --report"],
    );
    place.fails("serve --show a=empty --show a=empty --port 0", 2, &["the name \"a\" is taken"]);
    place.fails("serve --data digits --port 0", 2, &["--show"]);
    fs::write(place.path("empty/gallery.json"), "{").unwrap();
    place.fails("serve --show empty --port 0", 3, &["gallery.json"]);
    place.text("eval lenet --report judged");
    let csv = fs::read_to_string(place.path("judged/predictions.csv")).unwrap();
    let fewer: Vec<&str> = csv.lines().take(7).collect();
    fs::write(place.path("judged/predictions.csv"), fewer.join("\n")).unwrap();
    place.fails(
        "page export site --show judged",
        3,
        &["predictions.csv", "6 images", "two evaluations"],
    );
    // Only a report says which folder, and nobody asked for it: pictures need the user's word.
    fs::write(place.path("judged/predictions.csv"), csv).unwrap();
    let report = fs::read_to_string(place.path("judged/report.json")).unwrap();
    let elsewhere = report.replace("\"data\": \"digits\"", "\"data\": \"/etc\"");
    fs::write(place.path("judged/report.json"), elsewhere).unwrap();
    place.text("page export site --methods gradient --show judged");
    assert_eq!(answers(&place, "site")["pictures"].as_array().unwrap().len(), 0);
    place.fails("page export other --show judged --data empty", 3, &["empty"]);
    assert!(!place.path("other").exists());
}

/// The first answer about an image at an address.
#[cfg(unix)]
fn first_class(address: &str, file: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/predict/m HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        file.len()
    );
    stream.write_all(&[head.as_bytes(), file].concat()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    let said: Value = serde_json::from_str(body).unwrap();
    said["predictions"][0]["class"].as_str().unwrap().to_owned()
}

#[cfg(unix)]
#[test]
fn hangup_reads_models_again_and_keeps_the_old_ones_where_that_fails() {
    let place = Place::new();
    let write = |prefix: &str| {
        let mut model = top5::Model::lenet_digits().unwrap();
        model.classes = model.classes.iter().map(|class| format!("{prefix}{class}")).collect();
        // As who replaces a file that may be read does.
        fs::write(place.path("next"), model.to_bytes()).unwrap();
        fs::rename(place.path("next"), place.path("m.safetensors")).unwrap();
    };
    write("old-");
    let mut command = place.command("serve m.safetensors --port 0");
    let mut server = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.split(' ').next().unwrap().strip_prefix("http://").unwrap().to_owned();
    let mut errors = BufReader::new(server.stderr.take().unwrap());
    let mut hang_up = || {
        let id = server.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
        let mut line = String::new();
        errors.read_line(&mut line).unwrap();
        line
    };
    let digit = top5::data::digits().test.unwrap().sample(0).unwrap().image;
    let file =
        [format!("P5 {} {} 255\n", digit.width, digit.height).as_bytes(), &digit.pixels].concat();
    assert!(first_class(&address, &file).starts_with("old-"));
    write("new-");
    let said = hang_up();
    assert!(said.contains("read again: m"), "{said}");
    assert!(first_class(&address, &file).starts_with("new-"));
    fs::write(place.path("m.safetensors"), b"not a model").unwrap();
    let said = hang_up();
    assert!(said.contains("the old ones stay") && said.contains("m.safetensors"), "{said}");
    assert!(first_class(&address, &file).starts_with("new-"));
    assert!(Command::new("kill").arg(server.id().to_string()).status().unwrap().success());
    assert_eq!(server.wait().unwrap().code(), Some(0));
}
