//! What is fitted to answers: weights of ensembles and temperatures, and never to what is reported.

use std::fs;
use std::path::Path;

use crate::program::Place;

/// A folder with `images` pictures of each of the embedded model's ten classes, other ones for another `seed`: of the same names and
/// lengths.
fn pictures(folder: &Path, images: u32, seed: u32) {
    for digit in 0..10u32 {
        let class = folder.join(digit.to_string());
        fs::create_dir_all(&class).unwrap();
        for number in 0..images {
            let ink = |x: u32, y: u32| {
                let spot = (((seed * 10 + digit) * 10 + number) * 10 + x / 4) * 10 + y / 4;
                let mixed = spot.wrapping_mul(0x9e37_79b9);
                let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca6b);
                image::Luma([if mixed >> 30 == 0 { 255 } else { 0 }])
            };
            image::GrayImage::from_fn(28, 28, ink)
                .save(class.join(format!("{number}.bmp")))
                .unwrap();
        }
    }
}

/// A folder whose parts are different pictures.
fn divided(place: &Place) {
    for (part, seed) in [("train", 1), ("val", 2), ("test", 3)] {
        pictures(&place.path("data").join(part), 2, seed);
    }
}

/// Gives every file of a folder's classes another name.
fn rename(folder: &Path) {
    for class in fs::read_dir(folder).unwrap() {
        for file in fs::read_dir(class.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().to_uppercase();
            fs::rename(&path, path.with_file_name(format!("copy of {name}"))).unwrap();
        }
    }
}

#[test]
fn weights_of_models_are_fitted_to_no_image_that_is_reported() {
    let place = Place::new();
    divided(&place);
    let member = "[[members]]\nmodel = 'lenet'\n";
    let two = format!("name = 'two'\nweights = 'fitted'\n{member}{member}protocol = '10-crop'\n");
    fs::write(place.path("two.toml"), two).unwrap();
    let fit = "eval --ensemble two.toml --data data";
    place.text(fit);
    let (val, test) = (place.path("data/val"), place.path("data/test"));
    fs::remove_dir_all(&val).unwrap();
    pictures(&val, 2, 3);
    place.fails(fit, 3, &["reported on"]);
    rename(&val);
    place.fails(fit, 3, &["reported on"]);
    #[cfg(unix)]
    {
        fs::remove_dir_all(&val).unwrap();
        std::os::unix::fs::symlink(&test, &val).unwrap();
        place.fails(fit, 3, &["reported on"]);
    }
    fs::remove_dir_all(test).unwrap();
}

#[test]
fn what_is_fitted_was_answered_in_the_same_way() {
    let place = Place::new();
    divided(&place);
    let at = "eval lenet --data data --split";
    place.text(&format!("{at} validation --save one"));
    place.text(&format!("{at} validation --protocol 10-crop --save ten"));
    place.text(&format!("{at} validation --crop-pct 0.8 --save near"));
    place.text(&format!("{at} test --save test"));
    place.text(&format!("{at} test --protocol 10-crop --save test-ten"));
    let other = ["ten holds answers of lenet by 10-crop, not 1-crop"];
    place.fails(&format!("{at} test --temperature-from ten"), 3, &other);
    let near = ["near holds answers of lenet with other preprocessing"];
    place.fails("eval --predictions test --temperature-from near", 3, &near);
    let ensemble = |second: &str| {
        let member = |reported: &str, validation: &str| {
            format!("[[members]]\npredictions = '{reported}'\nvalidation = '{validation}'\n")
        };
        let members = member("test", "one") + &member("test-ten", second);
        fs::write(place.path("two.toml"), format!("name = 'x'\nweights = 'fitted'\n{members}"))
            .unwrap();
    };
    ensemble("one");
    let message = ["validation of test-ten holds answers of lenet by 1-crop, not 10-crop"];
    place.fails("eval --ensemble two.toml", 3, &message);
    ensemble("ten");
    let told = place.text("eval --ensemble two.toml");
    let images = "weights of the members, fitted on 20 images of data (validation)";
    assert!(told.contains(images), "{told}");
}

/// An ensemble is another one with other weights, another mean, or members that looked in another way.
#[test]
fn temperature_of_an_ensemble_is_fitted_to_the_same_one() {
    let place = Place::new();
    divided(&place);
    let member = |more: &str| format!("[[members]]\nmodel = 'lenet'\n{more}\n");
    let plain = member("");
    for (name, head, members) in [
        ("same", "", plain.clone() + &member("protocol = '10-crop'")),
        ("scaled", "", member("weight = 3") + &member("protocol = '10-crop'\nweight = 3")),
        ("weighed", "", member("weight = 3") + &member("protocol = '10-crop'")),
        ("logits", "average = 'logits'", plain.clone() + &member("protocol = '10-crop'")),
        ("looked", "", plain.clone() + &member("protocol = 'mirror'")),
        ("cut", "", plain + &member("protocol = '10-crop'\npreprocess = { mean = [0.4] }")),
    ] {
        fs::write(place.path("two.toml"), format!("name = 'two'\n{head}\n{members}")).unwrap();
        let save = format!("eval --ensemble two.toml --data data --split validation --save {name}");
        place.text(&save);
        if name == "same" {
            place.text("eval --ensemble two.toml --data data --save test");
        }
    }
    let fit = "eval --predictions test --temperature-from";
    for name in ["same", "scaled"] {
        place.text(&format!("{fit} {name}"));
    }
    for (name, says) in [
        ("weighed", "of two with other weights of its members"),
        ("logits", "of two by the mean of the logits, not of the probabilities"),
        ("looked", "of two, a member of which is lenet by mirror, not 10-crop"),
        ("cut", "of two, a member of which is lenet with other preprocessing"),
    ] {
        place.fails(&format!("{fit} {name}"), 3, &[name, says]);
    }
}

#[test]
fn answers_are_saved_at_the_temperature_that_is_reported() {
    let place = Place::new();
    divided(&place);
    let at = "eval lenet --data data --split";
    place.text(&format!("{at} validation --save fitted"));
    let plain = place.json(&format!("{at} test --save plain"));
    let scaled = place.json(&format!("{at} test --temperature-from fitted --save scaled"));
    assert_ne!(scaled["loss"], plain["loss"]);
    assert_eq!(place.json("eval --predictions scaled"), scaled);
    let again = place.json("eval --predictions plain --temperature-from fitted --save again");
    assert_eq!(again, scaled);
    assert_eq!(fs::read(place.path("again")).unwrap(), fs::read(place.path("scaled")).unwrap());
    let twice = ["have a temperature already", "without one"];
    place.fails("eval --predictions scaled --temperature-from fitted", 3, &twice);
    place.fails(&format!("{at} train --temperature-from scaled"), 3, &["at another temperature"]);
    let member = "[[members]]\npredictions = 'scaled'\nvalidation = 'fitted'\n";
    fs::write(place.path("one.toml"), format!("name = 'one'\nweights = 'fitted'\n{member}"))
        .unwrap();
    place.fails(
        "eval --ensemble one.toml",
        3,
        &["validation of scaled holds", "at another temperature"],
    );

    // An evaluation is not lost for a temperature that there is not.
    place.fails(&format!("{at} test --temperature-from plain --save kept"), 3, &["reported on"]);
    assert_eq!(fs::read(place.path("kept")).unwrap(), fs::read(place.path("plain")).unwrap());
}

/// An evaluation may have taken a day.
#[test]
fn result_is_told_where_what_was_asked_for_beside_it_fails() {
    let place = Place::new();
    divided(&place);
    let look = "eval lenet --data data -q";
    let told = place.text(&format!("{look} --save same"));
    place.text(&format!("{look} --split validation --save other"));
    let report = place.path("report");
    // As if the disk were full: no file longer than a block.
    let full = ["-c", "trap '' XFSZ && ulimit -f 1 && exec \"$@\"", "sh"];
    for (given, code, says) in [
        ("--save kept", 4, "writing kept"),
        ("--report report", 4, "writing report"),
        ("--beside other", 3, "other images"),
    ] {
        let ran = place.run_under("sh", &full, &format!("{look} {given}"));
        assert!(ran.code == Some(code) && ran.stderr.contains(says), "{given}: {ran:?}");
        assert_eq!(ran.stdout, told, "{given}");
        assert!(!report.join("report.json").exists(), "{given}");
    }
    // All of what fails is told.
    let ran = place.run_under("sh", &full, &format!("{look} --save kept --beside other"));
    assert!(ran.stderr.contains("writing kept") && ran.stderr.contains("other images"), "{ran:?}");
    // What cannot be read is no work's end, but its beginning's.
    for given in ["--temperature-from", "--beside", "--report report --kinds"] {
        let ran = place.run(&format!("eval lenet --data data {given} none"));
        assert!(ran.code == Some(4) && ran.stderr.contains("none"), "{given}: {ran:?}");
        assert!(!ran.stderr.contains("images/s"), "{given}: {ran:?}");
    }
}

/// Neither names nor lengths tell files without compression from each other.
#[test]
fn results_on_other_pixels_are_not_compared() {
    let place = Place::new();
    divided(&place);
    place.text("eval lenet --data data --save one --report one-report");
    fs::remove_dir_all(place.path("data/test")).unwrap();
    pictures(&place.path("data/test"), 2, 4);
    let look = "eval lenet --data data";
    let against = place.run(&format!("{look} --against one-report/report.json"));
    assert!(against.code == Some(3) && against.stderr.contains("with other pixels"), "{against:?}");
    place.tells_and_fails(
        &format!("{look} --save other --beside one"),
        3,
        &["one", "other images"],
    );
    let members = "[[members]]\npredictions = 'one'\n[[members]]\npredictions = 'other'\n";
    fs::write(place.path("two.toml"), format!("name = 'two'\n{members}")).unwrap();
    place.fails("eval --ensemble two.toml", 3, &["other images", "with other pixels"]);
}
