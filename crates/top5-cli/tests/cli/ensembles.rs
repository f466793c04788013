//! The ensembles of the article's table, by name.

use std::fs;

use crate::program::{Place, parse};

/// Saves what the embedded model says of the digits as if `network` had said it, whose name is as long.
fn save_as(place: &Place, network: &str, arguments: &str) {
    let file = place.path(format!("{network}.safetensors"));
    place.text(&format!("eval lenet {arguments} --save {network}.safetensors"));
    let mut bytes = fs::read(&file).unwrap();
    let mark = b"\\\"network\\\":\\\"";
    let at = bytes.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len();
    bytes[at..at + 5].copy_from_slice(network.as_bytes());
    fs::write(file, bytes).unwrap();
}

/// The first member may look for a day.
#[test]
fn members_that_cannot_answer_are_found_before_the_first_one_looks() {
    let place = Place::new();
    fs::write(place.path("weights.pth"), "no weights").unwrap();
    for (second, says) in [
        ("model = 'resnet20_cifar'\nweights = 'weights.pth'", "weights.pth"),
        ("model = 'lenet'\nprotocol = '10-crop@20'", "no less than the side of the crops"),
        ("model = 'lenet'\nprotocol = 'resnet-dense'\nclass_names = 'none'", "none"),
        ("predictions = 'weights.pth'", "weights.pth"),
    ] {
        let members = format!("[[members]]\nmodel = 'lenet'\n[[members]]\n{second}\n");
        fs::write(place.path("two.toml"), format!("name = 'two'\n{members}")).unwrap();
        let ran = place.run("eval --ensemble two.toml");
        assert!(ran.code.is_some_and(|code| code > 2) && ran.stderr.contains(says), "{ran:?}");
        assert!(!ran.stderr.contains("images/s"), "{ran:?}");
    }
}

#[test]
fn ensembles_of_the_article_are_run_by_name() {
    let place = Place::new();
    fs::create_dir(place.path("members")).unwrap();
    let vgg = "eval --ensemble vgg-2";
    place.fails(vgg, 3, &["vgg16: vgg16, vgg-crops+dense", "vgg19: vgg19", "--weights MEMBER="]);
    place.fails("eval --ensemble vgg-3", 2, &["vgg-3", "no file", "googlenet-7"]);
    place.fails("eval --ensemble resnext", 3, &["not published"]);
    place.fails(&format!("{vgg} --weights vgg16"), 2, &["MEMBER=WEIGHTS", "vgg16, vgg19"]);
    place.fails(&format!("{vgg} --weights vgg13=x"), 2, &["vgg13=x", "vgg16, vgg19"]);
    place.fails(&format!("{vgg} --weights members"), 3, &["vgg19: vgg19"]);
    place.fails("eval lenet --weights a --weights b", 2, &["--weights b", "one place"]);

    save_as(&place, "vgg16", "");
    save_as(&place, "vgg19", "--protocol 10-crop");
    let both = "--weights vgg16=vgg16.safetensors --weights vgg19=vgg19.safetensors";
    place.fails(&format!("{vgg} {both} --weights vgg16=x"), 2, &["vgg16", "twice"]);
    let swapped = "--weights vgg16=vgg19.safetensors";
    place.fails(&format!("{vgg} {swapped}"), 3, &["answers of vgg19, not of vgg16"]);

    // The same, whether each is named or they lie in a folder; and as a file that lists them.
    let named = place.json(&format!("{vgg} {both}"));
    // What the members do not share is nobody's.
    assert!(named["origin"]["protocol"].is_null() && !named["origin"]["preprocess"].is_null());
    assert_eq!((&named["network"], &named["views"]), (&"vgg-2".into(), &11.into()));
    assert!(named["members"][1].as_str().unwrap().starts_with("vgg19: vgg19, 10-crop"), "{named}");
    for network in ["vgg16", "vgg19"] {
        let file = format!("{network}.safetensors");
        fs::copy(place.path(&file), place.path(format!("members/{file}"))).unwrap();
    }
    assert_eq!(place.json(&format!("{vgg} --weights members")), named);
    fs::write(place.path("members/vgg16.pth"), "").unwrap();
    let twice = ["vgg16.pth", "vgg16.safetensors", "keep one"];
    place.fails(&format!("{vgg} --weights members"), 3, &twice);
    let members =
        ["vgg16", "vgg19"].map(|n| format!("[[members]]\npredictions = '{n}.safetensors'\n"));
    fs::write(place.path("two.toml"), format!("name = 'two'\n{}", members.concat())).unwrap();
    assert_eq!(place.json("eval --ensemble two.toml")["loss"], named["loss"]);
    place.fails(
        "eval --ensemble two.toml --weights members",
        2,
        &["--weights", "says that itself"],
    );
    for given in ["--data digits", "--split train"] {
        place.fails(&format!("eval --ensemble two.toml {given}"), 2, &["saved and about images"]);
    }
    place.fails("eval --predictions vgg16.safetensors --data digits", 2, &["--data", "--twins"]);
    place.fails("eval --ensemble two.toml --crop-pct 1", 2, &["preprocessing", "says that itself"]);

    // Saved as one, it is still the row's.
    place.text(&format!("{vgg} {both} --save fused --report whole"));
    assert_eq!(place.json("eval --predictions fused"), named);

    // What is not there is said wherever the number is.
    let ran =
        place.run(&format!("{vgg} --weights vgg16=vgg16.safetensors --report part --row vgg-2"));
    assert!(ran.stderr.contains("without vgg19: vgg19, vgg-crops+dense"), "{ran:?}");
    assert!(
        ran.stdout.contains("missing: vgg19") && ran.stdout.contains("1 of 2 members"),
        "{ran:?}"
    );
    let html = fs::read_to_string(place.path("part/report.html")).unwrap();
    assert!(html.contains("<dt>Missing</dt><dd>vgg19: ") && html.contains(">6.8<"), "{html}");
}

/// What an ensemble is of is told with its number, down to the members of members.
#[test]
fn ensembles_of_ensembles_say_all_that_was_averaged() {
    let place = Place::new();
    let file = |name: &str, head: &str, members: &[&str]| {
        let members = members.iter().map(|member| format!("[[members]]\n{member}\n"));
        let text = format!("name = '{name}'\n{head}\n{}", members.collect::<String>());
        fs::write(place.path(format!("{name}.toml")), text).unwrap();
    };
    place.text("eval lenet --save one");
    place.text("eval lenet --crop-pct 0.8 --split validation --save held");
    place.text("eval lenet --crop-pct 0.8 --temperature-from held --save warm");
    let ten = "model = 'lenet'\nprotocol = '10-crop'\nweight = 2e-9";
    file("inner", "average = 'logits'", &[ten, "predictions = 'one'"]);
    file("outer", "", &["predictions = 'fused'", "predictions = 'warm'"]);
    let inner = place.json("eval --ensemble inner.toml --save fused");
    let outer = place.json("eval --ensemble outer.toml --report outer");
    assert_eq!((&inner["views"], &outer["views"]), (&11.into(), &12.into()));
    let [inner, outer] = [&inner, &outer].map(|told| &told["origin"]["ensemble"]);
    assert_eq!((&inner["average"], &outer["average"]), (&"logits".into(), &"probabilities".into()));
    assert_eq!(inner["members"][0], "lenet: lenet, 10-crop, weight 2e-9");
    let member = outer["members"][0].as_str().unwrap();
    assert!(
        member.starts_with("fused: inner, 2 networks, each by its protocol, mean of the logits (lenet: lenet, 10-crop,"),
        "{member}"
    );
    // Where members are prepared in other ways, each way is told.
    assert!(member.contains("centre crop"), "{member}");
    let choice = &inner["choices"][0];
    assert!(choice.is_string() && outer["choices"][0] == *choice, "{outer}");
    let warm = outer["members"][1].as_str().unwrap();
    assert!(warm.contains("centre crop") && warm.contains(", temperature "), "{warm}");
    let of = &outer["origins"][0]["origin"]["ensemble"]["origins"][0]["origin"]["protocol"];
    assert_eq!(of["name"], "10-crop");
    let html = fs::read_to_string(place.path("outer/report.html")).unwrap();
    assert!(html.contains("mean of the probabilities") && html.contains("temperature "), "{html}");
    // The first member's temperature is not that of all.
    file("swapped", "", &["predictions = 'warm'", "predictions = 'fused'"]);
    assert!(place.json("eval --ensemble swapped.toml")["origin"]["terms"].is_null());
    file(" ", "", &["predictions = 'one'"]);
    fs::rename(place.path(" .toml"), place.path("nameless.toml")).unwrap();
    place.fails("eval --ensemble nameless.toml", 3, &["nameless.toml", "its name is empty"]);
}

#[test]
fn table_of_the_article_has_what_was_measured_beside_it() {
    let place = Place::new();
    save_as(&place, "vgg16", "");
    save_as(&place, "vgg19", "--protocol 10-crop");
    let vgg =
        "eval --ensemble vgg-2 --weights vgg16=vgg16.safetensors --weights vgg19=vgg19.safetensors";
    let table = place.text(&format!("{vgg} --report vgg --row all"));
    let line = |name: &str| table.lines().rfind(|line| line.starts_with(name)).unwrap();
    assert!(line("vgg-2 ").contains("23.7") && !line("vgg-2 ").contains("not run"), "{table}");
    assert!(line("vgg-7 ").ends_with("not run"), "{table}");
    assert!(table.contains("chosen: where the 25 crops of a scale lie"), "{table}");
    assert!(table.contains("1 of 17 rows were run here"), "{table}");

    let document = place.json(&format!("{vgg} --row VGG"));
    assert_eq!(document["network"], "vgg-2");
    let rows = document["rows"].as_array().unwrap();
    assert!(rows.len() == 2 && rows[0]["measured"].is_null(), "{document}");
    let error = rows[1]["measured"]["top1_error"].as_f64().unwrap();
    assert!((error + document["top1"].as_f64().unwrap() - 100.0).abs() < 1e-9, "{document}");

    // From a report, without running anything.
    let earlier = parse(&place.text("eval --row vgg-2 --measured vgg/report.json --json"));
    assert_eq!(earlier["rows"][0]["measured"], rows[1]["measured"]);
    // A table alone says what its numbers are of, and nothing that was given is passed over in silence.
    place.text("eval --ensemble vgg-2 --weights vgg16=vgg16.safetensors --report part");
    let part = place.run("eval --row vgg-2 --measured part/report.json vgg/report.json --csv");
    let says = "measured on digits (test, 400 images) with 1 of 2 members, without vgg19";
    assert!(part.stdout.contains(says), "{part:?}");
    assert!(part.stdout.contains("not by the row's protocol: vgg16: vgg16, 1-crop"), "{part:?}");
    assert!(part.stderr.contains("vgg/report.json is left out: vgg-2 was measured"), "{part:?}");
    let none = place.run("eval --row alexnet --measured vgg/report.json --markdown");
    assert!(none.stderr.contains("vgg/report.json is about none of these rows"), "{none:?}");
    assert!(none.stdout.lines().all(|line| line.matches(" |").count() == 9), "{none:?}");
    place.fails("eval --row vgg-2 --measured vgg/predictions.csv", 3, &["predictions.csv"]);
    place.fails("eval lenet --measured vgg/report.json", 2, &["--row"]);
    // What needs answers is not passed over where there are none.
    for given in [
        "--min-top1 99",
        "--report x",
        "--save x",
        "--against vgg/report.json",
        "--protocol 10-crop",
    ] {
        place.fails(&format!("eval --row vgg-2 {given}"), 2, &["MODEL", "--ensemble"]);
    }
    place.fails("eval --row vgg-2 --data digits", 2, &["--data", "nothing is evaluated"]);
    let real: Vec<[usize; 1]> = vec![[7]; 400];
    fs::write(place.path("real.json"), serde_json::to_string(&real).unwrap()).unwrap();
    let real = place.text(&format!("{vgg} --real real.json --row vgg-2 --csv"));
    assert!(real.contains("; right answers: ReaL's"), "{real}");
    // Its name makes no protocol the row's.
    let own = "name = 'vgg-crops+dense'\nparts = [{ crops = 'own' }]";
    fs::write(place.path("own.toml"), own).unwrap();
    save_as(&place, "vgg16", "--protocol own.toml");
    let named = place.text(&format!("{vgg} --row vgg-2"));
    assert!(named.contains("not by the row's protocol: vgg16: vgg16, vgg-crops+dense"), "{named}");
    let other = place.text("eval lenet --row 2014");
    assert!(
        other.contains("lenet, 1-crop: measured on digits") && other.contains("0 of 2"),
        "{other}"
    );
}
