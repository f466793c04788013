//! Runs that are killed, interrupted, damaged and begun twice: each goes on, and ends with the bits of one that was never
//! disturbed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use top5::graph::random::Stream;

use crate::program::{Place, Ran, parse};

/// A short run on the embedded digits that writes a checkpoint at every step.
const SHORT: &str = "train lenet --epochs 2 --batch-size 128 --checkpoint-every 1";
/// Its steps.
const STEPS: usize = 2 * (1197 / 128);

/// The SHA-256 of a finished run's weights, as `train --json` states it.
fn hash(summary: &Value) -> String {
    summary["weights_sha256"].as_str().unwrap().to_owned()
}

fn start(place: &Place, line: &str) -> Child {
    let mut command = place.command(line);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The folders of the run's checkpoints, oldest first.
fn checkpoints(place: &Place, run: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.path(run).join("checkpoints")).unwrap();
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[test]
fn threads_do_not_change_the_weights_and_seeds_do() {
    let place = Place::new();
    let run = |more: &str| hash(&place.json(&format!("{SHORT} {more}")));
    let one = run("--threads 1 --out one");
    assert_eq!(run("--threads 2 --out two"), one);
    assert_ne!(run("--seed 8 --out other"), one);
}

/// Starts the run and kills it after a random time, until it was killed `kills` times; one that ends before its time counts
/// for nothing and is begun again. Then it may end: its summary.
fn train_under_fire(place: &Place, group: usize, kills: usize, stream: &mut Stream) -> Value {
    let mut killed = 0;
    for attempt in 0.. {
        let line = format!("{SHORT} --out run-{group}-{attempt} --resume --json");
        while killed < kills {
            let mut child = start(place, &line);
            thread::sleep(Duration::from_millis(stream.below(250) as u64));
            child.kill().unwrap();
            let ran = Ran::from(child.wait_with_output().unwrap());
            match ran.code {
                None => killed += 1,
                Some(code) => {
                    assert_eq!(code, 0, "{ran:?}");
                    break;
                }
            }
        }
        if killed == kills {
            return place.json(line.trim_end_matches(" --json"));
        }
    }
    unreachable!("the attempts do not end")
}

/// Each killed run is taken up again by the next, until the last one finishes.
#[cfg(unix)]
#[test]
fn killed_runs_end_with_the_same_weights_exhaustive() {
    let groups = if std::env::var_os("TOP5_EXHAUSTIVE").is_some() { 25 } else { 3 };
    let place = Place::new();
    let whole = hash(&place.json(&format!("{SHORT} --out whole")));
    let mut stream = Stream::new(groups as u64, 1);
    for group in 0..groups {
        let summary = train_under_fire(&place, group, 2, &mut stream);
        assert_eq!(hash(&summary), whole, "group {group}");
    }
}

#[cfg(unix)]
#[test]
fn interrupted_run_writes_a_checkpoint_and_resumes() {
    let place = Place::new();
    let line = "train lenet --epochs 2 --seed 7 --batch-size 128";
    let whole = hash(&place.json(&format!("{line} --out whole")));
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let run = format!("stopped-{code}");
        let child = start(&place, &format!("{line} --out {run}"));
        // Its first step is done when there is something in this file.
        let log = place.path(&run).join("metrics.jsonl");
        while fs::metadata(&log).map_or(0, |log| log.len()) == 0 {
            thread::sleep(Duration::from_millis(2));
        }
        let kill = std::process::Command::new("kill")
            .args([format!("-{signal}"), child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stderr.contains(&format!("--resume --out {run}")), "{ran:?}");
        assert_eq!(checkpoints(&place, &run).len(), 1);
        assert_eq!(hash(&place.json(&format!("train --out {run} --resume"))), whole);
    }
}

/// Stopped after an epoch's last step, a run saves that step once more when it goes on. Killed at any rename or deletion, it
/// has a whole checkpoint, and ends with the weights of one that was never killed, its table written and nothing left over.
#[cfg(target_os = "linux")]
#[test]
fn no_instant_is_without_a_checkpoint_exhaustive() {
    if !crate::hub::strace() {
        return;
    }
    let place = Place::new();
    // One step per epoch.
    let line = "train lenet --epochs 2 --batch-size 1197 --threads 1 --keep-epochs 1,2";
    let whole = hash(&place.json(&format!("{line} --out whole")));
    let table = fs::read_to_string(place.path("whole/summary.csv")).unwrap();
    let run = |out: &str, at: &str, options: &[&str]| {
        let log = place.path("trace.txt");
        let mut all = vec!["-f", "-q", "-o", log.to_str().unwrap(), "-e", at];
        all.extend(options);
        place.run_under("strace", &all, &format!("{line} --out {out} --resume"))
    };
    let every = if std::env::var_os("TOP5_EXHAUSTIVE").is_some() { 1 } else { 4 };
    let mut killed = 0;
    for when in (1..).step_by(every) {
        let out = format!("run-{when}");
        // The record of the first step goes to the log, and so does the signal.
        let path = place.path(&out).join("metrics.jsonl");
        let term = ["-P", path.to_str().unwrap()];
        let stopped = run(&out, "inject=write:signal=TERM:when=1", &term);
        assert_eq!(stopped.code, Some(143), "{stopped:?}");
        assert_eq!(checkpoints(&place, &out).len(), 1);
        let ran =
            run(&out, &format!("inject=rename,unlink,unlinkat,rmdir:signal=KILL:when={when}"), &[]);
        killed += usize::from(ran.code != Some(0));
        assert_eq!(hash(&place.json(&format!("{line} --out {out} --resume"))), whole, "{when}");
        assert_eq!(fs::read_to_string(place.path(&out).join("summary.csv")).unwrap(), table);
        for kept in ["epochs/epoch-0001.safetensors", "epochs/epoch-0002.safetensors"] {
            let model = |run: &str| fs::read(place.path(run).join(kept)).unwrap();
            assert_eq!(model(&out), model("whole"), "{when}: {kept}");
        }
        let folders = ["", "checkpoints", "epochs"].map(|name| place.path(&out).join(name));
        let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
        let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        let left = names.iter().filter(|name| name.to_string_lossy().ends_with(".tmp"));
        assert_eq!(left.count(), 0, "{names:?}");
        if ran.code == Some(0) {
            break;
        }
    }
    assert!(killed >= 2, "the run was killed {killed} times");
}

#[test]
fn damaged_checkpoint_is_passed_over() {
    let place = Place::new();
    let line = format!("{SHORT} --out run");
    let whole = hash(&place.json(&line));
    for file in ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"] {
        for harm in ["flip", "cut", "delete"] {
            let newest = checkpoints(&place, "run").pop().unwrap();
            // One that takes the place of a damaged one has a number more.
            let name = newest.file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with(&format!("step-{STEPS:08}")), "{newest:?}");
            damage(&newest.join(file), harm);
            let ran = place.run(&format!("{line} --resume --json"));
            assert_eq!(ran.code, Some(0), "{file}, {harm}: {ran:?}");
            let words = ["damaged", "step-", &format!("going on after step {}", STEPS - 1)];
            for word in words {
                assert!(ran.stderr.contains(word), "{file}, {harm}: no {word} in {ran:?}");
            }
            assert_eq!(hash(&parse(&ran.stdout)), whole, "{file}, {harm}");
        }
    }
    for folder in checkpoints(&place, "run") {
        damage(&folder.join("weights.safetensors"), "flip");
    }
    let before = fs::read(place.path("run/model.safetensors")).unwrap();
    place.fails(&format!("{line} --resume"), 3, &["damaged", "another folder"]);
    assert_eq!(fs::read(place.path("run/model.safetensors")).unwrap(), before);
}

/// A checkpoint that the system does not let be read may be whole: none older is taken, and the run is there afterwards.
#[cfg(unix)]
#[test]
fn unread_checkpoint_ends_a_resume_with_nothing_lost() {
    let place = Place::new();
    let line = format!("{SHORT} --out run");
    let whole = hash(&place.json(&line));
    let newest = checkpoints(&place, "run").pop().unwrap();
    for file in ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"] {
        let (path, aside) = (newest.join(file), place.path("aside"));
        fs::rename(&path, &aside).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let name = path.strip_prefix(place.path("")).unwrap();
        let words = [name.to_str().unwrap(), "no older one is taken"];
        place.fails(&format!("{line} --resume"), 4, &words);
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    let ran = place.run(&format!("{line} --resume --json"));
    assert_eq!(hash(&parse(&ran.stdout)), whole);
    assert!(ran.stderr.contains(&format!("going on after step {STEPS}")), "{ran:?}");

    // Nor is a file taken for the name of something else.
    let at = place.path("loop.pth");
    std::os::unix::fs::symlink(&at, &at).unwrap();
    for line in [
        "show loop.pth",
        "predict x.png --model loop.pth",
        "eval --ensemble loop.pth",
        "eval lenet --protocol loop.pth",
    ] {
        place.fails(line, 4, &["reading loop.pth", "symbolic links"]);
    }

    // Nor are a run's own files taken for absent, nor its folder for one without a run.
    for (file, line) in [
        ("environment.json", format!("{line} --resume")),
        ("config.resolved.toml", format!("{line} --resume")),
        ("config.resolved.toml", "report run".to_owned()),
        ("model.safetensors", "report run".to_owned()),
        ("model.safetensors", "eval run".to_owned()),
        ("checkpoints", "eval run".to_owned()),
    ] {
        let (path, aside) = (place.path("run").join(file), place.path("aside"));
        let model = place.path("run/model.safetensors");
        if file == "checkpoints" {
            fs::rename(&model, place.path("model")).unwrap();
        }
        fs::rename(&path, &aside).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
        place.fails(&line, 4, &[file]);
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
        if file == "checkpoints" {
            fs::rename(place.path("model"), &model).unwrap();
        }
    }
}

#[test]
fn run_goes_on_as_it_was_computed() {
    let place = Place::new();
    for made in ["--isa scalar --precision bf16", "--isa scalar --exact"] {
        let run = made.rsplit('-').next().unwrap().replace(' ', "-");
        let whole = hash(&place.json(&format!("{SHORT} {made} --out {run}")));
        let newest = checkpoints(&place, &run).pop().unwrap();
        damage(&newest.join("state.json"), "flip");
        let resume = format!("train --out {run} --resume");
        assert_eq!(hash(&place.json(&resume)), whole, "{made}");
        assert_eq!(hash(&place.json(&format!("{resume} {made}"))), whole, "{made}");
    }
    for (line, words) in [
        ("precision-bf16 --resume --precision f32", ["--precision f32, bf16", "leave"]),
        ("precision-bf16 --resume --exact", ["--exact, absent", "begin another run"]),
        ("exact --resume --precision bf16", ["--precision bf16, f32", "leave"]),
        ("exact --resume --isa avx2", ["avx2", "scalar"]),
    ] {
        place.fails(&format!("train --out {line}"), 3, &words);
    }
}

#[test]
fn run_of_another_machine_goes_on_with_a_warning() {
    let place = Place::new();
    place.text(&format!("{SHORT} --isa scalar --out run"));
    let path = place.path("run/environment.json");
    let text = fs::read_to_string(&path).unwrap();
    let other = text.replace("\"scalar\"", "\"vector-unit\"");
    assert_ne!(other, text);
    fs::write(&path, other).unwrap();
    let ran = place.run("train --out run --resume");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("warning: ") && ran.stderr.contains("vector-unit"), "{ran:?}");
    assert!(!place.run("train --out run --resume").stderr.contains("warning: "));

    // The run's own instruction set is the only one while it can run.
    place.text(&format!("{SHORT} --isa scalar --precision bf16 --out bf16"));
    let path = place.path("bf16/environment.json");
    let bf16 = fs::read_to_string(&path).unwrap();
    fs::write(&path, bf16.replace("\"scalar\"", "\"vector-unit\"")).unwrap();
    place.fails("train --out bf16 --resume --precision f32 --isa scalar", 3, &["f32, bf16"]);
    let ran = place.run("train --out bf16 --resume --isa scalar");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("warning: ") && ran.stderr.contains("scalar"), "{ran:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), bf16);

    let path = place.path("run/environment.json");
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    place.fails("train --out run --resume", 3, &["environment.json", "begin another run"]);
    fs::remove_file(&path).unwrap();
    let words = ["environment.json is missing", "begin another run"];
    place.fails("train --out run --resume", 3, &words);
    assert!(!path.exists());
}

fn damage(path: &Path, harm: &str) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    match harm {
        "flip" => bytes[middle] ^= 1,
        "cut" => bytes.truncate(middle),
        _ => return fs::remove_file(path).unwrap(),
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn second_run_in_a_folder_is_refused_while_the_first_one_lasts() {
    let place = Place::new();
    let mut child = start(&place, "train lenet --out run");
    let lock = place.path("run/checkpoints/lock");
    while fs::read_to_string(&lock).unwrap_or_default().trim().is_empty() {
        thread::sleep(Duration::from_millis(2));
    }
    let holder = child.id().to_string();
    place.fails("train lenet --out run --resume", 4, &["is being written by", &holder]);
    child.kill().unwrap();
    child.wait().unwrap();
    place.fails("train lenet --out run", 4, &["not empty", "--resume"]);
    place.fails("train lenet --out run --resume --seed 3", 3, &["seed"]);
    place.fails("train --out nowhere --resume", 3, &["nowhere: there is no run to go on with"]);
}
