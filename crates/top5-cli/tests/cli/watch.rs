//! What a run tells while it goes on and what it leaves for those who look later.

use std::fs;

use serde_json::Value;

use crate::program::{Place, parse};

/// A run of two epochs with a few steps each.
const SHORT: &str = "train lenet --epochs 2 --batch-size 128 --out run";

fn lines(place: &Place, file: &str) -> Vec<Value> {
    fs::read_to_string(place.path(file)).unwrap().lines().map(parse).collect()
}

#[test]
fn steps_and_epochs_are_written_down_with_their_times() {
    let place = Place::new();
    let ran = place.run(&format!("{SHORT} --progress sentences --json"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for words in ["Epoch 1 of 2: ", " percent of the validation images", " left.", "Epoch 2 of 2"] {
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    }
    assert!(!ran.stderr.contains('%') && !ran.stderr.contains('\x1b'), "{ran:?}");
    let said = parse(&ran.stdout)["sentence"].as_str().unwrap().to_owned();
    assert!(said.starts_with("Epoch 2 of 2: ") && ran.stderr.contains(&said), "{said}");

    let (log, times) = (lines(&place, "run/metrics.jsonl"), lines(&place, "run/times.jsonl"));
    let steps = |lines: &[Value]| -> Vec<u64> {
        let steps = lines.iter().filter(|line| line["event"] == "step");
        steps.map(|line| line["step"].as_u64().unwrap()).collect()
    };
    assert_eq!(steps(&log), (1..=18).collect::<Vec<_>>());
    assert_eq!(steps(&times), steps(&log));
    assert!(log.iter().all(|line| line["event"] == "epoch" || line["images"] == 128));
    assert!(times.is_sorted_by_key(|line| line["time"].as_f64().unwrap()));
    assert_eq!(times[0]["event"], "begin");
    let table = fs::read_to_string(place.path("run/summary.csv")).unwrap();
    let head = "epoch,train_loss,train_top1,train_top5,eval_loss,eval_top1,eval_top5,lr\n";
    assert!(table.starts_with(head), "{table}");
    let shares: Vec<f64> =
        table.lines().nth(2).unwrap().split(',').map(|cell| cell.parse().unwrap()).collect();
    assert!(shares[3] >= shares[2] && shares[3] <= 100.0, "{table}");
}

/// As a run of an earlier version that was killed, its log's last line cut off and without the file of times.
#[test]
fn runs_without_times_go_on() {
    let place = Place::new();
    place.text(SHORT);
    let log = fs::read(place.path("run/metrics.jsonl")).unwrap();
    let whole = fs::read(place.path("run/model.safetensors")).unwrap();
    let last = fs::read_dir(place.path("run/checkpoints")).unwrap();
    let last = last.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).max().unwrap();
    fs::remove_dir_all(last).unwrap();
    fs::write(place.path("run/metrics.jsonl"), &log[..log.len() - 9]).unwrap();
    fs::remove_file(place.path("run/times.jsonl")).unwrap();
    place.text("train --resume --out run");
    assert_eq!(fs::read(place.path("run/metrics.jsonl")).unwrap(), log);
    assert_eq!(fs::read(place.path("run/model.safetensors")).unwrap(), whole);
    let times = lines(&place, "run/times.jsonl");
    assert_eq!((&times[0]["event"], &times[0]["step"]), (&Value::from("begin"), &Value::from(9)));

    // A line that was cut off in a crash goes away, and what came after the checkpoint.
    let before = fs::read_to_string(place.path("run/times.jsonl")).unwrap();
    let torn = before.clone() + "{\"event\":\"step\",\"step\":19,\"time\":9e9}\n{\"event\":\"st";
    fs::write(place.path("run/times.jsonl"), torn).unwrap();
    place.text("train --resume --out run");
    let times = fs::read_to_string(place.path("run/times.jsonl")).unwrap();
    assert!(times.starts_with(&before) && times.lines().count() == before.lines().count() + 1);
}
