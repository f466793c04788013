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
