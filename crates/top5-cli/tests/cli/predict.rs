//! `predict`, `models`, `show` and `convert` as a user runs them.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::program::{Place, Ran, parse};
use image::{ImageFormat, Luma};

/// None: it is kept beside the tests. The `image` crate's encoder is a feature that the program must not be built with.
const FORMATS: [(&str, Option<ImageFormat>); 4] = [
    ("bmp", Some(ImageFormat::Bmp)),
    ("jpg", None),
    ("png", Some(ImageFormat::Png)),
    ("webp", Some(ImageFormat::WebP)),
];

/// [`drawings`]'s seven.
pub(crate) const JPEG: &[u8] = include_bytes!("../images/seven.jpg");

/// A folder `drawn` with a seven as somebody would draw it, dark on light, off the centre, in each format.
fn drawings() -> Place {
    let place = Place::new();
    fs::create_dir(place.path("drawn")).unwrap();
    let distance = |x: f32, y: f32, from: (f32, f32), to: (f32, f32)| {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let t = ((x - from.0) * dx + (y - from.1) * dy) / (dx * dx + dy * dy);
        let t = t.clamp(0.0, 1.0);
        (x - from.0 - t * dx).hypot(y - from.1 - t * dy)
    };
    let strokes = [((60.0, 50.0), (150.0, 45.0)), ((150.0, 45.0), (95.0, 190.0))];
    let drawing = image::ImageBuffer::from_fn(300, 240, |x, y| {
        let near = |(from, to)| distance(x as f32, y as f32, from, to) < 8.0;
        Luma([if strokes.into_iter().any(near) { 30u8 } else { 240 }])
    });
    let drawing = image::DynamicImage::from(drawing).to_rgb8();
    for (name, format) in FORMATS {
        let path = place.path(format!("drawn/seven.{name}"));
        match format {
            Some(format) => drawing.save_with_format(path, format).unwrap(),
            None => fs::write(path, JPEG).unwrap(),
        }
    }
    place
}

#[test]
fn drawn_digit_is_recognised_in_every_format() {
    let place = drawings();
    for (name, _) in FORMATS {
        let text = place.text(&format!("predict drawn/seven.{name} --top 3"));
        assert!(text.starts_with(&format!("drawn/seven.{name}: 7 (")), "{text}");
        assert_eq!(text.matches(" %)").count(), 3, "{text}");
    }
}

#[test]
fn max_pixels_bounds_each_image_and_the_others_go_on() {
    let place = drawings();
    fs::copy(place.path("drawn/seven.png"), place.path("seven.png")).unwrap();
    place.fails("predict seven.png --max-pixels 71999", 3, &["300x240", "71999 pixels"]);
    place.text("predict seven.png --max-pixels 72000");
    place.fails("predict seven.png --max-pixels 0", 2, &["--max-pixels"]);
    // A header that claims 100 million pixels.
    let mut large = fs::read(place.path("drawn/seven.bmp")).unwrap();
    large[18..26].copy_from_slice(&[0x10, 0x27, 0, 0, 0x10, 0x27, 0, 0]);
    fs::write(place.path("drawn/large.bmp"), large).unwrap();
    let ran = place.run("predict drawn");
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(3), FORMATS.len()), "{}", ran.stderr);
    assert!(ran.stderr.contains("large.bmp") && ran.stderr.contains("89478485 pixels"));
}

#[test]
fn folders_and_stdin_are_read_in_order() {
    let place = drawings();
    let document = place.json("predict drawn");
    let results = document["results"].as_array().unwrap();
    let files: Vec<_> = results.iter().map(|result| result["file"].as_str().unwrap()).collect();
    assert_eq!(files, FORMATS.map(|(name, _)| format!("drawn/seven.{name}")));
    for result in results {
        let predictions = result["predictions"].as_array().unwrap();
        assert_eq!(predictions[0]["class"], "7");
        let sum: f64 = predictions.iter().map(|p| p["probability"].as_f64().unwrap()).sum();
        assert!(predictions.len() == 5 && sum <= 1.0 + 1e-6, "{result}");
    }

    let mut child = place
        .command("predict - --json")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes = fs::read(place.path("drawn/seven.png")).unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(parse(&ran.stdout)["results"][0]["predictions"][0]["class"], "7");
}

#[test]
fn bad_images_are_reported_and_the_others_go_on() {
    let place = drawings();
    let png = fs::read(place.path("drawn/seven.png")).unwrap();
    let mut damaged = png.clone();
    damaged[png.len() / 2] ^= 0x55;
    for (name, bytes) in [
        ("cut.png", &png[..png.len() / 2]),
        ("damaged.png", &damaged),
        ("empty.png", b""),
        ("text.png", b"no image"),
    ] {
        fs::write(place.path("drawn").join(name), bytes).unwrap();
    }
    let ran = place.run("predict drawn --json");
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let document = parse(&ran.stdout);
    assert_eq!(document["results"].as_array().unwrap().len(), FORMATS.len());
    assert_eq!(document["failed"].as_array().unwrap().len(), 4);
    for name in ["cut", "damaged", "empty", "text"] {
        assert!(ran.stderr.contains(&format!("drawn/{name}.png: ")), "{ran:?}");
    }
    assert!(ran.stderr.contains("4 of 8 images"), "{ran:?}");
    place.fails("predict absent.png", 4, &["error: cannot read absent.png"]);
    place.fails("predict drawn/cut.png", 3, &["error: drawn/cut.png"]);
    fs::create_dir(place.path("none")).unwrap();
    place.fails("predict none", 3, &["none", "expected", ".png"]);
}

#[test]
fn models_that_are_none_are_rejected() {
    let place = drawings();
    let predict = |model: &str| format!("predict drawn/seven.png --model {model}");
    place.fails(&predict("lenet9"), 3, &["lenet9", "nearest: lenet"]);
    place.fails(&predict("none.safetensors"), 3, &["none.safetensors"]);
    place.fails(&predict("hf-hub:org/net --offline"), 4, &["offline"]);
    place.fails(&predict("hf-hub:../net --offline"), 3, &["ORG/NAME"]);
    place.text("convert lenet good.safetensors");
    let good = fs::read(place.path("good.safetensors")).unwrap();
    for (name, bytes) in [("cut", &good[..good.len() - 1]), ("empty", b""), ("half", &good[..100])]
    {
        fs::write(place.path(format!("{name}.safetensors")), bytes).unwrap();
        place.fails(&predict(&format!("{name}.safetensors")), 3, &[name, "safetensors"]);
    }
    fs::write(place.path("lenet-00000000.pth"), &good).unwrap();
    place.fails(&predict("lenet-00000000.pth"), 6, &["SHA-256", "00000000"]);
    let renamed = String::from_utf8_lossy(&good[..]).find("conv1.bias").unwrap();
    let mut other = good;
    other[renamed] = b'k';
    fs::write(place.path("other.safetensors"), other).unwrap();
    place.fails(&predict("other.safetensors"), 3, &["conv1.bias", "nearest: konv1.bias"]);
}

#[test]
fn model_survives_conversion_and_nothing_is_overwritten() {
    let place = drawings();
    let first = place.json("predict drawn/seven.png")["results"].clone();
    place.text("convert lenet model.safetensors");
    place.text("convert model.safetensors timm");
    place.text("convert timm again.safetensors");
    for model in ["model.safetensors", "timm", "again.safetensors", "lenet --weights timm"] {
        let document = place.json(&format!("predict drawn/seven.png --model {model}"));
        assert_eq!(document["results"][0]["predictions"][0]["label"], 7, "{model}");
        if model != "lenet --weights timm" {
            assert_eq!(document["network"], "lenet");
        }
    }
    assert_eq!(place.json("predict drawn/seven.png -m model.safetensors")["results"], first);
    fs::write(place.path("taken.safetensors"), b"mine").unwrap();
    place.fails("convert lenet taken.safetensors", 4, &["taken.safetensors exists", "--force"]);
    assert_eq!(fs::read(place.path("taken.safetensors")).unwrap(), b"mine");
    place.text("convert lenet taken.safetensors --force");
    place.text("convert lenet lenet.onnx");
    assert_eq!(place.json("predict drawn/seven.png -m lenet.onnx")["network"], "lenet");
    place.fails("convert lenet model.bin", 2, &[".safetensors"]);
}

#[test]
fn networks_are_listed_in_every_form() {
    let place = Place::new();
    let document = place.json("models lenet");
    let lenet = &document["models"][0];
    assert_eq!((&lenet["name"], &lenet["params"]), (&"lenet".into(), &44_426.into()));
    assert!(place.text("models le*").contains("44.4 k"));
    let record = "lenet,1998,,1×28×28,10,44426,281640,11538,16×16,,,,,false,\n";
    assert!(place.text("models lenet --csv").ends_with(record));
    assert!(place.text("models lenet --markdown").starts_with("| name |"));
    place.fails("models lenat", 3, &["lenat", "nearest: lenet"]);
    place.fails("models --csv --json", 2, &["--csv", "--json"]);
}

#[test]
fn layers_are_shown_in_every_form() {
    let place = Place::new();
    let document = place.json("show lenet --classes 26");
    assert_eq!(document["classes"], 26);
    let layers = document["layers"].as_array().unwrap();
    let sum: u64 = layers.iter().map(|layer| layer["params"].as_u64().unwrap()).sum();
    assert_eq!(document["params"], sum);
    assert!(place.text("show lenet").lines().last().unwrap().contains("44,426"));
    assert!(place.text("show lenet --markdown").contains("| conv1 | Conv2d | 5×5, 6 |"));
    for line in ["show lenet --svg lenet.svg", "models * --plot history.svg"] {
        place.text(line);
        let svg = fs::read_to_string(place.path(line.rsplit(' ').next().unwrap())).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{line}");
    }
    place.fails("show lenat", 3, &["nearest: lenet"]);
    place.fails("show lenet --input 1x2x2", 3, &["lenet", "5×5 does not fit 2×2"]);
    place.fails("show lenet --input 28", 2, &["3x224x224"]);
}

#[test]
fn stdout_has_no_escapes_and_may_be_closed() {
    let place = Place::new();
    for line in ["models", "show lenet", "--help", "train --help", "completions bash"] {
        let ran = place.run(line);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{line}");
        assert!(!ran.stdout.is_empty() && !ran.stdout.contains('\x1b'), "{line}");
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = Ran::from(place.command("models").stdout(writer).output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

/// What nobody can read is no reason to stop.
#[cfg(target_os = "linux")]
#[test]
fn stderr_may_be_full() {
    let place = Place::new();
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let ran = |line: &str| place.command(line).stderr(full()).output().unwrap().status.code();
    assert_eq!(ran("train lenet --epochs 1 --batch-size 512"), Some(0));
    assert_eq!(ran("predict absent.png"), Some(4));
}

#[test]
fn wrong_usage_is_code_2() {
    let place = Place::new();
    for line in ["", "nothing", "predict", "predict x --top 0", "train", "eval lenet --quiet -v"] {
        let ran = place.run(line);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{line}: {ran:?}");
        assert!(!ran.stderr.is_empty());
    }
}

#[test]
fn flags_come_from_the_environment_too() {
    let place = drawings();
    let mut command = place.command("predict drawn/seven.png");
    let ran = Ran::from(command.env("TOP5_TOP", "2").output().unwrap());
    assert_eq!(ran.stdout.matches(" %)").count(), 2, "{ran:?}");
}

#[test]
fn what_programs_leave_behind_in_a_folder_is_no_image() {
    let place = Place::new();
    let image = image::GrayImage::from_pixel(8, 8, image::Luma([9]));
    for file in ["a/1.png", "a/.cache/2.png", "__MACOSX/a/3.png", "a/._1.png"] {
        let path = place.path("photos").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image.save(path).unwrap();
    }
    let ran = place.run("predict photos");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(matches!(lines[..], [line] if line.starts_with("photos/a/1.png: ")), "{ran:?}");
}
