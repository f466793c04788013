//! `train` and `eval` as a user runs them: runs that are killed, bad data, and what must never be overwritten.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use top5::graph::random::Stream;

use crate::program::{Place, Ran, parse};

/// A short run on the embedded digits that writes a checkpoint at every step.
const SHORT: &str = "train lenet --epochs 2 --batch-size 128 --checkpoint-every 1";

/// The SHA-256 of a finished run's weights, as `train --json` states it.
fn hash(summary: &Value) -> String {
    summary["weights_sha256"].as_str().unwrap().to_owned()
}

#[test]
fn training_learns_and_its_run_is_used_by_the_other_commands() {
    let place = Place::new();
    let ran = place.run("train lenet --epochs 8 --out run");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("top5 eval run") && ran.stdout.contains("top5 predict"), "{ran:?}");
    assert!(ran.stderr.contains("epoch 8/8") && !ran.stderr.contains('\x1b'), "{ran:?}");

    let document = place.json("eval run --per-class");
    let top1 = document["top1"].as_f64().unwrap();
    assert!(top1 > 90.0, "{top1}");
    assert!(document["top5"].as_f64().unwrap() >= top1);
    assert_eq!(document["images"], 400);
    assert_eq!(document["per_class"].as_array().unwrap().len(), 10);
    assert_eq!(place.run("eval run --min-top1 101").code, Some(6));

    for file in ["config.resolved.toml", "summary.csv", "environment.json", "model.safetensors"] {
        assert!(place.path("run").join(file).is_file(), "{file}");
    }
    let summary = fs::read_to_string(place.path("run/summary.csv")).unwrap();
    assert_eq!(summary.lines().count(), 1 + 8, "{summary}");

    place.fails("train lenet --epochs 1 --out run", 4, &["run", "--resume"]);
    place.fails("train lenet --epochs 9 --out run --resume", 3, &["epochs", "8", "9"]);
}

#[test]
fn threads_do_not_change_the_weights_and_seeds_do() {
    let place = Place::new();
    let run = |more: &str| hash(&place.json(&format!("{SHORT} {more}")));
    let one = run("--threads 1 --out one");
    assert_eq!(run("--threads 2 --out two"), one);
    assert_ne!(run("--seed 8 --out other"), one);
}

/// Runs the command again and again, killing each run after a random time, until one ends by itself.
fn train_under_fire(place: &Place, line: &str, kills: usize, stream: &mut Stream) -> Value {
    let start = |line: &str| -> Child {
        let mut command = place.command(line);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for _ in 0..kills {
        let mut child = start(line);
        thread::sleep(Duration::from_millis(20 + stream.below(400) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let ran = Ran::from(start(line).wait_with_output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    parse(&ran.stdout)
}

/// Each killed run is taken up again by the next, until the last one finishes.
#[test]
fn killed_runs_end_with_the_same_weights_exhaustive() {
    let kills: usize = if std::env::var_os("TOP5_EXHAUSTIVE").is_some() { 50 } else { 5 };
    let place = Place::new();
    let whole = hash(&place.json(&format!("{SHORT} --out whole")));
    let mut stream = Stream::new(kills as u64, 1);
    for group in 0..kills.div_ceil(5) {
        let line = format!("{SHORT} --out killed-{group} --resume --json");
        let summary = train_under_fire(&place, &line, 5, &mut stream);
        assert_eq!(hash(&summary), whole, "group {group}");
    }
}

#[cfg(unix)]
#[test]
fn interrupted_run_writes_a_checkpoint_and_resumes() {
    let place = Place::new();
    let line = "train lenet --epochs 2 --seed 7 --batch-size 128";
    let whole = hash(&place.json(&format!("{line} --out whole")));
    let mut command = place.command(&format!("{line} --out stopped"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The lock is there once signals are awaited.
    while !place.path("stopped/environment.json").exists() {
        thread::sleep(Duration::from_millis(2));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.stderr.contains("--resume --out stopped"), "{ran:?}");
    assert_eq!(hash(&place.json("train --out stopped --resume")), whole);
}

#[test]
fn damaged_checkpoint_is_passed_over() {
    let place = Place::new();
    let line = format!("{SHORT} --out run");
    let whole = hash(&place.json(&line));
    let folder = place.path("run/checkpoints");
    let mut newest: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    newest.sort();
    damage(newest.last().unwrap());
    let ran = place.run(&format!("{line} --resume --json"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("damaged"), "{ran:?}");
    assert_eq!(hash(&parse(&ran.stdout)), whole);
}

/// Flips a bit in the middle of the largest file below a path.
fn damage(path: &Path) {
    let mut files = vec![path.to_owned()];
    let mut largest = (0, path.to_owned());
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            largest = largest.max((fs::metadata(&path).unwrap().len(), path));
        }
    }
    let mut bytes = fs::read(&largest.1).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest.1, bytes).unwrap();
}

#[test]
fn diverging_run_stops_with_code_5() {
    let place = Place::new();
    place.fails("train lenet --lr 1e9 --out run", 5, &["loss"]);
}

#[test]
fn bad_data_are_reported_and_nothing_is_made() {
    let place = Place::new();
    fs::create_dir_all(place.path("mnist")).unwrap();
    let idx = |magic: u32, dimensions: &[u32], bytes: usize| {
        let mut file: Vec<u8> =
            [magic].iter().chain(dimensions).flat_map(|n| n.to_be_bytes()).collect();
        file.resize(file.len() + bytes, 1);
        file
    };
    let files = [
        ("train-images-idx3-ubyte", idx(2051, &[40, 28, 28], 40 * 784)),
        ("train-labels-idx1-ubyte", idx(2049, &[40], 40)),
        ("t10k-images-idx3-ubyte", idx(2051, &[10, 28, 28], 10 * 784)),
        ("t10k-labels-idx1-ubyte", idx(2049, &[10], 10)),
    ];
    let write = || {
        for (name, bytes) in &files {
            fs::write(place.path("mnist").join(name), bytes).unwrap();
        }
    };
    let train = |data: &str, code, words: &[&str]| {
        place.fails(&format!("train lenet --data {data} --out run"), code, words);
        assert!(!place.path("run").exists(), "{data}");
    };
    for (file, change) in [
        ("train-images-idx3-ubyte", "cut"),
        ("train-labels-idx1-ubyte", "cut"),
        ("t10k-images-idx3-ubyte", "magic"),
        ("t10k-labels-idx1-ubyte", "label"),
    ] {
        write();
        let path = place.path("mnist").join(file);
        let mut bytes = fs::read(&path).unwrap();
        match change {
            "cut" => bytes.truncate(bytes.len() - 3),
            "magic" => bytes[3] ^= 0xff,
            _ => bytes[10] = 99,
        }
        fs::write(&path, bytes).unwrap();
        train("mnist", 3, &[file]);
    }

    fs::create_dir(place.path("cifar")).unwrap();
    fs::write(place.path("cifar/batches.meta.txt"), "a\n".repeat(10)).unwrap();
    for batch in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"] {
        fs::write(place.path(format!("cifar/{batch}.bin")), [0; 3072]).unwrap();
    }
    fs::write(place.path("cifar/test_batch.bin"), [0; 3072]).unwrap();
    train("cifar", 3, &["data_batch_1.bin", "3072"]);
    fs::create_dir(place.path("empty")).unwrap();
    train("empty", 3, &["empty", "looked for"]);
    fs::create_dir_all(place.path("classes/a")).unwrap();
    train("classes", 3, &["found nothing to read"]);
    train("absent", 3, &["absent", "looked for"]);
    for class in ["a", "b"] {
        fs::create_dir_all(place.path("bad").join(class)).unwrap();
        for i in 0..4 {
            let mut file =
                fs::File::create(place.path("bad").join(class).join(format!("{i}.png"))).unwrap();
            file.write_all(b"\x89PNG\r\n\x1a\n, and then nothing").unwrap();
        }
    }
    place.fails("train lenet --data bad --out bad-run", 3, &[".png"]);
}

#[test]
fn evaluation_needs_the_classes_of_the_model() {
    let place = Place::new();
    for class in ["cat", "dog"] {
        fs::create_dir_all(place.path("pets").join(class)).unwrap();
        for i in 0..4u8 {
            let image = image::GrayImage::from_pixel(8, 8, image::Luma([i * 30]));
            image.save(place.path("pets").join(class).join(format!("{i}.png"))).unwrap();
        }
    }
    place.fails("eval lenet --data pets --split train", 3, &["10", "2", "classes"]);
    place.fails("eval lenet --data pets", 3, &["test"]);
    let document = place.json("eval lenet");
    assert!(document["top1"].as_f64().unwrap() >= 98.0, "{document}");
}
