//! `eval` as a user runs it, up to trained weights of somebody else on a published test set.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::bufread::GzDecoder;
use top5_testkit::oracle::shared;

use crate::program::{Place, parse};

/// Two classes of four gray images each.
fn pets(place: &Place) {
    for class in ["cat", "dog"] {
        fs::create_dir_all(place.path("pets").join(class)).unwrap();
        for i in 0..4u8 {
            let image = image::GrayImage::from_pixel(8, 8, image::Luma([i * 30]));
            image.save(place.path("pets").join(class).join(format!("{i}.png"))).unwrap();
        }
    }
}

#[test]
fn evaluation_needs_the_classes_of_the_model() {
    let place = Place::new();
    pets(&place);
    place.fails("eval lenet --data pets --split train", 3, &["10", "2", "classes"]);
    place.fails("eval lenet --data pets", 3, &["test", "--split all"]);
    let document = place.json("eval lenet");
    assert!(document["top1"].as_f64().unwrap() >= 98.0, "{document}");
    assert_eq!(document["images"], 400);
    assert_eq!(place.json("eval lenet --split all")["images"], 1797);
}

#[test]
fn bad_images_end_an_evaluation_or_are_counted_out() {
    let place = Place::new();
    pets(&place);
    place.text("train lenet --data pets --epochs 1 --batch-size 2 --out run");
    fs::write(place.path("pets/dog/1.png"), b"no image").unwrap();
    // The file alone does not say what it learnt from.
    place.fails("eval run/model.safetensors", 2, &["--data"]);
    let all = "eval run --data pets --split all";
    place.fails(all, 3, &["pets/dog/1.png", "1 of 8 images", "--skip-bad"]);
    let ran = place.run(&format!("{all} --skip-bad --json"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("left out") && ran.stderr.contains("dog/1.png"), "{ran:?}");
    let document = parse(&ran.stdout);
    assert_eq!((&document["images"], &document["skipped"]), (&7.into(), &1.into()));

    fs::rename(place.path("pets/cat"), place.path("pets/ape")).unwrap();
    let ran = place.run(&format!("{all} --skip-bad"));
    assert!(ran.stderr.contains("\"cat\"") && ran.stderr.contains("\"ape\""), "{ran:?}");
}

#[test]
fn preprocessing_may_be_given() {
    let place = Place::new();
    let usual = place.json("eval lenet --split validation");
    let same = place.json("eval lenet --split validation --mean 0.1573 --std 0.2929");
    assert_eq!(same, usual);
    let other = place.json("eval lenet --split validation --mean 0.9 --interpolation nearest");
    assert!(other["preprocess"].as_str().unwrap().contains("(nearest)"), "{other}");
    assert!(other["loss"].as_f64() > usual["loss"].as_f64(), "{other}");
    place.fails("eval lenet --mean 0.1,0.2", 2, &["--mean", "has 1 channel"]);
    place.fails("eval lenet --crop-pct 2.1", 2, &["--crop-pct", "0.05"]);
    assert_eq!(place.run("eval lenet --crop-mode border").code, Some(0));
    place.fails("eval lenet --crop-mode tile", 2, &["--crop-mode", "border"]);

    // What a protocol does not do is neither taken nor told.
    let crops = ["--crop-pct and --crop-mode", "10-crop scales and crops"];
    for given in ["--crop-pct 0.9", "--crop-mode border"] {
        place.fails(&format!("eval lenet --protocol 10-crop {given}"), 2, &crops);
    }
    for (protocol, prepared, size, crop_pct) in [
        ("1-crop", "centre crop 28x28", "28", "1"),
        ("1-crop@35", "crop as the protocol has it", "28", "0.8"),
        ("320-crop@50", "crop as the protocol has it", "40", "0.8"),
        ("mirror", "crop as the protocol has it", "28", ""),
    ] {
        let look = format!("eval lenet --split validation --protocol {protocol}");
        let told = place.text(&look);
        assert!(told.contains(prepared), "{told}");
        let csv = place.text(&format!("{look} --csv"));
        let cells: Vec<&str> = csv.lines().last().unwrap().split(',').collect();
        assert_eq!((cells[1], cells[7]), (size, crop_pct), "{csv}");
    }
}

#[test]
fn protocols_are_listed_printed_and_used() {
    let place = Place::new();
    let list = place.text("protocols");
    assert!(list.contains("144-crop") && list.contains("an interpretation"), "{list}");
    let listed = place.json("protocols");
    let views = |name: &str| {
        let mut all = listed["protocols"].as_array().unwrap().iter();
        all.find(|protocol| protocol["name"] == name).map(|protocol| protocol["views"].clone())
    };
    assert_eq!((views("144-crop"), views("mirror")), (Some(144.into()), Some(2.into())));

    let ten = place.json("eval lenet --split validation --protocol 10-crop");
    assert_eq!((&ten["views"], &ten["images"]), (&10.into(), &200.into()));
    let choice = ten["origin"]["protocol"]["choices"][0].as_str().unwrap();
    assert!(choice.contains("in proportion to 28"), "{choice}");
    fs::write(place.path("ten.toml"), place.text("protocols 10-crop --input 28")).unwrap();
    assert_eq!(place.json("eval lenet --split validation --protocol ten.toml"), ten);

    // Whole images of the network's own size are the network itself.
    let one = place.json("eval lenet --split validation");
    let dense = place.json("eval lenet --split validation --protocol resnet-dense@28");
    assert_eq!(dense["top1_right"], one["top1_right"]);
    let [a, b] = [&dense, &one].map(|document| document["loss"].as_f64().unwrap());
    assert!((a - b).abs() < 1e-6, "{a} {b}");
    let text = place.text("eval lenet --split validation --protocol overfeat-1");
    assert!(text.contains("protocol overfeat-1: 2 views") && text.contains("chosen: "), "{text}");

    place.fails("eval lenet --protocol 11-crop", 2, &["11-crop", "144-crop"]);
    place.fails("eval lenet --protocol 10-crop@27", 3, &["shorter", "the side of the crops"]);
    fs::write(place.path("bad.toml"), "name = 'bad'\nparts = []").unwrap();
    place.fails("eval lenet --protocol bad.toml", 3, &["bad.toml", "at least one"]);
}

#[test]
fn answers_are_saved_and_judged_and_fused_later() {
    let place = Place::new();
    let test = "eval lenet --save one.safetensors --report now";
    let one = place.json(test);
    assert_eq!(place.json("eval --predictions one.safetensors"), one);
    assert_eq!(place.json("eval lenet"), one);
    let ten = place.json("eval lenet --protocol 10-crop --save ten.safetensors");
    assert_ne!(ten["loss"], one["loss"]);
    let interval = one["top1_interval"].as_array().unwrap();
    assert!(
        interval[0].as_f64() < one["top1"].as_f64() && one["top1"].as_f64() < interval[1].as_f64()
    );

    // A member alone is itself; models and their saved answers are the same members.
    let member = "[[members]]\npredictions = 'one.safetensors'\n";
    fs::write(place.path("alone.toml"), format!("name = 'alone'\n{member}")).unwrap();
    let alone = place.json("eval --ensemble alone.toml");
    assert_eq!((&alone["top1_right"], &alone["network"]), (&one["top1_right"], &"alone".into()));
    let both = "[[members]]\nmodel = 'lenet'\nprotocol = '10-crop'\nweight = 2\n";
    fs::write(place.path("both.toml"), format!("name = 'both'\n{both}{member}")).unwrap();
    let saved = both.replace("model = 'lenet'", "predictions = 'ten.safetensors'");
    let saved = saved.replace("protocol = '10-crop'\n", "");
    fs::write(place.path("saved.toml"), format!("name = 'both'\n{saved}{member}")).unwrap();
    let [a, b] = ["both", "saved"].map(|name| place.json(&format!("eval --ensemble {name}.toml")));
    assert_eq!(a["loss"], b["loss"]);
    assert!(a["members"][0].as_str().unwrap().contains("10-crop, weight 2"), "{a}");

    // Weights are fitted on the validation part, and on nothing that is reported.
    let fitted =
        format!("name = 'fitted'\nweights = 'fitted'\n{both}[[members]]\nmodel = 'lenet'\n");
    fs::write(place.path("fitted.toml"), fitted).unwrap();
    let document = place.json("eval --ensemble fitted.toml");
    let fitted_to = &document["origin"]["terms"]["weights"];
    assert_eq!(fitted_to["split"], "validation", "{document}");
    place.fails("eval --ensemble fitted.toml --split validation", 2, &["--split test"]);
    fs::write(place.path("none.toml"), "name = 'none'\nmembers = []").unwrap();
    place.fails("eval --ensemble none.toml", 3, &["none.toml", "no members"]);
    place.fails("eval --predictions both.toml", 3, &["both.toml"]);
    place.json("eval lenet --split validation --save other.safetensors");
    let other = "name = 'x'\n[[members]]\npredictions = 'other.safetensors'\n";
    fs::write(place.path("mixed.toml"), format!("{other}{member}")).unwrap();
    place.fails("eval --ensemble mixed.toml", 3, &["other images", "validation"]);

    let scaled = place.json("eval lenet --temperature-from other.safetensors");
    assert_eq!(scaled["top1_right"], one["top1_right"]);
    assert!(scaled["loss"] != one["loss"], "{scaled}");
    place.fails("eval lenet --temperature-from one.safetensors", 3, &["reported on"]);
    // Nor are they among others that something is fitted to.
    place.json("eval lenet --split all --save all.safetensors");
    place.fails("eval lenet --temperature-from all.safetensors", 3, &["reported on"]);
    let fitted =
        format!("name = 'x'\nweights = 'fitted'\n{member}validation = 'all.safetensors'\n");
    fs::write(place.path("within.toml"), fitted).unwrap();
    place.fails("eval --ensemble within.toml", 3, &["reported on"]);
}

#[test]
fn shards_are_judged_as_the_whole() {
    let place = Place::new();
    place.text("eval lenet --protocol 10-crop --report whole");
    for shard in 1..=3 {
        let document = place.json(&format!(
            "eval lenet --protocol 10-crop --shard {shard}/3 --save {shard}.safetensors"
        ));
        assert!([133, 134].map(Into::into).contains(&document["images"]), "{document}");
    }
    place.text("eval --predictions 2.safetensors 3.safetensors 1.safetensors --report joined");
    for file in ["predictions.csv", "report.json", "report.html"] {
        let [a, b] =
            ["whole", "joined"].map(|folder| fs::read(place.path(folder).join(file)).unwrap());
        assert!(a == b, "{file}");
    }
    let gap = "eval --predictions 1.safetensors 3.safetensors";
    place.fails(gap, 3, &["images 133 to 265 of 400", "none of them"]);
    place.fails("eval --predictions 1.safetensors", 3, &["images 133 to 399 of 400"]);
    place.text("eval lenet --protocol 10-crop --shard 1/2 --save half.safetensors");
    let twice = "eval --predictions half.safetensors 2.safetensors 3.safetensors";
    place.fails(twice, 3, &["images 133 to 199", "two of them"]);
    let member = "name = 'x'\n[[members]]\npredictions = '1.safetensors'\n";
    fs::write(place.path("x.toml"), member).unwrap();
    place.fails("eval --ensemble x.toml", 3, &["1.safetensors", "none of them"]);
    place.text("eval lenet --shard 1/3 --save other.safetensors");
    let mixed = "eval --predictions other.safetensors 2.safetensors 3.safetensors";
    place.fails(mixed, 3, &["same weights, in the same way"]);
    place.fails("eval lenet --shard 1/2", 2, &["--save"]);
    // What would be passed over in silence is refused.
    place.fails("eval --predictions a --shard 1/2 --save x", 2, &["--shard", "--predictions"]);
    place.fails("eval --ensemble a --shard 1/2 --save x", 2, &["--shard", "--ensemble"]);
    place.fails("eval --predictions a --split train", 2, &["--split", "--predictions"]);
    place.fails("eval lenet --per-class --csv", 2, &["--per-class", "--csv"]);
    place.fails("eval lenet --shard 0/2 --save x", 2, &["1/4 to 4/4"]);
    place.fails("eval lenet --shard 1/500 --save x", 3, &["400 images", "none for this shard"]);
}

#[test]
fn shards_without_an_image_that_can_be_read_are_part_of_the_whole() {
    let place = Place::new();
    for digit in 0..10u8 {
        let class = place.path(format!("some/{digit}"));
        fs::create_dir_all(&class).unwrap();
        let file = class.join("a.png");
        match digit {
            0..3 => fs::write(file, "none").unwrap(),
            _ => image::GrayImage::from_pixel(28, 28, image::Luma([digit])).save(file).unwrap(),
        }
    }
    let at = "eval lenet --data some --split all --skip-bad";
    let whole = place.json(at);
    for shard in 1..=5 {
        place.json(&format!("{at} --shard {shard}/5 --save {shard}"));
    }
    assert_eq!(place.json("eval --predictions 1 2 3 4 5"), whole);
    fs::remove_dir_all(place.path("some")).unwrap();
    for digit in 0..10 {
        let class = place.path(format!("some/{digit}"));
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join("a.png"), "none").unwrap();
    }
    place.fails(at, 3, &["some/0/a.png"]);
    place.json(&format!("{at} --shard 1/1 --save all"));
    place.fails("eval --predictions all", 3, &["all: they are about no image"]);
}

#[test]
fn report_is_written_and_compared_with() {
    let place = Place::new();
    place.text("eval lenet --report now");
    let csv = fs::read_to_string(place.path("now/predictions.csv")).unwrap();
    assert!(
        csv.starts_with("image,label,class,rank,loss,top1_index,top1_class,top1_prob,"),
        "{csv}"
    );
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(csv.lines().all(|line| line.split(',').count() == columns));
    assert_eq!(csv.lines().count(), 401);
    let json = parse(&fs::read_to_string(place.path("now/report.json")).unwrap());
    assert_eq!(json["top1_hits"].as_str().unwrap().len(), 400);
    assert_eq!(json["per_class"].as_array().unwrap().len(), 10);
    let html = fs::read_to_string(place.path("now/report.html")).unwrap();
    assert!(html.contains("<html lang=\"en\">") && !html.contains("http"), "{html}");
    place.text("eval lenet --report again");
    for file in ["predictions.csv", "report.json", "report.html"] {
        let [a, b] =
            ["now", "again"].map(|folder| fs::read(place.path(folder).join(file)).unwrap());
        assert_eq!(a, b, "{file}");
    }

    // The answer to what was asked is on stdout, however quiet the program is.
    let same = "no difference shown: the earlier one alone is right on 0 images";
    for quiet in ["", " -q"] {
        let told = place.text(&format!("eval lenet --against now/report.json{quiet}"));
        assert!(told.contains(same) && told.contains("now/report.json ("), "{told}");
    }
    let told = place.json("eval lenet --against now/report.json");
    assert_eq!(
        (&told["against"]["report"], &told["against"]["paired"]["p"]),
        (&"now/report.json".into(), &1.0.into())
    );
    assert_eq!(told["against"]["before"], told["top1"]);
    let table = place.run("eval lenet --against now/report.json --csv");
    assert_eq!((table.stdout.lines().count(), table.stderr.contains(same)), (2, true), "{table:?}");
    place.text("eval lenet --against now/report.json --report compared");
    let html = fs::read_to_string(place.path("compared/report.html")).unwrap();
    assert!(html.contains(same), "{html}");
    let worse = "eval lenet --mean 0.9 --std 5 --against now/report.json";
    let worse = place.run(worse);
    assert!(worse.code == Some(6) && worse.stderr.contains("earlier one is better"), "{worse:?}");
    assert!(worse.stdout.contains("earlier one is better"), "{worse:?}");
    let other = place.run("eval lenet --split validation --against now/report.json");
    assert!(other.code == Some(3) && other.stderr.contains("other images"), "{other:?}");
    assert!(other.stdout.contains("top-1"), "{other:?}");

    let csv = place.text("eval lenet --csv");
    assert!(csv.starts_with("model,img_size,top1,top1_err,top5,top5_err,param_count,"), "{csv}");
    assert_eq!(csv.lines().count(), 2);
    assert!(place.text("eval lenet --markdown").starts_with("| model | img_size |"));
    let rows = place.text("eval --row VGG");
    assert!(rows.contains("7.32") && rows.contains("0 of 2 rows were run here"), "{rows}");
    let rows = place.text("eval --row all --csv");
    assert!(rows.starts_with("row,year,network,val top-1 err,"), "{rows}");
    assert!(
        rows.lines().count() == 18 && rows.lines().all(|line| line.split(',').count() == 9),
        "{rows}"
    );
    let rows = place.text("eval lenet --row 2014 --markdown");
    assert!(
        rows.starts_with("| row | year |") && rows.lines().all(|line| line.starts_with('|')),
        "{rows}"
    );
    assert!(rows.lines().last().unwrap().contains("| lenet |"), "{rows}");
    assert!(place.text("eval lenet --row 2014").contains("measured on digits"));
    place.fails("eval --row LeNet", 2, &["--row LeNet", "AlexNet"]);
    place.fails("eval", 2, &["MODEL"]);
}

#[test]
fn some_of_the_classes_are_enough() {
    let place = Place::new();
    for digit in ["3", "7"] {
        fs::create_dir_all(place.path("some").join(digit)).unwrap();
    }
    let digits = place.text("eval lenet --report all --split test");
    assert!(digits.contains("400 images"));
    for (i, name) in ["3/a.png", "3/b.png", "7/a.png"].into_iter().enumerate() {
        let image = image::GrayImage::from_fn(28, 28, |x, y| {
            image::Luma([if x == y || y == 4 { 255 } else { 30 * i as u8 }])
        });
        image.save(place.path("some").join(name)).unwrap();
    }
    let ran = place.run("eval lenet --data some --split all --json");
    assert!(ran.stderr.contains("2 of the network's 10 classes"), "{ran:?}");
    let document = parse(&ran.stdout);
    assert_eq!((&document["images"], &document["subset"]), (&3.into(), &true.into()));
    fs::write(place.path("real.json"), "[[0], [], [0, 1]]").unwrap();
    let real = place.run("eval lenet --data some --split all --real real.json --json");
    assert!(!real.stderr.contains("labels of these images"), "{real:?}");
    assert_eq!(parse(&real.stdout)["images"], 2);
    fs::write(place.path("real.json"), "[[1], [1], [0]]").unwrap();
    let real = place.run("eval lenet --data some --split all --real real.json");
    assert!(real.stderr.contains("0 of 3 images only: are these the labels"), "{real:?}");
    fs::write(place.path("real.json"), "[[], [], []]").unwrap();
    let none = ["real.json", "none of the 3 images has a right answer"];
    place.fails("eval lenet --data some --split all --real real.json", 3, &none);
    fs::write(place.path("real.json"), "\u{feff}[[1], [1], [0]]").unwrap();
    assert_eq!(place.json("eval lenet --data some --split all --real real.json")["images"], 3);
    // What is right by one rule is not compared with what is by another.
    let judged = "eval lenet --data some --split all";
    place.text(&format!("{judged} --report by-label"));
    place.text(&format!("{judged} --real real.json --report by-real"));
    fs::write(place.path("other.json"), "[[1], [1], [1]]").unwrap();
    for (how, report, code) in [
        ("", "by-label", 0),
        ("", "by-real", 3),
        ("--real real.json", "by-label", 3),
        ("--real other.json", "by-real", 3),
        ("--real real.json", "by-real", 0),
    ] {
        let ran = place.run(&format!("{judged} {how} --against {report}/report.json"));
        assert_eq!(ran.code, Some(code), "{how} {report}: {ran:?}");
        assert_eq!(ran.stderr.contains("judged by other right answers"), code == 3, "{ran:?}");
    }
    // Older reports said it in a sentence.
    let report = fs::read_to_string(place.path("by-real/report.json")).unwrap();
    let mut report = parse(&report);
    let origin = report["origin"].as_object_mut().unwrap();
    let right = origin.remove("terms").unwrap()["right_answers"].clone();
    let hash = right["sha256"].as_str().unwrap();
    let sentence = format!("right answers: ReaL's (SHA-256 {hash}…), which 3 of 3 images have");
    origin.insert("fitted".to_owned(), [sentence].as_slice().into());
    fs::write(place.path("by-real/report.json"), report.to_string()).unwrap();
    place.text(&format!("{judged} --real real.json --against by-real/report.json"));
    // Images are known again wherever they lie and whatever is beside them; and a temperature is one network's.
    fs::create_dir_all(place.path("more/3")).unwrap();
    fs::create_dir_all(place.path("more/7")).unwrap();
    for (from, to) in [("3/a.png", "3/a.png"), ("7/a.png", "7/a.png"), ("3/b.png", "3/new.png")] {
        fs::copy(place.path("some").join(from), place.path("more").join(to)).unwrap();
    }
    place.text("eval lenet --data more --split all --save more.safetensors");
    let scaled = "eval lenet --data some --split all --temperature-from more.safetensors";
    place.fails(scaled, 3, &["reported on"]);
    fs::remove_file(place.path("more/3/a.png")).unwrap();
    fs::rename(place.path("more/7/a.png"), place.path("more/7/new.png")).unwrap();
    place.text("eval lenet --data more --split all --save more.safetensors --force");
    place.fails(scaled, 3, &["reported on"]);
    for file in ["more/3/new.png", "more/7/new.png"] {
        image::GrayImage::from_pixel(28, 28, image::Luma([file.as_bytes()[5]]))
            .save(place.path(file))
            .unwrap();
    }
    place.text("eval lenet --data more --split all --save more.safetensors --force");
    place.text(scaled);
    place.text("train lenet --epochs 1 --out other -q");
    place.text("eval other --data some --split all --save other.safetensors");
    let other = "eval --predictions other.safetensors --temperature-from more.safetensors";
    place.fails(other, 3, &["more.safetensors", "lenet with other weights"]);
    fs::write(place.path("names.txt"), "a\nb\n").unwrap();
    place.fails("eval lenet --class-names names.txt", 3, &["names.txt names 2 classes"]);
    fs::create_dir(place.path("same")).unwrap();
    for (from, to) in [("3", "3"), ("7", "3 ")] {
        let (from, to) = (place.path("some").join(from), place.path("same").join(to));
        fs::create_dir(&to).unwrap();
        fs::copy(from.join("a.png"), to.join("a.png")).unwrap();
    }
    let same = ["\"3\" and \"3 \"", "one of the network's"];
    place.fails("eval lenet --data same --split all", 3, &same);
    fs::rename(place.path("some/7"), place.path("some/sieben")).unwrap();
    place.fails("eval lenet --data some --split all", 3, &["\"sieben\"", "--class-names"]);
    fs::write(place.path("names.txt"), "0\n1\n2\n3\n4\n5\n6\nsieben\n8\n9\n").unwrap();
    place.json("eval lenet --data some --split all --class-names names.txt");
}

#[test]
fn names_of_classes_decide_in_what_order_they_are() {
    let place = Place::new();
    let usual = place.json("eval lenet");
    // As if the model had learnt the digits in another order: every answer is about another digit.
    fs::write(
        place.path("names.txt"),
        "\u{feff}1\r\n0\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7\r\n8\r\n9\r\n",
    )
    .unwrap();
    let ran = place.run("eval lenet --class-names names.txt --json");
    assert!(
        ran.stderr.contains("another order (class 0 is \"1\"") && ran.stderr.contains("by name"),
        "{ran:?}"
    );
    let document = parse(&ran.stdout);
    assert!(document["top1"].as_f64() < Some(85.0) && document["subset"] == false, "{document}");
    // A member of an ensemble may have names of its own.
    let member = "[[members]]\nmodel = 'lenet'\nclass_names = 'names.txt'\n";
    fs::write(place.path("one.toml"), format!("name = 'one'\n{member}")).unwrap();
    assert_eq!(place.json("eval --ensemble one.toml")["top1"], document["top1"]);
    fs::write(
        place.path("names.json"),
        "[\"0\",\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]",
    )
    .unwrap();
    assert_eq!(place.json("eval lenet --labels names.json"), usual);
    fs::write(place.path("twice.txt"), "0\n1\n2\n3\n4\n5\n6\n7\n8\n8\n").unwrap();
    place.fails("eval lenet --labels twice.txt", 3, &["twice.txt", "8 and 9", "\"8\""]);
    fs::write(place.path("gap.json"), "{\"0\": \"zero\", \"2\": \"two\"}").unwrap();
    place.fails("eval lenet --labels gap.json", 3, &["gap.json", "no class has the number 1"]);
    place.fails("eval lenet --labels devkit", 3, &["devkit names 1000 classes"]);
    place.fails("eval lenet --labels none.txt", 4, &["none.txt"]);
    fs::write(place.path("bytes.txt"), [255, 0, 10]).unwrap();
    place.fails("eval lenet --labels bytes.txt", 3, &["bytes.txt", "utf-8"]);
    place.fails("eval --predictions x --labels names.txt", 2, &["--predictions"]);
}

/// akamaster's ResNet-20 on CIFAR-10's test images as JPEG files: PyTorch is right on 8,103 of 10,000, and on 9,872 among
/// the first five.
#[test]
fn akamasters_resnet20_is_right_as_often_as_in_pytorch() {
    let Some(shared) = shared() else { return };
    let place = Place::new();
    let archive = fs::read(shared.join("data/cifar10-jpeg.tar.gz")).unwrap();
    assert_eq!(unpack(&archive, "test/", &place.path("cifar10")), 10_000);
    let weights = shared.join("data/akamaster-resnet20.th");
    let mut command = place.command("eval resnet20_cifar --data cifar10/test --split all --json");
    command.args(["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]);
    let output = command.arg("--weights").arg(weights).output().unwrap();
    let document = parse(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(document["images"], 10_000);
    let right = |key: &str| document[key].as_u64().unwrap();
    let (top1, top5) = (right("top1_right"), right("top5_right"));
    assert!(top1.abs_diff(8103) <= 2 && top5.abs_diff(9872) <= 2, "{top1}, {top5}");
}

/// Writes the files of a `.tar.gz` whose names begin with `prefix` below `folder`; their number.
fn unpack(archive: &[u8], prefix: &str, folder: &Path) -> usize {
    let mut stream = GzDecoder::new(archive);
    let mut files = 0;
    let mut header = [0; 512];
    // The archive ends with blocks of zeros.
    while stream.read_exact(&mut header).is_ok() && header[0] != 0 {
        let text = |range: std::ops::Range<usize>| {
            let field = header[range].split(|&byte| byte == 0).next().unwrap();
            String::from_utf8(field.to_vec()).unwrap()
        };
        let size = usize::from_str_radix(text(124..136).trim(), 8).unwrap();
        let mut bytes = vec![0; size.next_multiple_of(512)];
        stream.read_exact(&mut bytes).unwrap();
        let name = text(0..100);
        if header[156] == b'0' && name.starts_with(prefix) {
            let path = folder.join(&name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &bytes[..size]).unwrap();
            files += 1;
        }
    }
    files
}
