//! `train` as a user runs it: what it makes, bad data, and what must never be overwritten.

use std::fs;
use std::io::Write;

use crate::program::{Place, Ran};

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
    assert_eq!(place.run("eval run --min-top1 100").code, Some(6));

    for file in ["config.resolved.toml", "summary.csv", "environment.json", "model.safetensors"] {
        assert!(place.path("run").join(file).is_file(), "{file}");
    }
    let summary = fs::read_to_string(place.path("run/summary.csv")).unwrap();
    assert_eq!(summary.lines().count(), 1 + 8, "{summary}");

    place.fails("train lenet --epochs 1 --out run", 4, &["run", "--resume"]);
    place.fails("train lenet --epochs 7 --out run --resume", 3, &["epochs", "8", "7"]);
}

#[test]
fn finished_run_goes_on_with_more_epochs() {
    let place = Place::new();
    place.text("train lenet --epochs 1 --batch-size 256 --out run");
    let ran = place.run("train --resume --out run --epochs 2");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let said = ["prolonged from 1 to 2 epochs", "stretched", "epoch 2/2"];
    assert!(said.iter().all(|words| ran.stderr.contains(words)), "{ran:?}");
    let summary = fs::read_to_string(place.path("run/summary.csv")).unwrap();
    assert_eq!(summary.lines().count(), 1 + 2, "{summary}");
    place.text("train --resume --out run");
    let ran = place.run("train --resume --out run --set epochs=3");
    assert!(ran.stderr.contains("prolonged from 2 to 3 epochs"), "{ran:?}");
    place.fails("train --resume --out run --epochs 1", 3, &["epochs", "1", "3"]);
}

/// Eight images for each of three classes, as a folder.
pub(crate) fn three_classes(place: &Place) {
    for class in 0..3_u8 {
        let folder = place.path(format!("photos/class{class}"));
        fs::create_dir_all(&folder).unwrap();
        for image in 0..8_u8 {
            let pixels: Vec<u8> = (0..32 * 32 * 3_u32)
                .map(|i| (i as u8).wrapping_mul(class * 2 + 1) ^ image)
                .collect();
            let mut file = b"P6 32 32 255\n".to_vec();
            file.extend(pixels);
            fs::write(folder.join(format!("{image}.ppm")), file).unwrap();
        }
    }
}

#[test]
fn weights_get_another_head_and_what_is_frozen_keeps_its_bits() {
    let place = Place::new();
    three_classes(&place);
    place.text("convert resnet20_cifar start.safetensors --init 1");
    let line = "train resnet20_cifar --data photos --weights start.safetensors --epochs 1 --batch-size 8 \
                --freeze conv1,bn1,layer1,layer2 --head-lr 10 --layer-decay 0.8 --ema 0.9 --out run";
    let ran = place.run(line);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for words in ["drawn anew for 3 classes", "linear.weight", "linear.bias", "SHA-256", "frozen"] {
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    }
    assert!(!ran.stderr.contains("at random"), "{ran:?}");
    let recipe = fs::read_to_string(place.path("run/config.resolved.toml")).unwrap();
    for key in ["weights_sha256", "freeze", "head_lr = 10.0", "layer_decay = 0.8"] {
        assert!(recipe.contains(key), "{key}: {recipe}");
    }
    let read = |file: &str| top5::Model::load(place.path(file)).unwrap().weights;
    let (start, end) = (read("start.safetensors"), read("run"));
    for (name, tensor) in end.iter() {
        let stays = ["conv1.", "bn1.", "layer1.", "layer2."].iter().any(|of| name.starts_with(of));
        assert_eq!(start.tensor(name) == Some(tensor), stays, "{name}");
    }

    // Prolonged, it no longer needs the file; begun anew elsewhere, it makes the same model.
    let model = fs::read(place.path("run/model.safetensors")).unwrap();
    fs::copy(place.path("run/config.resolved.toml"), place.path("again.toml")).unwrap();
    place.text("train again.toml --out again");
    assert_eq!(fs::read(place.path("again/model.safetensors")).unwrap(), model);
    fs::remove_file(place.path("start.safetensors")).unwrap();
    place.text("train --resume --out run");
    place.text("train --resume --out run --epochs 2");
    place.text("convert resnet20_cifar start.safetensors --init 5 --force");
    let words = ["SHA-256", "start.safetensors", "--set weights_sha256=none"];
    place.fails("train again.toml --out other", 6, &words);
    place.text("train again.toml --out other --set weights_sha256=none");
}

#[test]
fn what_is_frozen_at_random_is_warned_of() {
    let place = Place::new();
    three_classes(&place);
    place.text("convert resnet20_cifar start.safetensors --init 1");
    for (flags, words) in [
        (
            "--weights start.safetensors --freeze linear",
            "at random: linear.weight and 1 other tensor; leave",
        ),
        ("--freeze conv1", "at random: conv1.weight; give --weights"),
    ] {
        let line = format!(
            "train resnet20_cifar --data photos {flags} --epochs 1 --batch-size 8 --out run"
        );
        let ran = place.run(&line);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
        fs::remove_dir_all(place.path("run")).unwrap();
    }
}

#[test]
fn none_takes_a_list_or_table_out_by_its_flag() {
    let place = Place::new();
    let recipe = "train lenet --epochs 2 --batch-size 1197 --freeze conv1 --no-decay biases --augment none --lr 0.01 \
                  --schedule {cosine={final=0.005}} --groups {params=\"fc*\",lr=2} --preprocess {input_size=[1,28,28],crop_mode=\"squash\",mean=[0],std=[1]}";
    place.text(&format!("{recipe} --out run"));
    let flags = ["freeze", "no-decay", "groups", "preprocess"];
    let none: String = flags.iter().map(|flag| format!(" --{flag} none")).collect();
    place.text(&format!("train run/config.resolved.toml{none} --out other"));
    let [with, without] = ["run", "other"]
        .map(|run| fs::read_to_string(place.path(run).join("config.resolved.toml")).unwrap());
    for key in flags.map(|flag| flag.replace('-', "_")) {
        assert!(with.contains(&key) && !without.contains(&key), "{key}: {without}");
    }
    // Of a value of the file that no longer does, it is said where it is.
    let line = "train run/config.resolved.toml --lr 0.001 --out third";
    place.fails(line, 2, &["the recipe's final in schedule must be from 0 to lr"]);
}

#[test]
fn weights_that_cannot_be_started_from_are_refused_before_anything_is_made() {
    let place = Place::new();
    three_classes(&place);
    place.text("convert lenet lenet.safetensors --init 1");
    place.text("convert resnet20_cifar own.safetensors --init 1");
    for (flags, code, words) in [
        ("--weights lenet.safetensors", 3, &["lenet", "resnet20_cifar"][..]),
        ("--weights absent.pth", 4, &["absent.pth"]),
        ("--weights own.safetensors --freeze layer9", 3, &["layer9", "layer3", "linear"]),
        ("--weights own.safetensors --freeze *", 3, &["nothing", "linear"]),
    ] {
        place.fails(&format!("train resnet20_cifar --data photos {flags} --out run"), code, words);
        assert!(!place.path("run").exists(), "{flags}");
    }
}

#[test]
fn diverging_run_stops_with_code_5() {
    let place = Place::new();
    place.fails("train lenet --lr 1e9 --out run", 5, &["loss"]);
}

#[test]
fn optimiser_is_chosen_from_the_command_line_and_the_run_remembers_it() {
    let place = Place::new();
    let line = "train lenet --epochs 1 --batch-size 256 --optimizer adamw --lr 1e-3 --weight-decay 0.01 \
                --no-decay norms,biases --clip-norm 1 --ema 0.9 --ema-warmup --set beta2=0.98 \
                --augment random_crop={padding=2} --augment trivial_augment --mixup 0.2 --cutmix 1 --label-smoothing 0.1 --out run";
    let ran = place.run(line);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("average of the weights, of which 0.9 stays"), "{ran:?}");
    let words =
        "shift by up to 2; TrivialAugment of 31 magnitudes (nearest); mixup of 0.2 or CutMix of 1";
    assert!(ran.stderr.contains(words), "{ran:?}");
    let recipe = fs::read_to_string(place.path("run/config.resolved.toml")).unwrap();
    for line in [
        "optimizer = \"adamw\"",
        "lr = 0.001",
        "weight_decay = 0.01",
        "no_decay = [\"norms\", \"biases\"]",
        "clip_norm = 1.0",
        "ema = 0.9",
        "ema_warmup = true",
        "beta2 = 0.98",
        "mixup = 0.2",
        "cutmix = 1.0",
        "label_smoothing = 0.1",
    ] {
        assert!(recipe.lines().any(|of_recipe| of_recipe == line), "{line}: {recipe}");
    }
    assert!(!recipe.contains("momentum"), "{recipe}");
    let changes = [recipe.find("random_crop").unwrap(), recipe.find("trivial_augment").unwrap()];
    assert!(changes.is_sorted() && !recipe.contains("redraw"), "{recipe}");
    let log = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    assert!(log.lines().last().unwrap().contains("\"ema\":true"), "{log}");

    // The recipe that it wrote down makes the same weights.
    let first = fs::read(place.path("run/model.safetensors")).unwrap();
    fs::copy(place.path("run/config.resolved.toml"), place.path("again.toml")).unwrap();
    place.text("train again.toml --out again");
    assert_eq!(fs::read(place.path("again/model.safetensors")).unwrap(), first);
    place.text("train --resume --out run");
    assert_eq!(fs::read(place.path("run/model.safetensors")).unwrap(), first);
}

#[test]
fn senseless_values_are_refused_before_anything_is_made() {
    let place = Place::new();
    for (flags, words) in [
        ("--optimizer adam", &["lr", "another optimizer"][..]),
        ("--optimizer adan --lr 1e-3", &["adan", "adamw"]),
        ("--momentum 1.5", &["--momentum 1.5", "from 0 to less than 1"]),
        ("--momentum nan", &["--momentum nan", "from 0"]),
        ("--momentum much", &["momentum", "much"]),
        ("--optimizer adam --lr 1e-3 --momentum 0.9", &["momentum", "no such number"]),
        ("--optimizer adam --lr 1e-3 --beta1 1", &["--beta1 1"]),
        ("--beta2 0.9", &["beta2", "no such number"]),
        ("--alpha 0.9", &["alpha", "no such number"]),
        ("--eps 0", &["eps"]),
        ("--dampening 2", &["dampening"]),
        ("--optimizer lars --lr 1 --trust-coefficient -1", &["--trust-coefficient -1"]),
        ("--no-decay norm", &["norm", "norms"]),
        ("--mixup=-1", &["mixup", "from 0 to 1000"]),
        ("--cutmix nan", &["cutmix", "from 0 to 1000"]),
        ("--augment trivial_augmen", &["nearest `trivial_augment`"]),
        ("--augment cutout={size=0}", &["augment", "size from 1 to 4096"]),
        ("--augment random_crop={paddin=4}", &["paddin", "padding"]),
        ("--weight-decay -1", &["--weight-decay -1"]),
        ("--clip-norm 0", &["--clip-norm 0", "above 0"]),
        ("--clip-value nan", &["--clip-value nan"]),
        ("--ema 1", &["--ema 1", "less than 1"]),
        ("--ema-after 5", &["ema", "given where"]),
        ("--ema-buffers none-such --ema 0.9", &["none-such", "copy"]),
        ("--label-smoothing 1", &["--label-smoothing 1", "less than 1"]),
        ("--lr nan", &["--lr nan", "finite"]),
        ("--lr 1e400", &["--lr 1e400", "finite"]),
        ("--lr x", &["--lr x", "a number"]),
        ("--lr 0", &["lr"]),
        ("--lr -1e-3", &["lr"]),
        ("--epochs 0", &["--epochs 0", "from 1"]),
        ("--epochs -1", &["--epochs", "-1"]),
        ("--batch-size 0", &["--batch-size", "0"]),
        ("--accumulate 0", &["--accumulate 0", "from 1"]),
        ("--accumulate -1", &["accumulate", "-1"]),
        ("--accumulate 4294967295 --batch-size 2", &["--accumulate 4294967295", "images a step"]),
        ("--sync-bn=maybe", &["maybe", "sync_bn"]),
        ("--seed -1", &["--seed", "-1"]),
        ("--warmup-epochs -1", &["--warmup-epochs -1"]),
        ("--warmup-epochs 1e9", &["--warmup-epochs 1e9", "number of epochs"]),
        ("--schedule cosinus", &["cosinus", "cosine", "plateau"]),
        ("--schedule {step={milestones=[2,1],gamma=0.1}}", &["milestones", "ascending"]),
        ("--set schedule.step.gamma=0", &["--set schedule.step.gamma=0: ", "milestones"]),
        ("--set schedule.cosine.final=9", &["--set schedule.cosine.final=9: final must be"]),
        (
            "--schedule plateau --set schedule.plateau.factor=x",
            &["--set schedule.plateau.factor=x: "],
        ),
        (
            "--set schedule.step.gamma=x --set schedule.step.milestones=[1]",
            &["--set schedule.step.gamma=x: "],
        ),
        ("--set schedule.cosine.finel=0 --set lr=0.1", &["--set schedule.cosine.finel=0: "]),
        ("--set lr.fast=1", &["--set lr.fast=1: lr is no table"]),
        ("--groups {params=\"fc*\",lrr=2}", &["--groups {params=\"fc*\",lrr=2}: ", "lrr"]),
        ("--set weights_sha256=12", &["--set weights_sha256=12: weights_sha256 must be left out"]),
        ("--validation 1", &["--validation 1", "from 0 to less than 1"]),
        ("--validation -0.1", &["--validation -0.1"]),
        ("--validation nan", &["--validation nan"]),
        ("--early-stopping 0", &["--early-stopping 0", "from 1"]),
        ("--image-size 0", &["--image-size 0", "from 1"]),
        ("--image-size 100000", &["--image-size 100000", "4096"]),
        ("--classes 0", &["--classes 0", "from 1"]),
        ("--head-lr 0", &["--head-lr 0", "above 0"]),
        ("--layer-decay 2", &["--layer-decay 2", "at most 1"]),
        ("--init he", &["he", "kaiming"]),
        ("--augment flips", &["augment", "flips"]),
        ("--augment none --augment trivial_augment", &["unknown name `none`"]),
        (
            "--augment random_resized_crop --augment random_scale_crop={sides=[40,40]}",
            &["one random_resized_crop or random_scale_crop at most"],
        ),
        (
            "--epochs 3 --schedule {exponential={gamma=0.5,epochs=0}}",
            &["--schedule {exponential={gamma=0.5,epochs=0}}: epochs must be"],
        ),
        ("--set momentun=0.9", &["momentun", "nearest: momentum"]),
        ("--set learning_rate=0.9", &["learning_rate", "nearest: lr"]),
        ("--set lr", &["KEY=VALUE"]),
        ("--momentum 0.8 --set momentum=0.9", &["momentum is given twice", "0.8", "0.9"]),
        ("--set lr=1 --set lr=2", &["lr is given twice", "as 1 and as 2"]),
        ("--data digits --set data=photos", &["data is given twice", "digits", "photos"]),
        ("--validation 0.2 --validation-data a", &["--validation", "--validation-data", "one of"]),
        ("--set epochs=0", &["epochs", "from 1"]),
        ("--set batch_size=9223372036854775807", &["batch_size"]),
        ("--set checkpoint_steps=0", &["checkpoint_steps"]),
        ("--exact --set precision=bf16", &["--exact", "bf16"]),
        ("--checkpoint-every 0", &["--checkpoint-steps 0", "from 1"]),
        ("--checkpoint-every 4294967296", &["--checkpoint-steps 4294967296", "4294967295"]),
        ("--checkpoint-every 18446744073709551616", &["--checkpoint-steps", "smaller number"]),
        ("--batch-size 4294967296", &["--batch-size 4294967296", "4294967295"]),
    ] {
        let ran = place.run(&format!("train lenet {flags} --out run"));
        assert_eq!(ran.code, Some(2), "{flags}: {ran:?}");
        assert!(words.iter().all(|word| ran.stderr.contains(word)), "{flags}: {ran:?}");
        assert!(!place.path("run").exists(), "{flags}");
    }
}

#[test]
fn data_networks_and_places_that_do_not_do_are_refused_before_anything_is_made() {
    let place = Place::new();
    three_classes(&place);
    for folder in ["one/cats", "pets/cats", "pets/dogs", "train/cats"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    for file in ["one/cats/0.ppm", "pets/cats/0.ppm", "pets/dogs/0.ppm"] {
        fs::copy(place.path("photos/class0/0.ppm"), place.path(file)).unwrap();
    }
    fs::write(place.path("file"), "").unwrap();
    for (line, code, words) in [
        ("lenet --data one", 3, &["cats"][..]),
        ("lenet --data nowhere", 3, &["nowhere", "digits"]),
        ("lenet --data photos --validation-data pets", 3, &["pets", "other classes", "class0"]),
        ("lenet --data photos --validation-data nowhere", 3, &["nowhere"]),
        ("lenet --data photos --classes 4", 3, &["4 classes", "3"]),
        ("lenet --data photos --batch-size 1 --accumulate 999", 3, &["accumulate", "at most"]),
        ("lenet --data photos --image-size 4", 3, &["does not fit 4×4", "larger input"]),
        ("resnet18 --batch-size 1 --image-size 32 --data photos", 3, &["more than one value"]),
        ("alexnet-imagenet", 3, &["ImageNet", "--data"]),
        ("lenet5-mnist", 3, &["MNIST", "--data"]),
        ("alexnett", 3, &["alexnett", "alexnet"]),
        ("absent.toml", 4, &["absent.toml"]),
        ("lenet --data photos --out file/run", 4, &["file"]),
        ("lenet --data photos --keep-epochs 99", 2, &["99"]),
        ("lenet --data photos --keep-epochs 0", 2, &["--keep-epochs 0"]),
    ] {
        place.fails(&format!("train {line} --epochs 1"), code, words);
        assert!(!place.path("runs").exists(), "{line}");
    }
}

/// Each flag is a key of the recipe, and each key a flag.
#[test]
fn every_key_of_a_recipe_is_a_flag_under_a_heading() {
    let place = Place::new();
    let help = place.text("train --help");
    let ran = place.run("train lenet --set nothing=1");
    let (_, keys) = ran.stderr.split_once("all: ").unwrap();
    let keys: Vec<&str> = keys.trim().split(", ").collect();
    assert!(keys.len() > 40, "{keys:?}");
    // The first is what is trained; the others are written by a run, and by who makes a recipe.
    for key in keys.into_iter().filter(|key| !["network", "weights_sha256", "about"].contains(key))
    {
        let flag = format!("--{}", key.replace('_', "-"));
        let is_flag = |line: &str| line.split([' ', ',', '[']).any(|word| word == flag);
        assert!(help.lines().any(is_flag), "{flag}: {help}");
    }
    let headings =
        ["Data:", "Learning rate:", "Optimiser:", "Fine-tuning:", "Run:", "Engine:", "Output:"];
    assert!(headings.iter().all(|heading| help.lines().any(|line| line == *heading)), "{help}");
    let (_, options) = help.split_once("\nOptions:\n").unwrap();
    let (ungrouped, _) = options.split_once(":\n").unwrap();
    assert!(!ungrouped.contains("--lr") && ungrouped.contains("--help"), "{ungrouped}");
}

#[test]
fn recipes_are_listed_printed_and_followed() {
    let place = Place::new();
    let list = place.text("recipes");
    for words in ["alexnet-imagenet", "1998", "18.2 %", "Table 2", "article-cifar100"] {
        assert!(list.contains(words), "{words}: {list}");
    }
    assert_eq!(place.text("recipes *-cifar10").lines().count(), 2);
    assert!(place.text("recipes").contains("resnet20-cifar10-15min"));
    let document = place.json("recipes *-cifar10");
    assert_eq!(document["recipes"][0]["recipe"]["about"]["published"]["top1_error"], 8.75);
    place.fails("recipes none-such", 3, &["none-such", "resnet20-cifar10"]);
    let file = place.text("recipes resnet20-cifar10");
    assert!(file.contains("# Section 4.2"), "{file}");
    fs::write(place.path("mine.toml"), file).unwrap();
    three_classes(&place);
    let ran = place
        .run("train mine.toml --data photos --epochs 1 --batch-size 8 --image-size 16 --out run");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for words in [
        "3 classes: class0, class1, class2",
        "1 epoch of 2 steps of 8 images of 3×16×16: 2 steps, about ",
        "sgd, learning rate 0.1, times 0.1 after epochs 91, 136.5",
        "training images: shift by up to 4; mirror with probability 0.5",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    }
    let recipe = fs::read_to_string(place.path("run/config.resolved.toml")).unwrap();
    assert!(recipe.contains("image_size = 16") && recipe.contains("[about]"), "{recipe}");
    place.text("train --resume --out run");
}

#[test]
fn steps_of_several_batches_are_said_kept_and_gone_on_with() {
    let place = Place::new();
    three_classes(&place);
    let line = "train lenet --data photos --batch-size 4 --grad-accum-steps 2 --sync-bn --out run";
    let ran = place.run(&format!("{line} --epochs 1 --json"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("steps of 8 images of"), "{ran:?}");
    assert!(ran.stderr.contains("a step is 2 batches of 4"), "{ran:?}");
    assert!(ran.stdout.contains("\"images_per_step\": 8"), "{ran:?}");
    let recipe = fs::read_to_string(place.path("run/config.resolved.toml")).unwrap();
    assert!(recipe.contains("accumulate = 2") && recipe.contains("sync_bn = true"), "{recipe}");
    place.text("train --resume --out run --epochs 2");
    place.fails("train --resume --out run --accumulate 3", 3, &["accumulate: 3, 2"]);
}

#[test]
fn what_looks_wrong_with_the_data_is_said_before_the_first_step() {
    let place = Place::new();
    three_classes(&place);
    fs::create_dir_all(place.path("parts")).unwrap();
    fs::rename(place.path("photos"), place.path("parts/train")).unwrap();
    for class in ["class0", "class1", "class2"] {
        fs::create_dir_all(place.path(format!("parts/val/{class}"))).unwrap();
    }
    for file in ["class0/0.ppm", "class1/3.ppm"] {
        let [from, to] = ["train", "val"].map(|part| place.path(format!("parts/{part}/{file}")));
        fs::copy(from, to).unwrap();
    }
    let line = "train lenet --data parts --epochs 1 --batch-size 8 --out run --json";
    let ran = place.run(line);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for words in [
        "no image to choose the epoch is of 1 class: class2",
        "turned to gray",
        "2 of the images to choose the epoch are also among those to learn from",
        "mirror with probability 0.5",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    }
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let plan = &document["plan"];
    assert_eq!((&plan["steps"], &plan["images"]["validation"]), (&3.into(), &2.into()));
    assert_eq!(plan["warnings"].as_array().unwrap().len(), 3, "{plan}");
    // Named again, it goes on with the same changes to images; unsaid ones are no difference.
    place.text("train lenet --data parts --epochs 1 --batch-size 8 --out run --resume");
    place.text("train lenet --data parts --epochs 1 --batch-size 8 --augment none --out other");
    let recipe = fs::read_to_string(place.path("other/config.resolved.toml")).unwrap();
    assert!(recipe.contains("augment = []"), "{recipe}");
    // Memory is for the images that there are, and so is what is said of a step.
    let ran = place.run(
        "train lenet --data parts --epochs 1 --batch-size 100000 --memory-limit 100 --out all",
    );
    assert!(ran.code == Some(0) && ran.stderr.contains("1 step of 24 images"), "{ran:?}");
    let ran =
        place.run("train lenet --data parts --epochs 1 --batch-size 8 --accumulate 12 --out two");
    assert!(ran.code == Some(0) && ran.stderr.contains("12 batches of 2,"), "{ran:?}");
    // The images that choose may lie elsewhere.
    place.text("train lenet --data parts/train --validation-data parts/train --epochs 1 --batch-size 8 --out third");
    place.text("train --resume --out third");
}

#[test]
fn every_seed_makes_a_run_that_goes_on() {
    let place = Place::new();
    for (i, seed) in ["9223372036854775808", "18446744073709551615"].into_iter().enumerate() {
        let line = format!("train lenet --epochs 1 --batch-size 1197 --seed {seed} --out run{i}");
        place.text(&line);
        let recipe =
            fs::read_to_string(place.path(format!("run{i}/config.resolved.toml"))).unwrap();
        assert!(recipe.contains(&format!("seed = \"{seed}\"")), "{recipe}");
        place.text(&format!("train --resume --out run{i}"));
        place.text(&format!("{line} --resume"));
    }
}

/// PyTorch refuses it with a ValueError.
#[test]
fn batch_normalisation_over_one_value_is_refused() {
    let place = Place::new();
    let recipe = "network = \"resnet18\"\ndata = \"digits\"\nvalidation = 0.1\nseed = 0\nepochs = 1\n\
                  batch_size = 1\nlr = 0.01\nweight_decay = 0.0\nschedule = \"constant\"\n[preprocess]\n\
                  input_size = [3, 32, 32]\ncrop_mode = \"squash\"\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n";
    fs::write(place.path("bn1.toml"), recipe).unwrap();
    place.fails("train bn1.toml --out run", 3, &["more than one value per channel", "layer4"]);
}

#[test]
fn a_step_that_does_not_fit_is_refused_before_anything_is_made() {
    let place = Place::new();
    let args = "train lenet --batch-size 512 --memory-limit 24 --out run";
    place.fails(args, 4, &["MiB", "smaller batch"]);
    assert!(!place.path("run").exists());
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
    let records = fs::File::create(place.path("cifar/data_batch_1.bin")).unwrap();
    records.set_len(10_000 * 3073).unwrap();
    (&records).write_all(&[10]).unwrap();
    train("cifar", 3, &["data_batch_1.bin", "10"]);
    fs::write(place.path("cifar/batches.meta.txt"), "a\n".repeat(9)).unwrap();
    train("cifar", 3, &["batches.meta.txt", "9"]);
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

    let recipe =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes/lenet-digits.toml"));
    fs::write(place.path("five.toml"), format!("classes = 5\n{}", recipe.unwrap())).unwrap();
    place.fails("train five.toml --out run", 3, &["5 classes", "digits has 10"]);
    assert!(!place.path("run").exists());
}

#[test]
fn without_validation_images_the_last_epoch_is_kept() {
    let place = Place::new();
    three_classes(&place);
    let line = "train lenet --data photos --epochs 2 --batch-size 8 --set validation=0 --out run";
    let ran = place.run(line);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("24 images to learn from, none to choose the epoch"), "{ran:?}");
    assert!(ran.stdout.contains("the last of 2 epochs") && ran.stdout.contains("--split all"));
    let summary = fs::read_to_string(place.path("run/summary.csv")).unwrap();
    assert!(summary.lines().skip(1).all(|line| line.contains(",,,")), "{summary}");
    let model = fs::read(place.path("run/model.safetensors")).unwrap();
    place.text("train --resume --out run");
    assert_eq!(fs::read(place.path("run/model.safetensors")).unwrap(), model);
    for (flag, word) in
        [("--set early_stopping=2", "early_stopping"), ("--set schedule={plateau={}}", "schedule")]
    {
        let line = format!("train lenet --data photos --set validation=0 {flag} --out other");
        place.fails(&line, 2, &[word, "choose the epoch"]);
        assert!(!place.path("other").exists(), "{flag}");
    }
    let recipe = fs::read_to_string(place.path("run/config.resolved.toml")).unwrap();
    fs::write(place.path("waits.toml"), format!("early_stopping = 2\n{recipe}")).unwrap();
    place.fails("train waits.toml --out other", 3, &["early_stopping", "choose the epoch"]);
}

/// A rate of 0 from the second epoch on: nothing is better than the first.
#[test]
fn a_run_that_no_longer_improves_stops_early_and_stays_so() {
    let place = Place::new();
    let line = "train lenet --epochs 30 --batch-size 256 --warmup-epochs 0 --set schedule={step={milestones=[1],gamma=1e-30}} \
                --set early_stopping=3 --out run";
    let ran = place.run(line);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("stopped early: none of the last 3"), "{ran:?}");
    let summary = fs::read_to_string(place.path("run/summary.csv")).unwrap();
    assert!(summary.lines().count() < 1 + 30, "{summary}");
    place.text("train --resume --out run");
    assert_eq!(fs::read_to_string(place.path("run/summary.csv")).unwrap(), summary);
    let ran = place.run("train --resume --out run --epochs 31");
    assert!(ran.stderr.contains("a greater --early-stopping lets it go on"), "{ran:?}");
    assert_eq!(fs::read_to_string(place.path("run/summary.csv")).unwrap(), summary);
    let ran = place.run("train --resume --out run --early-stopping 5");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("stopped early: none of the last 5"), "{ran:?}");
    let longer = fs::read_to_string(place.path("run/summary.csv")).unwrap();
    assert_eq!(longer.lines().count(), summary.lines().count() + 2, "{longer}");
}

/// A part of what the network's page says, where the recipe says nothing of it.
#[test]
fn a_part_of_the_preparation_can_be_set() {
    let place = Place::new();
    three_classes(&place);
    let line = "train resnet20_cifar --data photos --epochs 1 --batch-size 8 --no-report";
    place.text(&format!("{line} --set preprocess.crop_pct=0.5 --out run"));
    let text = fs::read_to_string(place.path("run/config.resolved.toml")).unwrap();
    assert!(text.contains("crop_pct = 0.5") && text.contains("input_size = [3, 32, 32]"), "{text}");
    let line = format!("{line} --weights run --set preprocess.crop_pct=0.5 --out other");
    place.fails(&line, 2, &["preprocess.crop_pct=0.5", "weights", "--preprocess"]);

    fs::remove_dir_all(place.path("run/checkpoints")).unwrap();
    let ran = place.run("train --resume --out run");
    assert!(ran.stderr.contains("no checkpoint: it begins again"), "{ran:?}");
}

/// The first image decides nothing: it is gray here.
#[test]
fn gray_images_among_photographs_leave_them_photographs() {
    let place = Place::new();
    three_classes(&place);
    for class in 0..3 {
        for image in 0..4 {
            let path = place.path(format!("photos/class{class}/{image}.ppm"));
            fs::remove_file(&path).unwrap();
            let gray = [b"P5 32 32 255\n".to_vec(), vec![class * 9 + image; 32 * 32]].concat();
            fs::write(path.with_extension("pgm"), gray).unwrap();
        }
    }
    let ran = place.run("train resnet20_cifar --data photos --epochs 1 --batch-size 8 --out run");
    assert!(ran.stderr.contains("mirror with probability 0.5"), "{ran:?}");
}

/// Built without MPI, each of them would do all the work.
#[test]
fn one_of_several_processes_is_refused_without_mpi() {
    let place = Place::new();
    for (name, size, code) in [("OMPI_COMM_WORLD_SIZE", "2", 2), ("PMI_SIZE", "4", 2)] {
        let mut command = place.command("train lenet --epochs 1 --out run");
        let ran = Ran::from(command.env(name, size).output().unwrap());
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stderr.contains(&format!("one of {size} processes")), "{ran:?}");
        assert!(ran.stderr.contains("--features mpi"), "{ran:?}");
        assert!(!place.path("run").exists());
    }
}

/// What is said before the first step is near to what the run comes to.
#[cfg(target_os = "linux")]
#[test]
fn memory_that_a_run_takes_is_told_before_it() {
    let place = Place::new();
    for (line, least) in
        [("lenet --batch-size 512", 0.75), ("resnet20_cifar --batch-size 256 --ema 0.9", 0.75)]
    {
        let run = place.json(&format!(
            "train {line} --epochs 1 --checkpoint-steps 70000 --no-report --out run"
        ));
        let told = run["plan"]["memory_bytes"].as_f64().unwrap();
        let ratio = told / run["peak_memory_bytes"].as_f64().unwrap();
        assert!((least..=1.25).contains(&ratio), "{line}: {ratio} of {run}");
        fs::remove_dir_all(place.path("run")).unwrap();
    }
}
