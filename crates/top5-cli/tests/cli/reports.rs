//! What `eval --report` writes beside numbers: errors to sort, twins, thumbnails.

use std::fs;

use crate::program::{Place, parse};

/// Two classes of six gray patterns each, divided into what is learnt from and what is tested.
fn patterns(place: &Place) {
    for (class, slope) in [("flat", 0.2f32), ("steep", 1.0)] {
        for (part, first, count) in [("train", 0u32, 6u32), ("test", 6, 4)] {
            let folder = place.path("data").join(part).join(class);
            fs::create_dir_all(&folder).unwrap();
            for i in first..first + count {
                let image = image::GrayImage::from_fn(28, 28, |x, y| {
                    let (x, y, i) = (x as f32 / 28.0, y as f32 / 28.0, i as f32);
                    let turns = x * (0.4 + 0.11 * i) + y * (slope + 0.07 * i);
                    image::Luma([(128.0 + 100.0 * (turns * std::f32::consts::TAU).sin()) as u8])
                });
                image.save(folder.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    // A twin of another class, larger; and one twice in the test part.
    let twin = image::open(place.path("data/train/flat/2.png")).unwrap();
    let twin = twin.resize(56, 56, image::imageops::FilterType::Nearest);
    twin.save(place.path("data/test/steep/twin.png")).unwrap();
    let (from, to) = ("data/test/flat/7.png", "data/test/flat/copy.png");
    fs::copy(place.path(from), place.path(to)).unwrap();
}

#[test]
fn twins_and_thumbnails_are_in_the_report() {
    let place = Place::new();
    patterns(&place);
    place.text("train lenet --data data --epochs 1 --batch-size 4 --out run");
    place.text("eval run --report plain --save saved");
    place.text("eval run --twins --thumbnails --report seen");
    let [plain, seen] = ["plain", "seen"]
        .map(|folder| parse(&fs::read_to_string(place.path(folder).join("report.json")).unwrap()));
    assert_eq!(plain["twins"], serde_json::Value::Null);
    let twins = &seen["twins"];
    assert_eq!(twins["found"], 2, "{twins}");
    let names = |at: usize| {
        ["image", "class", "twin", "twin_class", "of"]
            .map(|key| twins["pairs"][at][key].as_str().unwrap())
    };
    let [image, class, twin, twin_class, of] = names(0);
    assert!(image.ends_with("steep/twin.png") && twin.ends_with("flat/2.png"), "{twins}");
    assert_eq!((class, twin_class), ("steep", "flat"));
    assert!(["train", "validation"].contains(&of), "{twins}");
    assert!(names(1)[0].ends_with("flat/copy.png") && names(1)[4] == "test", "{twins}");
    let html = |folder: &str| fs::read_to_string(place.path(folder).join("report.html")).unwrap();
    let (plain, seen) = (html("plain"), html("seen"));
    assert!(!plain.contains("<img") && !plain.contains("Twins"), "{plain}");
    assert!(seen.matches("<img src=\"data:image/png;base64,").count() >= 4, "{seen}");

    // Saved answers know their data; others are refused.
    place.text("eval --predictions saved --twins --thumbnails --report later");
    // Also of a part that a run divided as it learnt.
    place.text("train lenet --data data --epochs 1 --validation 0.4 --seed 7 --out other");
    place.text("eval other --split validation --save held");
    place.text("eval --predictions held --thumbnails --report held-report");
    assert_eq!(html("later").matches("<img").count(), seen.matches("<img").count());
    fs::remove_file(place.path("data/test/flat/copy.png")).unwrap();
    let later = "eval --predictions saved --twins --report later";
    place.tells_and_fails(later, 3, &["not those that were judged", "--data"]);
    place.fails("eval run --twins", 2, &["--report"]);
}

#[test]
fn errors_are_sorted_by_hand_and_counted() {
    let place = Place::new();
    place.text("eval lenet --report one");
    let errors = fs::read_to_string(place.path("one/errors.csv")).unwrap();
    let json = parse(&fs::read_to_string(place.path("one/report.json")).unwrap());
    let wrong = 400 - json["top1_right"].as_u64().unwrap() as usize;
    assert!(wrong > 0 && errors.lines().count() == wrong + 1, "{errors}");
    assert!(errors.lines().skip(1).all(|line| line.ends_with(',')), "{errors}");

    let filled = |kind: &str| errors.replacen(",\n", &format!(",{kind}\n"), 1);
    fs::write(place.path("one/errors.csv"), filled("fine-grained")).unwrap();
    // The work of whoever filled it in is not lost.
    place.fails("eval lenet --report one", 4, &["errors.csv", "filled in", "--force"]);
    place.text("eval lenet --report two --kinds one/errors.csv");
    let json = parse(&fs::read_to_string(place.path("two/report.json")).unwrap());
    assert_eq!(json["kinds"][4]["errors"], 1, "{}", json["kinds"]);
    let html = fs::read_to_string(place.path("two/report.html")).unwrap();
    assert!(
        html.contains("<td>fine-grained</td><td class=\"n\">258</td><td class=\"n\">1</td>"),
        "{html}"
    );

    // Nor is what is not yet right.
    let finished = fs::read_to_string(place.path("one/errors.csv")).unwrap();
    fs::write(place.path("one/errors.csv"), filled("sky")).unwrap();
    place.fails("eval lenet --report one", 4, &["errors.csv", "filled in"]);
    // In another encoding or with other columns: as editors and tables save it.
    let latin = [filled("5").into_bytes(), b"caf\xe9,".to_vec()].concat();
    let columns = filled("5").replacen("prob,kind", "prob,Kind", 1).into_bytes();
    for bytes in [latin, columns] {
        fs::write(place.path("one/errors.csv"), &bytes).unwrap();
        place.fails("eval lenet --report one", 4, &["errors.csv", "filled in"]);
        assert_eq!(fs::read(place.path("one/errors.csv")).unwrap(), bytes);
    }
    fs::write(place.path("one/errors.csv"), finished).unwrap();
    let first = errors.lines().nth(1).unwrap();
    let image = first.split(',').next().unwrap();
    fs::write(place.path("odd.csv"), filled("5") + first + "6\n").unwrap();
    place.tells_and_fails(
        "eval lenet --report x --kinds odd.csv",
        3,
        &[image, "no error of this result"],
    );
    let right = (0..400).map(|i| i.to_string());
    let right = right.into_iter().find(|i| !errors.contains(&format!("\n{i},"))).unwrap();
    fs::write(place.path("odd.csv"), filled("5") + &first.replacen(image, &right, 1) + "6\n")
        .unwrap();
    place.tells_and_fails("eval lenet --report x --kinds odd.csv", 3, &["no error of this result"]);

    fs::write(place.path("odd.csv"), filled("sky")).unwrap();
    place.fails(
        "eval lenet --report x --kinds odd.csv",
        3,
        &["odd.csv", "line 2", "\"sky\"", "6 obviously wrong"],
    );
    let other = "eval lenet --split validation --report x --kinds one/errors.csv";
    place.tells_and_fails(other, 3, &["none of the images that were judged"]);
    place.fails("eval lenet --report x --kinds one/report.json", 3, &["report.json", "errors.csv"]);
}

#[test]
fn files_that_cannot_be_written_are_found_before_the_work() {
    let place = Place::new();
    fs::write(place.path("mine.txt"), "mine").unwrap();
    let told = |line: &str, words: &[&str]| {
        place.fails(line, 4, words);
        let ran = place.run(line);
        assert!(!ran.stderr.contains("images/s"), "{line}: {ran:?}");
    };
    told("eval lenet --save mine.txt", &["mine.txt", "--force"]);
    told("eval lenet --save none/a", &["none/a"]);
    told("eval lenet --report mine.txt", &["mine.txt", "no folder"]);
    told("eval lenet --report mine.txt/a", &["mine.txt"]);
    fs::create_dir(place.path("report")).unwrap();
    fs::write(place.path("report/report.html"), "mine").unwrap();
    told("eval lenet --report report", &["report.html", "--force"]);
    // Nothing was written beside it.
    assert_eq!(fs::read_dir(place.path("report")).unwrap().count(), 1);
    assert_eq!(fs::read(place.path("mine.txt")).unwrap(), b"mine");
    // A report that is not written leaves no folder.
    place.fails("eval lenet --data none --report later/on", 3, &["none"]);
    assert!(!place.path("later").exists());
    place.text("eval lenet --report later/on");
    assert_eq!(fs::read_dir(place.path("later/on")).unwrap().count(), 4);
}

/// A report is there as a whole, or not at all.
#[cfg(unix)]
#[test]
fn disk_that_is_full_leaves_no_part_of_a_report() {
    let place = Place::new();
    patterns(&place);
    place.text("train lenet --data data --epochs 1 --batch-size 4 --out run");
    let full = "trap '' XFSZ && ulimit -f 4 && exec \"$@\"";
    let ran = place.run_under("bash", &["-c", full, "bash"], "eval run --report one");
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("one/report.html"), "{ran:?}");
    assert_eq!(fs::read_dir(place.path("one")).unwrap().count(), 0, "{ran:?}");
}

#[test]
fn reports_of_other_versions_or_that_contradict_themselves_are_refused() {
    let place = Place::new();
    place.text("eval lenet --report one");
    let report = fs::read_to_string(place.path("one/report.json")).unwrap();
    for (from, to, says) in [
        ("\"schema_version\": 1", "\"schema_version\": 2", "report of version 2"),
        ("\"top1_hits\": \"1", "\"top1_hits\": \"x", "contradicts itself"),
        ("\"top1_hits\": \"1", "\"top1_hits\": \"0", "contradicts itself"),
        ("\"top1_hits\": \"1", "\"top1_hits\": \"", "contradicts itself"),
        ("\"top1\": ", "\"top1\": 1", "contradicts itself: top1 is"),
        ("\"top5\": ", "\"top5\": 1", "contradicts itself: top5 is"),
        ("\"images\": 400", "\"images\": 4.5", "expected a whole number"),
    ] {
        assert!(report.contains(from), "{report}");
        fs::write(place.path("odd.json"), report.replacen(from, to, 1)).unwrap();
        place.fails("eval lenet --against odd.json", 3, &["odd.json", says]);
    }
}

#[test]
fn probabilities_are_compared_with_saved_ones() {
    let place = Place::new();
    place.text("eval lenet --save one");
    let same = place.json("eval lenet --beside one");
    assert_eq!(
        (&same["beside"]["greatest"], &same["beside"]["same_first"]),
        (&0.0.into(), &400.into())
    );
    let ran = place.run("eval lenet --protocol 10-crop --beside one --json");
    let beside = &parse(&ran.stdout)["beside"];
    let (greatest, moved) =
        (beside["greatest"].as_f64().unwrap(), beside["moved"].as_f64().unwrap());
    assert!(greatest > 0.05 && moved > 0.0 && moved < greatest, "{beside}");
    let told = place.text("eval lenet --protocol 10-crop --beside one -q");
    assert!(told.contains("beside lenet, 1-crop: a probability differs by at most"), "{told}");
    place.tells_and_fails(
        "eval lenet --split validation --beside one",
        3,
        &["one", "other images"],
    );
    // Also where they are called the same.
    patterns(&place);
    fs::create_dir(place.path("other")).unwrap();
    for (from, to) in [("flat", "steep"), ("steep", "flat")] {
        fs::rename(place.path("data/train").join(from), place.path("other").join(to)).unwrap();
    }
    fs::write(place.path("names"), "flat\nsteep\n0\n1\n2\n3\n4\n5\n6\n7\n").unwrap();
    patterns(&place);
    let look = "eval lenet --class-names names --split all --data";
    place.text(&format!("{look} data/train --save two"));
    place.text(&format!("{look} data/train --beside two"));
    place.tells_and_fails(&format!("{look} other --beside two"), 3, &["two", "other images"]);
}

/// Where a right class is held to be impossible.
#[test]
fn infinite_loss_is_kept_and_compared_with() {
    let place = Place::new();
    let told = place.json("eval lenet --mean 1e30 --save far --report far-report");
    assert!(told["loss"].is_null() && told["calibration"]["nll"].is_null(), "{told}");
    assert_eq!(place.json("eval --predictions far")["top1"], told["top1"]);
    assert!(place.text("eval --predictions far").contains("loss inf"));
    place.text("eval lenet --against far-report/report.json");
    for least in ["-1", "1e30", "NaN"] {
        place.fails(&format!("eval lenet --min-top1 {least}"), 2, &["--min-top1", "from 0 to 100"]);
    }
}
