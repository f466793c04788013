//! The README says what is true: its commands exist, and run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::program::{Place, Ran};

/// The lines of the README's shell blocks.
fn commands() -> Vec<String> {
    commands_of("README.md")
}

fn commands_of(file: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    let text = fs::read_to_string(path).unwrap();
    let mut lines = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        match line {
            "```sh" => in_block = true,
            "```" => in_block = false,
            _ if in_block => lines.push(line.to_owned()),
            _ => {}
        }
    }
    lines
}

#[test]
fn first_commands_train_and_test() {
    let commands = commands();
    assert_eq!(commands[0], "cargo run --release -- train lenet");
    assert_eq!(commands[1], "cargo xtask ci");
    assert!(commands.iter().filter(|line| line.starts_with("top5 ")).count() > 10);
}

#[test]
fn chinese_readme_has_the_same_commands_and_links() {
    assert_eq!(commands_of("README.zh-CN.md"), commands());
    let links = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
        let text = fs::read_to_string(path).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        links.map(|(link, _)| link.to_owned()).filter(|link| !link.starts_with("README")).collect()
    };
    let (chinese, english): (BTreeSet<String>, BTreeSet<String>) =
        (links("README.zh-CN.md"), links("README.md"));
    assert_eq!(chinese, english);
}

#[test]
fn every_command_and_flag_exists() {
    let place = Place::new();
    let mut flags = BTreeSet::new();
    for line in commands() {
        let Some(line) = line.strip_prefix("top5 ") else { continue };
        let command = line.split(' ').next().unwrap().to_owned();
        let given = line.split(' ').filter(|word| word.starts_with("--"));
        flags.extend(given.map(|flag| (command.clone(), flag.to_owned())));
    }
    assert!(flags.len() > 5);
    for (command, flag) in flags {
        let help = place.text(&format!("{command} --help"));
        assert!(help.split(&[' ', '\n', ',']).any(|word| word == flag), "{command} {flag}");
    }
}

/// All but those that need what is not there: another data set, a package, a build.
#[test]
fn commands_run_as_written() {
    let place = Place::new();
    let drawing = image::GrayImage::from_fn(90, 120, |x, y| {
        image::Luma([if x.abs_diff(45) < 6 && y.abs_diff(60) < 40 { 20 } else { 250 }])
    });
    fs::create_dir(place.path("photos")).unwrap();
    for name in ["digit.png", "photos/one.png"] {
        drawing.save(place.path(name)).unwrap();
    }
    fs::write(place.path("scan.jpg"), crate::predict::JPEG).unwrap();
    let mut run = 0;
    for line in commands() {
        let Some(arguments) = line.strip_prefix("top5 ") else { continue };
        if arguments.contains("fashion-mnist") {
            continue;
        }
        let (arguments, input) = arguments.split_once(" < ").unwrap_or((arguments, "/dev/null"));
        let mut command = place.command(&arguments.replace('\'', ""));
        command.stdin(fs::File::open(place.path(input)).unwrap());
        // One epoch shows as much about the commands as the recipe's number does.
        let ran = Ran::from(command.env("TOP5_EPOCHS", "1").output().unwrap());
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        run += 1;
    }
    assert!(run > 10);
}
