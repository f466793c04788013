//! What the program says: harmless to a terminal, before the answer where that matters, with commands that run.

use std::collections::BTreeMap;
use std::fs;

use top5::formats::safetensors;
use top5::graph::{Tensor, Weights};

use crate::program::{Place, parse};

/// Eight gray images in each of these folders.
fn folders(place: &Place, names: &[&str]) {
    for name in names {
        fs::create_dir_all(place.path(name)).unwrap();
        for i in 0..8u8 {
            let image = image::GrayImage::from_pixel(8, 8, image::Luma([i * 30]));
            image.save(place.path(name).join(format!("{i}.png"))).unwrap();
        }
    }
}

/// The commands that a message proposes: the indented lines that begin with the program.
fn proposed(text: &str) -> Vec<String> {
    let program = env!("CARGO_BIN_EXE_top5");
    let commands = text.lines().filter_map(|line| line.strip_prefix("  ")?.strip_prefix(program));
    commands.map(|command| command.trim().to_owned()).collect()
}

#[test]
fn proposed_commands_run() {
    let place = Place::new();
    folders(
        &place,
        &["pets/cat", "pets/dog", "split/train/a", "split/train/b", "split/test/a", "split/test/b"],
    );
    fs::copy(place.path("pets/cat/3.png"), place.path("FILE")).unwrap();
    for data in ["pets", "split", "digits"] {
        let said =
            place.text(&format!("train lenet --data {data} --epochs 1 -b 8 --out {data}-run"));
        let commands = proposed(&said);
        assert_eq!(commands.len(), 2, "{said}");
        commands.iter().for_each(|command| drop(place.text(command)));
    }
    // Where a bad file was left out, it is left out again.
    fs::write(place.path("pets/dog/7.png"), "no image").unwrap();
    let said = place.text("train lenet --data pets --epochs 1 -b 8 --out bad --skip-bad");
    proposed(&said).iter().for_each(|command| drop(place.text(command)));
    // What `eval` proposes instead of the test images that are not there.
    place.fails("eval pets-run", 3, &["--split validation"]);
    place.text("eval pets-run --split validation --skip-bad");
}

#[test]
fn names_from_files_do_nothing_to_the_terminal() {
    let harmful = "red\u{1b}[31m\nerror: forged\u{202e}\u{9b}2J";
    let harmless = |text: &str| {
        let acted_on =
            |c: char| c != '\n' && c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!text.contains(acted_on), "{text:?}");
        assert!(!text.contains("\nerror: forged"), "{text}");
    };
    let place = Place::new();
    let classes = [format!("pets/{harmful}"), "pets/dog".to_owned()];
    folders(&place, &classes.each_ref().map(String::as_str));
    // Class names: in the tables and lines of text, and in JSON, which keeps their meaning.
    place.text("train lenet --data pets --epochs 1 -b 8 --out run");
    for line in
        ["eval run --split train --per-class", "predict pets/dog/0.png --model run", "show run"]
    {
        let ran = place.run(line);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        harmless(&ran.stdout);
        harmless(&ran.stderr);
        assert!(ran.stdout.contains("red\\u{1b}[31m\\nerror: forged\\u{202e}\\u{9b}2J"), "{ran:?}");
    }
    fs::copy(place.path("pets/dog/0.png"), place.path(&classes[0]).join("twin.png")).unwrap();
    fs::write(place.path(&classes[0]).join("bad.png"), "").unwrap();
    let ran = place.run("data check pets");
    harmless(&ran.stdout);
    harmless(&ran.stderr);
    assert!(ran.stdout.contains("twin.png") && ran.stdout.contains("bad.png"), "{ran:?}");
    for file in ["twin.png", "bad.png"] {
        fs::remove_file(place.path(&classes[0]).join(file)).unwrap();
    }
    let ran = place.run("eval run --split train --per-class --json");
    assert!(ran.stdout.is_ascii() && !ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    let named = |class: &serde_json::Value| class["class"] == *harmful;
    assert!(parse(&ran.stdout)["per_class"].as_array().unwrap().iter().any(named));
    // Names of files: of images, of models, and as arguments that are none.
    let name = format!("{harmful}.png");
    fs::copy(place.path("pets/dog/0.png"), place.path(&name)).unwrap();
    let flag = format!("--{name}");
    for arguments in [
        &["predict", &name][..],
        &["predict", "absent", &name],
        &["show", &name],
        &["eval", "run", "--data", &name],
        &["predict", &flag],
        &["models", &name],
        &["train", "lenet", "--epochs", &name],
    ] {
        let output = place.command("").args(arguments).output().unwrap();
        harmless(&String::from_utf8(output.stdout).unwrap());
        harmless(&String::from_utf8(output.stderr).unwrap());
    }
    // Names of tensors, harmful and long.
    let zero = || Tensor::new([1], vec![0.0]).unwrap();
    let weights: Weights =
        [(harmful.to_owned(), zero()), ("n".repeat(1 << 20), zero())].into_iter().collect();
    fs::write(place.path("odd"), safetensors::write(&weights, &BTreeMap::new())).unwrap();
    for line in ["show odd", "predict pets/dog/0.png --model lenet --weights odd"] {
        let ran = place.run(line);
        assert_eq!(ran.code, Some(3), "{line}");
        harmless(&ran.stderr);
        assert!(ran.stderr.len() < 20_000, "{line}: {} bytes", ran.stderr.len());
    }
}

#[test]
fn patterns_and_nearest_names_take_no_time() {
    let place = Place::new();
    let stars = "*".repeat(40).replace('*', "*e");
    place.fails(&format!("models {stars}x"), 3, &["no network's name matches"]);
    place.fails(&format!("show {}", "resnet".repeat(20_000)), 3, &["nearest"]);
}

#[test]
fn what_the_answer_cannot_mean_is_said_before_it() {
    let place = Place::new();
    let photograph = image::RgbImage::from_fn(200, 150, |x, y| {
        image::Rgb([(x + y / 2) as u8, (3 * y / 2) as u8, (200 - x) as u8])
    });
    photograph.save(place.path("photograph.png")).unwrap();
    let digit = image::GrayImage::from_fn(90, 120, |x, y| {
        image::Luma([if x.abs_diff(45) < 6 && y.abs_diff(60) < 40 { 20 } else { 250 }])
    });
    digit.save(place.path("digit.png")).unwrap();
    let ran = place.run("predict photograph.png");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("photograph.png does not look like a drawn digit"), "{ran:?}");
    assert_eq!(place.run("predict digit.png").stderr, "");
    // Nor does a sheet of paper.
    image::RgbImage::from_pixel(90, 60, image::Rgb([200, 30, 30]))
        .save(place.path("red.png"))
        .unwrap();
    let ran = place.run("predict red.png");
    assert!(ran.stderr.contains("red.png does not look like a drawn digit"), "{ran:?}");

    let ran = place.run("train resnet20_cifar --epochs 1 --batch-size 600 --out run");
    assert!(
        ran.stderr.starts_with("warning: resnet20_cifar learns the embedded handwritten digits"),
        "{ran:?}"
    );
    assert!(!place.run("train lenet --epochs 1 --out lenet").stderr.contains("warning"));

    folders(
        &place,
        &["pets/cat", "pets/dog", "fruit/apple", "fruit/pear", "mixed/cat", "mixed/pear"],
    );
    place.text("train lenet --data pets --epochs 1 -b 8 --out pets-run");
    for (data, word) in [("fruit", "other classes"), ("mixed", "1 of 2 have a name in common")] {
        let ran = place.run(&format!("eval pets-run --data {data} --split all"));
        assert!(ran.stderr.contains("warning: ") && ran.stderr.contains(word), "{ran:?}");
    }
    assert!(!place.run("eval pets-run --split all").stderr.contains("warning"));
}

#[test]
fn negative_numbers_are_values() {
    let place = Place::new();
    for (line, code, word) in [
        ("train lenet --lr -1", 2, "lr must be"),
        ("train lenet --lr -1e-3", 2, "lr must be"),
        ("train lenet --lr -inf", 2, "lr must be"),
        ("train lenet --momentum -0.5", 2, "momentum must be"),
        ("train lenet -j -1", 2, "from 1 to 1024"),
        ("train lenet --seed -1", 2, "--seed"),
        ("predict x.png --mean -1,2", 2, "--mean: expected one finite number per channel"),
        ("show lenet --input -1x2x3", 2, "3x224x224"),
        ("kernels --conv -1,2", 2, "expected C,H,W,K"),
    ] {
        place.fails(line, code, &[word]);
        assert!(!place.run(line).stderr.contains("unexpected argument"), "{line}");
    }
}

#[test]
fn names_that_are_none_are_answered_with_what_there_is() {
    let place = Place::new();
    for line in
        ["train resnet20", "show resnet20", "models resnet20", "models ?resnet20", "eval resnet20"]
    {
        place.fails(line, 3, &["nearest: resnet20_cifar"]);
    }
    place.fails("train lenet-digit", 3, &["lenet-digits"]);
    for line in ["show trimps_soushen", "predict x.png --model trimps_soushen"] {
        place.fails(line, 3, &["is an ensemble", "inception_v3"]);
    }
    // An ending is no tag.
    for line in ["show resnet18.pth", "show resnet18.anything", "plan resnet18.safetensors"] {
        place.fails(line, 3, &["resnet18."]);
    }
    assert!(place.text("show resnet18.tv_in1k").starts_with("resnet18, 2015"));
}

#[test]
fn messages_name_no_source_and_all_missing_keys() {
    let place = Place::new();
    for line in ["show vgg16 --input 3x16x16", "plan nothing", "show lenet --input 1x2x2"] {
        let ran = place.run(line);
        assert!(ran.code == Some(3) && !ran.stderr.contains(".rs"), "{ran:?}");
    }
    fs::write(place.path("recipe.toml"), "network = \"lenet\"\nepochs = 3\n").unwrap();
    place.fails(
        "train recipe.toml",
        3,
        &["missing: data, validation, seed, batch_size, lr, weight_decay, schedule"],
    );
    fs::write(place.path("recipe.toml"), "network = \"lenet\"\nepochs = x\n").unwrap();
    place.fails("train recipe.toml", 3, &["line 2", "\n  2 | epochs = x"]);
}

#[test]
fn numbers_are_written_as_they_were_given() {
    let place = Place::new();
    place.text("train lenet --epochs 1 --out run --lr 0.03");
    place.text("convert run model.safetensors");
    place.text("convert run timm");
    let mut texts: Vec<String> = ["run/config.resolved.toml", "timm/config.json"]
        .into_iter()
        .map(|file| fs::read_to_string(place.path(file)).unwrap())
        .collect();
    for file in ["run/model.safetensors", "model.safetensors"] {
        let bytes = fs::read(place.path(file)).unwrap();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        texts.push(String::from_utf8(bytes[8..8 + header].to_vec()).unwrap());
    }
    texts.extend(
        ["show run --json", "eval run --json", "models --json"].map(|line| place.text(line)),
    );
    for text in &texts {
        for wide in ["0.1572999", "0.2928999", "0.0299999"] {
            assert!(!text.contains(wide), "{wide} in {text}");
        }
    }
    assert!(texts[0].contains("lr = 0.03\n") && texts[1].contains("0.1573"), "{texts:?}");
}

#[test]
fn runs_and_weights_are_shown() {
    let place = Place::new();
    folders(&place, &["pets/cat", "pets/dog"]);
    place.text("train lenet --data pets --epochs 1 -b 8 --out run");
    place.text("convert run timm");
    for (name, weights) in [
        ("run", "run/model.safetensors"),
        ("run/model.safetensors", "run/model.safetensors"),
        ("timm", "timm/model.safetensors"),
        ("lenet --weights run", "run/model.safetensors"),
        ("lenet-digits", "part of the program"),
    ] {
        let document = place.json(&format!("show {name}"));
        assert_eq!(
            (&document["name"], &document["model"]["weights"]),
            (&"lenet".into(), &weights.into())
        );
    }
    let text = place.text("show run");
    let data = format!("learnt from: {}\n", place.path("pets").canonicalize().unwrap().display());
    for part in ["2 classes: cat, dog\n", &data, "preprocessing: ", "timm lacks"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(place.json("show run --input 1x28x28")["classes"], 2);
    place.fails("show run --classes 3", 2, &["--classes"]);
    place.fails("show pets", 3, &["pets: no weights in this folder"]);
    // A folder that happens to be called as a network is, also as that of the embedded model.
    fs::create_dir(place.path("lenet")).unwrap();
    place.text("predict pets/cat/3.png --model lenet");
    fs::create_dir(place.path("vgg16")).unwrap();
    assert!(place.text("show vgg16").starts_with("vgg16, 2014"));
    assert_eq!(place.json("show vgg16")["timm"], true);
}

#[test]
fn networks_that_timm_lacks_are_named() {
    let place = Place::new();
    let warned = |line: &str| place.run(line).stderr.contains("warning: timm has no ");
    assert!(warned("convert lenet timm-lenet"));
    assert!(!warned("convert resnet18 --init 1 timm-resnet18"));
    let csv = place.text("models resnet18 --csv");
    assert!(csv.lines().nth(1).unwrap().ends_with(",true,"), "{csv}");
}

#[test]
fn list_of_networks_fits_a_terminal() {
    let place = Place::new();
    let widest = |line: &str| place.text(line).lines().map(|line| line.chars().count()).max();
    assert!(widest("models") <= Some(80), "{:?}", widest("models"));
    assert!(widest("models --wide") > Some(80));
    let listed = place.text("models");
    for ensemble in top5::zoo::ensembles() {
        assert!(listed.contains(&format!("\n{} (ensemble)", ensemble.name)), "{listed}");
    }
}

#[test]
fn a_model_that_is_named_beside_model_is_not_taken_for_an_image() {
    let place = Place::new();
    folders(&place, &["pets/cat"]);
    place.fails(
        "predict resnet18 pets/cat/0.png",
        2,
        &["resnet18 is a network", "--model resnet18"],
    );
    place.fails(
        "predict pets/cat/0.png --weights resnet18.pth",
        2,
        &["--weights resnet18.pth needs", "--model"],
    );
    fs::create_dir(place.path("mine")).unwrap();
    for file in ["mine/model.safetensors", "mine.safetensors"] {
        place.text(&format!("convert lenet-digits {file}"));
    }
    for model in ["mine", "mine.safetensors"] {
        let said = format!("{model} holds weights, no image: write --model {model}");
        place.fails(&format!("predict {model} pets/cat/0.png"), 2, &[&said]);
    }
    // A file of that name is an image.
    fs::rename(place.path("pets/cat/0.png"), place.path("resnet18")).unwrap();
    place.text("predict resnet18");
}
