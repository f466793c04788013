//! Runs and their data: images that turn out to be bad, are repaired or left out, and folders that are moved.

use std::fs;
use std::path::Path;
use std::process::Command;

use top5_testkit::oracle::shared;

use crate::program::{Place, parse};

/// The options of a short run on a folder of images.
const SHORT: &str = "--epochs 2 --batch-size 8";

/// Unpacks an archive of the cases from the field.
fn unpack(place: &Place, archive: &Path) {
    let mut tar = Command::new("tar");
    tar.arg("xzf").arg(archive).arg("-C").arg(place.path(""));
    assert!(tar.status().unwrap().success());
}

/// A folder of classes in `data`, of dark and bright images, ten each.
fn make_data(place: &Place) {
    for (class, gray) in [("bright", 200), ("dark", 30)] {
        fs::create_dir_all(place.path("data").join(class)).unwrap();
        for i in 0..10 {
            fs::write(place.path("data").join(class).join(format!("{i}.pgm")), image(gray + i))
                .unwrap();
        }
    }
}

fn image(gray: u8) -> Vec<u8> {
    [b"P5 28 28 255\n".as_slice(), &[gray; 28 * 28]].concat()
}

/// The SHA-256 of a finished run's weights.
#[track_caller]
fn hash(place: &Place, line: &str) -> String {
    let ran = place.run(&format!("{line} --json"));
    assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
    parse(&ran.stdout)["weights_sha256"].as_str().unwrap().to_owned()
}

#[test]
fn damaged_image_met_in_an_epoch_leaves_a_run_that_goes_on() {
    let Some(shared) = shared() else { return };
    let case = shared.join("field/T1");
    let place = Place::new();
    unpack(&place, &case.join("data.tar.gz"));
    let image = place.path("trunc/cat/0077.jpg");
    let good = fs::read(&image).unwrap();
    let line = "train resnet20_cifar --data trunc --epochs 1 --batch-size 8";
    let whole = hash(&place, &format!("{line} --out whole"));

    fs::copy(case.join("bad77.jpg"), &image).unwrap();
    let words = ["0077.jpg", "--skip-bad", "train --resume --out run"];
    place.fails(&format!("{line} --out run"), 3, &words);
    let steps = || fs::read_dir(place.path("run/checkpoints")).unwrap().count();
    assert_eq!(steps(), 2, "the lock and the last step");
    place.fails("train --resume --out run", 3, &words);
    // What the system does not let be read is not left out, and that is not advised.
    fs::rename(&image, place.path("bad.jpg")).unwrap();
    std::os::unix::fs::symlink("nowhere", &image).unwrap();
    let ran = place.run("train --resume --out run");
    assert!(ran.code == Some(4) && ran.stderr.contains("train --resume"), "{ran:?}");
    assert!(!ran.stderr.contains("--skip-bad"), "{ran:?}");
    fs::rename(place.path("bad.jpg"), &image).unwrap();
    let copy = Command::new("cp").args(["-r", "run", "other"]).current_dir(place.path("")).status();
    assert!(copy.unwrap().success());

    let ran = place.run("train --resume --skip-bad --out other");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("left out: ") && ran.stderr.contains("0077.jpg"), "{ran:?}");
    assert!(ran.stderr.contains("going on after step"), "{ran:?}");

    fs::write(&image, good).unwrap();
    assert_eq!(hash(&place, "train --resume --out run"), whole);

    // One that is no longer there is told apart from one that is bad.
    fs::remove_file(&image).unwrap();
    place.fails("train --resume --out run", 3, &["cat/0077.jpg", "put back", "--skip-bad"]);
}

#[test]
fn bad_images_are_left_out_of_every_part_and_counted() {
    let place = Place::new();
    make_data(&place);
    fs::write(place.path("data/dark/3.pgm"), b"P5 28 28").unwrap();
    place.fails(&format!("train lenet --data data {SHORT} --out run"), 3, &["3.pgm", "--skip-bad"]);
    let ran = place.run(&format!("train lenet --data data {SHORT} --skip-bad --out skipped"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.stderr.matches("left out: ").count(), 1, "{ran:?}");
    assert!(ran.stderr.contains("1 of them cannot be used"), "{ran:?}");
    place.text("train --resume --skip-bad --out run");
    let weights = |run: &str| fs::read(place.path(run).join("model.safetensors")).unwrap();
    assert_eq!(weights("run"), weights("skipped"));
}

/// A prolonged run, with its code and the hash of its weights where it ends well.
fn prolonged(place: &Place, run: &str, flags: &str) -> (Option<i32>, String, Option<String>) {
    let line = format!("train --resume --epochs 3 --no-report --json --out {run} {flags}");
    let ran = place.run(&line);
    let hash = (ran.code == Some(0))
        .then(|| parse(&ran.stdout)["weights_sha256"].as_str().unwrap().to_owned());
    (ran.code, ran.stderr, hash)
}

#[test]
fn a_run_keeps_its_images_where_others_come_or_some_are_gone() {
    let place = Place::new();
    make_data(&place);
    let line = format!("train lenet --data data {SHORT} --no-report");
    for run in ["whole", "run"] {
        place.text(&format!("{line} --out {run}"));
    }
    let (_, _, whole) = prolonged(&place, "whole", "");
    let list = fs::read_to_string(place.path("run/images.json")).unwrap();

    // New ones are none of its own: neither what it learns from nor what chooses the epoch changes.
    let new = place.path("data/dark/00.pgm");
    fs::write(&new, image(250)).unwrap();
    let (code, told, hash) = prolonged(&place, "run", "");
    assert!((code, &hash) == (Some(0), &whole) && told.contains("1 image of the data"), "{told}");
    assert_eq!(fs::read_to_string(place.path("run/images.json")).unwrap(), list);

    // Nor what is looked at once more.
    let chose = |run: &str, flags: &str| {
        let line = format!("eval {run} --split validation --report chose --force {flags}");
        let ran = place.run(&line);
        let rows = fs::read_to_string(place.path("chose/predictions.csv")).unwrap_or_default();
        let images = rows.lines().filter_map(|row| row.split(',').next()).map(str::to_owned);
        (ran.code, ran.stderr, images.collect::<Vec<String>>())
    };
    let (code, told, images) = chose("run", "--twins");
    assert!(code == Some(0) && told.contains("1 image of the data"), "{told}");
    let (code, told, elsewhere) = chose("run", "--data ./data");
    assert!(code == Some(0) && told.contains("1 image of the data"), "{told}");
    assert_eq!(elsewhere, images);
    fs::remove_file(&new).unwrap();
    assert_eq!(chose("run", "").2, images);

    // One that is gone is as one that is bad.
    place.text(&format!("{line} --out less"));
    let bad = place.path("data/dark/3.pgm");
    fs::write(&bad, b"P5 28 28").unwrap();
    fs::create_dir(place.path("copy")).unwrap();
    let copy = Command::new("cp").args(["-r", "less", "copy"]).current_dir(place.path("")).status();
    assert!(copy.unwrap().success());
    let (_, _, of_bad) = prolonged(&place, "less", "--skip-bad");
    fs::remove_file(&bad).unwrap();
    let (code, told, _) = prolonged(&place, "copy/less", "");
    assert!(
        code == Some(3) && told.contains("dark/3.pgm") && told.contains("--skip-bad"),
        "{told}"
    );
    let (code, told, hash) = prolonged(&place, "copy/less", "--skip-bad");
    assert!((code, &hash) == (Some(0), &of_bad) && told.contains("goes on without"), "{told}");
    let (code, told, _) = chose("copy/less", "");
    assert!(code == Some(3) && told.contains("dark/3.pgm"), "{told}");
    place.text("eval copy/less --split validation --skip-bad");
    place.text("report copy/less --skip-bad");
    // Put back, it is one of them again.
    fs::write(&bad, image(33)).unwrap();
    place.text("train --resume --out copy/less --epochs 4");

    // Data of which most are other ones are not the run's.
    for i in 0..9 {
        for class in ["bright", "dark"] {
            let folder = place.path("data").join(class);
            fs::rename(folder.join(format!("{i}.pgm")), folder.join(format!("new{i}.pgm")))
                .unwrap();
        }
    }
    place.fails("train --resume --skip-bad --out run", 3, &["are not those of the run"]);
}

/// Images of another folder that chose the epoch are looked at again, and none that were learnt from.
#[test]
fn images_of_another_folder_that_chose_the_epoch_are_those_of_eval_and_report() {
    let place = Place::new();
    make_data(&place);
    for class in ["bright", "dark"] {
        fs::create_dir_all(place.path("held").join(class)).unwrap();
        for i in 0..3 {
            let file = place.path("held").join(class).join(format!("h{i}.pgm"));
            fs::write(file, image(100 + i)).unwrap();
        }
    }
    place.text(&format!("train lenet --data data --validation-data held {SHORT} --out run"));
    let epochs = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    let document = place.json("eval run --split validation");
    assert_eq!(document["images"], 6);
    let kept = |line: &&str| line.contains("eval_loss");
    let best = epochs.lines().filter(kept).map(|line| parse(line)["eval_loss"].as_f64().unwrap());
    let best = best.fold(f64::INFINITY, f64::min);
    let loss = document["loss"].as_f64().unwrap();
    assert!((loss - best).abs() < 1e-6, "{loss} {best}");
    assert_eq!(place.json("eval run --split train")["images"], 20);
    assert_eq!(place.json("eval run --split all")["images"], 20);

    let page = fs::read(place.path("run/report.html")).unwrap();
    assert!(String::from_utf8_lossy(&page).contains("6 validation images"));
    place.text("report run");
    assert!(fs::read(place.path("run/report.html")).unwrap() == page, "another page");
    // Saved answers are about the same images.
    place.text("eval run --split validation --save answers.safetensors");
    place.text("eval --predictions answers.safetensors --data data --twins --report again");
}

#[test]
fn images_that_have_changed_are_told() {
    let place = Place::new();
    make_data(&place);
    place.text(&format!("train lenet --data data {SHORT} --out run"));
    fs::write(place.path("data/dark/3.pgm"), [image(9), vec![0; 3]].concat()).unwrap();
    let resume = "train --resume --out run";
    for expected in [1, 0] {
        let ran = place.run(resume);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(
            ran.stderr.matches("have changed since the run began").count(),
            expected,
            "{ran:?}"
        );
    }
    // A file that comes or goes is no change of the run's own.
    let more = place.path("data/dark/more.pgm");
    fs::write(&more, image(7)).unwrap();
    let changes = || place.run(resume).stderr.matches("have changed since the run began").count();
    assert_eq!(changes(), 0);
    fs::write(place.path("data/dark/3.pgm"), image(9)).unwrap();
    assert_eq!([changes(), changes()], [1, 0]);
    fs::remove_file(more).unwrap();
    assert_eq!(changes(), 0);
    place.fails(&format!("{resume} --data digits"), 3, &["are not those of the run", "--data"]);
}

#[test]
fn data_are_found_from_anywhere_and_where_they_were_moved() {
    let place = Place::new();
    make_data(&place);
    let line = format!("train lenet --data data {SHORT} --checkpoint-every 1");
    let whole = hash(&place, &format!("{line} --out whole"));
    place.text(&format!("{line} --out run"));
    let newest = |run: &str| {
        let entries = fs::read_dir(place.path(run).join("checkpoints")).unwrap();
        let mut steps: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        steps.retain(|path| path.is_dir());
        steps.sort();
        steps.pop().unwrap()
    };
    // As if it had been killed before its last steps.
    fs::remove_dir_all(newest("run")).unwrap();
    let run = place.path("run").display().to_string();
    let elsewhere = |line: &str| {
        let mut command = place.command(line);
        crate::program::Ran::from(command.current_dir("/").output().unwrap())
    };
    let ran = elsewhere(&format!("train --resume --out {run} --json"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(parse(&ran.stdout)["weights_sha256"], whole.as_str());

    fs::remove_dir_all(newest("run")).unwrap();
    fs::rename(place.path("data"), place.path("moved")).unwrap();
    place.fails("train --resume --out run", 3, &["if they are elsewhere by now", "--data"]);
    place.fails("train --resume --out run --data digits", 3, &["are not those of the run"]);
    assert_eq!(hash(&place, "train --resume --out run --data moved"), whole);
    // And it remembers where they are, and what else was asked for.
    assert_eq!(hash(&place, "train --resume --out run"), whole);
    assert_eq!(hash(&place, "train lenet --resume --out run"), whole);
    place.fails("train lenet5 --resume --out run", 3, &["network: \"lenet5\", \"lenet\""]);
}

#[test]
fn a_run_without_a_model_yet_is_shown_images_as_it_learns_from_them() {
    let place = Place::new();
    for class in ["a", "b"] {
        let folder = place.path(format!("data/{class}"));
        fs::create_dir_all(&folder).unwrap();
        image::GrayImage::new(40, 40).save(folder.join("1.png")).unwrap();
    }
    place.text("train lenet --data data --image-size 36 --validation 0 --epochs 1 --out run");
    let prepared = || place.json("show run")["model"]["preprocess"].as_str().unwrap().to_owned();
    let whole = prepared();
    assert!(whole.contains("crop 36x36"), "{whole}");
    fs::remove_file(place.path("run/model.safetensors")).unwrap();
    assert_eq!(prepared(), whole);
}
