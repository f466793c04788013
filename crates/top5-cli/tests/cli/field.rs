//! Files of weights from reports about other programs, as their users had them; in `../shared/field`, each with what is right.

use std::fs;
use std::path::PathBuf;

use top5_testkit::oracle::shared;

use crate::program::Place;

/// The folder of the cases.
fn field() -> Option<PathBuf> {
    Some(shared()?.join("field"))
}

/// The accuracy of these weights on the embedded digits, and what the program says on the way.
#[track_caller]
fn top1(place: &Place, model: &str) -> (f64, String) {
    let ran = place.run(&format!("eval {model} --data digits --json"));
    assert_eq!(ran.code, Some(0), "{model}: {ran:?}");
    (crate::program::parse(&ran.stdout)["top1"].as_f64().unwrap(), ran.stderr)
}

#[test]
fn checkpoints_of_training_scripts_are_evaluated() {
    let Some(field) = field() else { return };
    let place = Place::new();
    for (file, word) in [
        ("W1/timm_args.pth.tar", ""),
        ("W1/torchvision_args.pth", ""),
        ("W2/model_state_dict.pth", ""),
        ("W3/lightning.ckpt", "`model.`"),
        ("W4/numpy_best_acc.pth", ""),
        ("W5/both.pth.tar", "take it with --ema"),
        ("W6/mask_bool.pth", ""),
        ("W8/shard", ""),
    ] {
        let (percent, said) = top1(&place, &field.join(file).display().to_string());
        assert!((79.7..=80.1).contains(&percent), "{file}: {percent}");
        assert!(said.contains(word), "{file}: {said}");
    }
}

#[test]
fn an_average_of_weights_is_taken_when_asked_for() {
    let Some(field) = field() else { return };
    let place = Place::new();
    let both = field.join("W5/both.pth.tar").display().to_string();
    let (percent, said) = top1(&place, &format!("{both} --ema"));
    // The averages in this file are zeros.
    assert!(percent < 20.0, "{percent}");
    assert!(said.contains("`state_dict_ema`"), "{said}");
    let without = field.join("W2/model_state_dict.pth").display().to_string();
    place.fails(
        &format!("eval {without} --data digits --ema"),
        3,
        &["no average", "model_state_dict"],
    );
    place.fails("eval lenet --data digits --ema", 3, &["--ema"]);
}

#[test]
fn a_checkpoint_of_a_run_is_a_model() {
    let place = Place::new();
    place.text("train lenet --epochs 1 --out run --quiet");
    let finished = place.json("eval run --data digits")["top1"].clone();
    let mut steps: Vec<_> = fs::read_dir(place.path("run/checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    steps.sort();
    let newest = steps.pop().unwrap();
    let before = fs::rename(place.path("run/model.safetensors"), place.path("kept"));
    assert!(before.is_ok());
    for model in [newest.display().to_string(), "run/checkpoints".to_owned(), "run".to_owned()] {
        assert_eq!(place.json(&format!("eval {model} --data digits"))["top1"], finished, "{model}");
    }
}

#[test]
fn names_of_classes_come_from_the_folder_and_their_order_is_compared() {
    let Some(field) = field() else { return };
    let place = Place::new();
    let folder = field.join("W9/model").display().to_string();
    let digits = place.json(&format!("eval {folder} --data digits --per-class"));
    assert!(digits["top1"].as_f64().is_some(), "{digits}");
    let image = field.join("W9/num/2/a.png").display().to_string();
    let predicted = place.json(&format!("predict {image} --model {folder}"));
    let class = predicted["results"][0]["predictions"][0]["class"].as_str().unwrap().to_owned();
    let names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    assert!(names.contains(&class.as_str()), "{predicted}");
    // timm numbers folders of numbers as numbers, everybody else as texts.
    let names: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    let graph = top5::zoo::network("lenet").unwrap();
    let graph = graph.with(top5::zoo::Settings { classes: 12, ..graph.settings() }).unwrap();
    let weights = top5::train::initialise(&graph, 1);
    fs::create_dir(place.path("timm")).unwrap();
    let bytes = top5::formats::safetensors::write(&weights, &std::collections::BTreeMap::new());
    fs::write(place.path("timm/model.safetensors"), bytes).unwrap();
    let config = format!(
        r#"{{"architecture":"lenet","num_classes":12,"label_names":{names:?},"pretrained_cfg":{{"input_size":[1,28,28],"mean":[0.5],"std":[0.5],"interpolation":"bilinear","crop_mode":"squash","crop_pct":1.0}}}}"#
    );
    fs::write(place.path("timm/config.json"), &config).unwrap();
    let num = field.join("W9/num").display().to_string();
    let ran = place.run(&format!("eval timm --data {num} --split all"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("class 2 is \"2\" to the model and \"10\" in the data"), "{ran:?}");
    // What the file says and the tensors do not have is refused, and so is a pooling that is not built.
    fs::write(place.path("timm/config.json"), config.replace(":12,", ":10,")).unwrap();
    place.fails("predict x.png --model timm", 3, &["10 classes", "12"]);
    let pooled = config.replace("{\"architecture\"", "{\"global_pool\":\"max\",\"architecture\"");
    fs::write(place.path("timm/config.json"), pooled).unwrap();
    place.fails("predict x.png --model timm", 3, &["global_pool is `max`"]);
}

/// The tensors' file describes itself, too; the folder's text is what a person edits.
#[test]
fn edited_config_of_a_folder_counts() {
    let place = Place::new();
    place.text("convert lenet timm");
    let whole = place.json("eval lenet --split validation");
    let same = place.json("eval timm --split validation --data digits");
    assert_eq!(same["loss"], whole["loss"]);
    assert_eq!(same["preprocess"], whole["preprocess"]);

    let config = fs::read_to_string(place.path("timm/config.json")).unwrap();
    let edit = |from: &str, to: &str| {
        assert!(config.contains(from), "{config}");
        fs::write(place.path("timm/config.json"), config.replace(from, to)).unwrap();
    };
    edit("\"interpolation\": \"bilinear\"", "\"interpolation\": \"nearest\"");
    let edited = place.json("eval timm --split validation --data digits");
    assert!(edited["preprocess"].as_str().unwrap().contains("(nearest)"), "{edited}");
    let names = "\"num_classes\": 10, \"label_names\": [\"nil\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\",\"j\"]";
    edit("\"num_classes\": 10", names);
    let ran = place.run("eval timm --split validation --data digits");
    assert!(ran.stderr.contains("class 0 is \"nil\" to the model"), "{ran:?}");
    edit("\"architecture\": \"lenet\"", "\"architecture\": \"resnet18\"");
    place.fails("eval timm --data digits", 3, &["resnet18"]);
    for side in ["4097", "1000000000"] {
        edit("28,", &format!("{side},"));
        place.fails("eval timm --data digits", 3, &["config.json: input_size", "1 to 4096"]);
    }
}
