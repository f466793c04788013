//! `top5 models` and `top5 show`: the registry as text, records and pictures.

use std::process::{Command, Output};

use serde_json::Value;

fn top5(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_top5")).args(args).output().unwrap()
}

fn stdout(args: &[&str]) -> String {
    let output = top5(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn document(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

#[test]
fn every_network_and_ensemble_is_listed() {
    let names = top5::zoo::networks().map(|network| network.name);
    let names: Vec<&str> = names.chain(top5::zoo::ensembles().map(|e| e.name)).collect();
    let table = stdout(&["models"]);
    let first = |line: &str| line.split(' ').next().unwrap().to_owned();
    let listed: Vec<String> = table.lines().skip(1).map(first).collect();
    assert_eq!(listed, names);
    let csv = stdout(&["models", "--csv"]);
    assert_eq!(csv.lines().count(), 1 + names.len());
    let json = document(&["models", "--json"]);
    assert_eq!(json["models"].as_array().unwrap().len(), names.len());
}

#[test]
fn forms_of_the_table_tell_the_same() {
    let table = stdout(&["models", "vgg1?", "--wide"]);
    let names: Vec<&str> = table.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["name", "vgg11", "vgg13", "vgg16", "vgg19"]);
    for part in ["138.4 M", "15.5 G", "212×212", "25.6", "8.1"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let markdown = stdout(&["models", "vgg16", "--markdown"]);
    assert!(markdown.contains("| vgg16 | 2014 | 3×224×224 | 138.4 M | 15.5 G |"), "{markdown}");
    let csv = stdout(&["models", "vgg16", "--csv"]);
    let [titles, values] = csv.lines().collect::<Vec<_>>()[..] else { panic!("{csv}") };
    assert_eq!(titles.split(',').count(), 15);
    assert!(values.contains(",138357544,15470264320,"), "{values}");
    let json = document(&["models", "vgg16", "--json"]);
    let vgg16 = &json["models"][0];
    assert_eq!(vgg16["params"], 138_357_544);
    assert_eq!(vgg16["receptive_field"], serde_json::json!([212, 212]));
    assert_eq!(vgg16["published"][0]["top5"], 8.1);
}

#[test]
fn ensemble_is_listed_with_its_members() {
    let json = document(&["models", "trimps*", "--json"]);
    let trimps = &json["models"][0];
    assert_eq!(trimps["members"].as_array().unwrap().len(), 5);
    assert_eq!(trimps["input"], Value::Null);
}

#[test]
fn layers_are_shown_for_any_input_and_number_of_classes() {
    let json = document(&["show", "resnet20_cifar", "--json", "--classes", "7"]);
    assert_eq!(json["classes"], 7);
    let layers = json["layers"].as_array().unwrap();
    assert_eq!(layers.last().unwrap()["output"], serde_json::json!([7]));
    assert!(stdout(&["show", "lenet"]).contains("44,426"));
    let unknown = top5(&["show", "resnet51"]);
    assert!(!unknown.status.success());
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("resnet50"));
}

#[test]
fn pictures_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let picture = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (drawing, history) = (picture("lenet.svg"), picture("history.svg"));
    stdout(&["show", "lenet", "--svg", &drawing]);
    stdout(&["models", "--plot", &history]);
    let [drawing, history] = [drawing, history].map(|path| std::fs::read_to_string(path).unwrap());
    assert!(drawing.starts_with("<svg") && drawing.contains("6×24×24"));
    assert!(history.starts_with("<svg") && history.contains("senet154"));
}
