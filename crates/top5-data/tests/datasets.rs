//! Opening datasets: layouts, damage, and what the errors say.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;
use top5_data::{DataError, Dataset, OnBad, OpenOptions, Splits, open};

const GRAY: &[u8] = include_bytes!("images/gray.png");
const COLOUR: &[u8] = include_bytes!("images/rgb.png");

fn write(root: &Path, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = TempDir::new().unwrap();
    write(dir.path(), files);
    dir
}

fn open_dir(dir: &TempDir) -> Result<Splits, DataError> {
    open(dir.path().to_str().unwrap(), &OpenOptions::default())
}

fn skipping() -> OpenOptions {
    OpenOptions { on_bad: OnBad::Skip, ..OpenOptions::default() }
}

/// Message of the error, which must be about the data and not the system.
fn refused(result: Result<Splits, DataError>) -> String {
    let error = result.err().expect("an error");
    assert!(!error.is_io(), "{error}");
    error.to_string()
}

fn labels(part: &dyn Dataset) -> Vec<u32> {
    (0..part.len()).map(|i| part.label(i)).collect()
}

#[test]
fn classes_are_sorted_folder_names_and_a_validation_part_is_carved() {
    let dir = folder(&[
        ("dog/2.PNG", COLOUR),
        ("dog/1.jpeg", COLOUR),
        ("dog/notes.txt", b"not an image"),
        ("cat/deep/below/1.png", GRAY),
        ("cat/2.png", GRAY),
        (".cache/1.png", GRAY),
        ("readme.md", b""),
    ]);
    let splits = open_dir(&dir).unwrap();
    assert_eq!(splits.train.classes(), ["cat", "dog"]);
    assert_eq!(labels(splits.train.as_ref()), [0, 1]);
    assert_eq!(labels(splits.validation.as_ref()), [0, 1]);
    assert!(splits.test.is_none() && splits.skipped.is_empty());
    assert_eq!(splits.train.sample(0).unwrap().image.channels, 1);
    assert_eq!(splits.train.sample(1).unwrap().image.channels, 3);
    let again = open_dir(&dir).unwrap();
    assert_eq!(splits.train.fingerprint(), again.train.fingerprint());
}

#[test]
fn parts_in_folders_are_kept_apart() {
    let files: Vec<(String, &[u8])> = ["train", "val", "test"]
        .into_iter()
        .flat_map(|part| ["a", "b"].map(|class| (format!("{part}/{class}/1.png"), COLOUR)))
        .collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let dir = folder(&files);
    let splits = open_dir(&dir).unwrap();
    let test = splits.test.as_ref().unwrap();
    assert_eq!([splits.train.len(), splits.validation.len(), test.len()], [2, 2, 2]);

    fs::remove_dir_all(dir.path().join("val")).unwrap();
    let message = refused(open_dir(&dir));
    assert!(message.contains("cannot be divided"), "{message}");
    write(dir.path(), &[("train/a/2.png", COLOUR)]);
    let splits = open_dir(&dir).unwrap();
    assert_eq!([splits.train.len(), splits.validation.len()], [2, 1]);
    assert_eq!(splits.test.unwrap().len(), 2);
}

#[test]
fn parts_with_other_classes_are_rejected_by_name() {
    let dir = folder(&[
        ("train/a/1.png", COLOUR),
        ("train/b/1.png", COLOUR),
        ("val/a/1.png", COLOUR),
        ("val/c/1.png", COLOUR),
    ]);
    let message = refused(open_dir(&dir));
    assert!(message.contains("missing: b; unexpected: c"), "{message}");
}

#[test]
fn empty_folders_say_what_was_expected() {
    let message = refused(open_dir(&folder(&[])));
    assert!(message.contains("MNIST") && message.contains("CIFAR-10"), "{message}");
    let dir = folder(&[("a/1.png", COLOUR), ("b/readme.txt", b"")]);
    let message = refused(open_dir(&dir));
    assert!(message.contains("/b:") && message.contains("jpeg"), "{message}");
}

#[test]
fn unknown_names_list_what_was_looked_for() {
    let message = refused(open("imagenet", &OpenOptions::default()));
    assert!(message.contains("digits") && message.contains("nothing is there"), "{message}");
    let dir = folder(&[("file", b"")]);
    let file = dir.path().join("file");
    let message = refused(open(file.to_str().unwrap(), &OpenOptions::default()));
    assert!(message.contains("a file is there"), "{message}");
}

#[test]
fn bad_files_are_counted_exactly_or_fail_with_their_path() {
    let dir = folder(&[
        ("a/1.png", COLOUR),
        ("a/2.png", COLOUR),
        ("a/empty.jpg", b""),
        ("a/png_named.jpg", GRAY),
        ("a/truncated.png", &COLOUR[..60]),
        ("a/folder.jpg/inside.png", COLOUR),
        ("b/1.png", COLOUR),
        ("b/2.png", COLOUR),
        ("b/text.bmp", b"BM, I say"),
    ]);
    symlink("nowhere", dir.path().join("b/dangling.png")).unwrap();
    symlink("..", dir.path().join("b/loop")).unwrap();
    symlink("../a/1.png", dir.path().join("b/linked.png")).unwrap();
    let spec = dir.path().to_str().unwrap();

    let splits = open(spec, &skipping()).unwrap();
    assert_eq!(splits.skipped.len(), 4);
    let count = |class| {
        let parts = [labels(splits.train.as_ref()), labels(splits.validation.as_ref())].concat();
        parts.into_iter().filter(|&label| label == class).count()
    };
    // `b/loop` leads to the folder above and is not entered.
    assert_eq!([count(0), count(1)], [4, 3]);
    for part in [&splits.train, &splits.validation] {
        assert!((0..part.len()).all(|i| part.sample(i).is_ok()));
    }

    let splits = open_dir(&dir).unwrap();
    let errors: Vec<String> = [&splits.train, &splits.validation]
        .into_iter()
        .flat_map(|part| (0..part.len()).filter_map(|i| part.sample(i).err()))
        .map(|error| error.to_string())
        .collect();
    assert_eq!(errors.len(), 4);
    assert!(errors.iter().any(|error| error.contains("empty.jpg")), "{errors:?}");
}

#[test]
fn folder_of_bad_files_only_is_rejected() {
    let dir = folder(&[("a/1.png", b"x"), ("b/1.png", b"")]);
    let message = refused(open(dir.path().to_str().unwrap(), &skipping()));
    assert!(message.contains("all 2 are bad"), "{message}");
}

/// MNIST's four files with `train` and ten samples of 2x3 pixels.
fn idx(train: u32, train_label: u8) -> Vec<(&'static str, Vec<u8>)> {
    let images = |count: u32| {
        let header = [2051, count, 2, 3].map(u32::to_be_bytes).concat();
        [header, vec![7; count as usize * 6]].concat()
    };
    let labels = |count: u32, label: u8| {
        [[2049, count].map(u32::to_be_bytes).concat(), vec![label; count as usize]].concat()
    };
    vec![
        ("train-images-idx3-ubyte", images(train)),
        ("train-labels-idx1-ubyte", labels(train, train_label)),
        ("t10k-images.idx3-ubyte", images(10)),
        ("t10k-labels.idx1-ubyte", labels(10, 9)),
    ]
}

fn idx_folder(files: &[(&str, Vec<u8>)], prefix: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, bytes) in files {
        write(dir.path(), &[(format!("{prefix}{name}").as_str(), bytes.as_slice())]);
    }
    dir
}

#[test]
fn idx_folders_are_recognised_by_content() {
    let dir = idx_folder(&idx(20, 3), "");
    let splits = open_dir(&dir).unwrap();
    let sizes = [splits.train.len(), splits.validation.len(), splits.test.unwrap().len()];
    assert_eq!(sizes, [18, 2, 10]);
    assert_eq!((splits.train.name(), splits.train.classes()[3].as_str()), ("mnist", "3"));
    let sample = splits.train.sample(0).unwrap();
    assert_eq!([sample.image.channels, sample.image.height, sample.image.width], [1, 2, 3]);

    let dir = idx_folder(&idx(20, 3), "FashionMNIST/raw/");
    let spec = dir.path().join("FashionMNIST");
    let splits = open(spec.to_str().unwrap(), &OpenOptions::default()).unwrap();
    assert_eq!(
        (splits.train.name(), splits.train.classes()[3].as_str()),
        ("fashion-mnist", "Dress")
    );
}

#[test]
fn idx_damage_names_the_file() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(usize, Damage, &str); 4] = [
        (0, |file| file.truncate(50), "train-images"),
        (1, |file| file.push(0), "train-labels"),
        (2, |file| file[3] = 9, "t10k-images"),
        (3, |file| *file.last_mut().unwrap() = 10, "record 9 has label 10"),
    ];
    for (which, damage, expected) in damages {
        let mut files = idx(20, 3);
        damage(&mut files[which].1);
        let message = refused(open_dir(&idx_folder(&files, "")));
        assert!(message.contains(expected), "{message}");
    }
    let mut files = idx(20, 3);
    files[1].1 = idx(19, 3)[1].1.clone();
    let message = refused(open_dir(&idx_folder(&files, "")));
    assert!(message.contains("19 labels for 20 images"), "{message}");
}

#[test]
fn cifar_folders_are_recognised_and_their_damage_named() {
    let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    let dir = folder(&[
        ("cifar-10-batches-bin/batches.meta.txt", names.as_bytes()),
        ("cifar-10-batches-bin/test_batch.bin", b"short"),
        ("cifar-10-batches-bin/data_batch_1.bin", b"short"),
    ]);
    let message = refused(open_dir(&dir));
    assert!(message.contains("data_batch_1.bin") && message.contains("30730000"), "{message}");
    write(dir.path(), &[("cifar-10-batches-bin/batches.meta.txt", b"airplane\nship\n")]);
    let message = refused(open_dir(&dir));
    assert!(message.contains("2 class names, expected 10"), "{message}");

    fs::remove_file(dir.path().join("cifar-10-batches-bin/data_batch_1.bin")).unwrap();
    write(dir.path(), &[("cifar-10-batches-bin/batches.meta.txt", names.as_bytes())]);
    let error = open_dir(&dir).err().unwrap();
    assert!(error.is_io() && error.to_string().contains("data_batch_1.bin"), "{error}");
}

#[test]
fn fashion_mnist_of_debian_is_read_or_its_package_named() {
    match open("fashion-mnist", &OpenOptions::default()) {
        Ok(splits) => {
            let sizes = [splits.train.len(), splits.validation.len(), splits.test.unwrap().len()];
            assert_eq!(sizes, [54_000, 6_000, 10_000]);
            assert_eq!(splits.train.classes()[9], "Ankle boot");
        }
        Err(error) => assert!(error.to_string().contains("dataset-fashion-mnist"), "{error}"),
    }
}
