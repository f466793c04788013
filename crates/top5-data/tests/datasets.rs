//! Opening datasets: layouts, damage, and what the errors say.

use std::fs;
use std::path::{MAIN_SEPARATOR, Path};

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

/// Two images in each of two classes.
fn classes(below: &str) -> Vec<(String, &'static [u8])> {
    let names = ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"];
    names.map(|name| (format!("{below}{name}"), COLOUR)).to_vec()
}

fn folder_of(parts: &[Vec<(String, &'static [u8])>]) -> TempDir {
    let files: Vec<_> =
        parts.iter().flatten().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    folder(&files)
}

/// Numbers of training, validation and test images.
fn sizes(splits: &Splits) -> [usize; 3] {
    let test = splits.test.as_ref().map_or(0, |test| test.len());
    [splits.train.len(), splits.validation.len(), test]
}

#[test]
fn parts_are_known_by_their_names_in_any_case() {
    for [train, test] in [
        ["Train/", "Test/"],
        ["training/", "testing/"],
        ["TRAIN/", "test/"],
        ["training_set/", "test_set/"],
        ["train_images/", "TestImages/"],
        ["tr/", "te/"],
    ] {
        let splits = open_dir(&folder_of(&[classes(train), classes(test)])).unwrap();
        assert_eq!(splits.train.classes(), ["cat", "dog"]);
        assert_eq!(sizes(&splits), [2, 2, 4]);
    }
    let splits = open_dir(&folder_of(&[classes("Training/"), classes("Validation/")])).unwrap();
    assert_eq!(sizes(&splits), [4, 4, 0]);
    let message = refused(open_dir(&folder_of(&[classes("train/"), classes("Training/")])));
    assert!(message.contains("Training and train"), "{message}");
    let message = refused(open_dir(&folder_of(&[classes("val/"), classes("test/")])));
    assert!(message.contains("a part to learn from"), "{message}");
    let whole = open_dir(&folder_of(&["train/", "val/", "test/"].map(classes))).unwrap();
    let looking = OpenOptions { needs_train: false, ..OpenOptions::default() };
    for (parts, found) in
        [(&["val/", "test/"][..], [0, 4, 4]), (&["val/"], [0, 4, 0]), (&["test/"], [0, 0, 4])]
    {
        let dir = folder_of(&parts.iter().map(|part| classes(part)).collect::<Vec<_>>());
        let splits = open(dir.path().to_str().unwrap(), &looking).unwrap();
        assert_eq!(sizes(&splits), found);
        assert_eq!(splits.train.classes(), ["cat", "dog"]);
        // The same images as beside others.
        if found[1] > 0 {
            assert_eq!(splits.validation.fingerprint(), whole.validation.fingerprint());
        }
        if let (Some(part), Some(test)) = (&splits.test, &whole.test) {
            assert_eq!(part.fingerprint(), test.fingerprint());
        }
    }
    // Images beside the folders of classes do not make classes of the parts, and parts without classes are none.
    let stray = vec![("train/1.png".to_owned(), COLOUR)];
    let splits =
        open_dir(&folder_of(&[classes("train/"), classes("test/"), stray.clone()])).unwrap();
    assert_eq!(sizes(&splits), [2, 2, 4]);
    let flat = vec![("test/1.png".to_owned(), COLOUR)];
    let message = refused(open_dir(&folder_of(&[stray, flat])));
    assert!(message.contains("a folder for each class in train/"), "{message}");
}

#[test]
fn train_alone_is_a_part_and_a_class_of_trains_is_none() {
    let splits = open_dir(&folder_of(&[classes("train/")])).unwrap();
    assert_eq!((splits.train.classes().len(), sizes(&splits)), (2, [2, 2, 0]));
    let vehicles = folder(&[
        ("train/1.png", COLOUR),
        ("train/2.png", COLOUR),
        ("plane/1.png", COLOUR),
        ("plane/2.png", COLOUR),
    ]);
    assert_eq!(open_dir(&vehicles).unwrap().train.classes(), ["plane", "train"]);
}

#[test]
fn test_images_without_classes_are_left_out_and_told() {
    for unlabelled in ["test/1.png", "test/unknown/1.png", "Test/images/deep/1.png"] {
        let dir = folder_of(&[classes("train/"), classes("val/"), vec![(unlabelled.into(), GRAY)]]);
        let splits = open_dir(&dir).unwrap();
        assert_eq!(sizes(&splits), [4, 4, 0], "{unlabelled}");
        assert!(splits.unused[0].to_lowercase().contains("test/"), "{:?}", splits.unused);
    }
    let wrong = vec![("test/bird/1.png".into(), GRAY), ("test/fish/1.png".into(), GRAY)];
    let message = refused(open_dir(&folder_of(&[classes("train/"), wrong])));
    assert!(message.contains("missing: cat, dog; unexpected: bird, fish"), "{message}");
}

#[test]
fn folders_beside_the_parts_are_told() {
    let splits = open_dir(&folder_of(&["train/", "dev/", "Test/"].map(classes))).unwrap();
    assert_eq!(sizes(&splits), [2, 2, 4]);
    let [unused] = &splits.unused[..] else { panic!("{:?}", splits.unused) };
    assert!(unused.starts_with("dev/ is no part: those are called train, "), "{unused}");
}

#[test]
fn what_programs_leave_behind_is_passed_over_at_any_depth() {
    let left: Vec<(String, &'static [u8])> = [
        "__MACOSX/cat/._1.png",
        ".ipynb_checkpoints/1.png",
        "cat/.ipynb_checkpoints/1-checkpoint.png",
        "cat/._1.png",
        "dog/deep/__MACOSX/1.png",
        "@eaDir/cat/1.jpg",
        "cat/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg",
        "$RECYCLE.BIN/1.png",
        "lost+found/1.png",
    ]
    .map(|name| (name.to_owned(), GRAY))
    .to_vec();
    let splits = open_dir(&folder_of(&[classes(""), left])).unwrap();
    assert_eq!((splits.train.classes().len(), sizes(&splits)), (2, [2, 2, 0]));
    assert!(splits.unused.is_empty(), "{:?}", splits.unused);
}

#[test]
fn one_class_is_refused_by_its_name() {
    let message = refused(open_dir(&folder(&[("cat/1.png", COLOUR), ("cat/2.png", COLOUR)])));
    assert!(message.contains("\"cat\" is its only class"), "{message}");
    let message = refused(open_dir(&folder(&[("train/cat/1.png", COLOUR)])));
    assert!(message.contains("train: \"cat\" is its only class"), "{message}");
    assert!(!message.contains("; is it "), "{message}");
    let message = refused(open_dir(&folder_of(&[classes("pets/")])));
    assert!(message.contains(&format!("{MAIN_SEPARATOR}pets?")), "{message}");
}

#[test]
fn jpegs_by_any_of_their_names_are_samples() {
    let named = ["jfif", "JPE", "pnm", "txt"].map(|end| (format!("cat/3.{end}"), COLOUR));
    let splits = open_dir(&folder_of(&[classes(""), named.to_vec()])).unwrap();
    assert_eq!(splits.train.len() + splits.validation.len(), 7);
}

#[test]
fn tiff_is_no_sample_and_told() {
    let tiff = vec![("cat/3.tif".into(), GRAY), ("dog/3.TIFF".into(), GRAY)];
    let splits = open_dir(&folder_of(&[classes(""), tiff])).unwrap();
    assert_eq!(sizes(&splits), [2, 2, 0]);
    assert!(splits.unused[0].starts_with("2 files: TIFF"), "{:?}", splits.unused);
}

#[test]
fn a_class_without_images_is_refused_in_the_training_part_alone() {
    let empty = vec![("val/dog/none.txt".into(), GRAY), ("val/cat/1.png".into(), COLOUR)];
    let splits = open_dir(&folder_of(&[classes("train/"), empty])).unwrap();
    assert_eq!(sizes(&splits), [4, 1, 0]);
    let empty = vec![("bird/none.txt".into(), GRAY)];
    let message = refused(open_dir(&folder_of(&[classes(""), empty])));
    assert!(
        message.contains(&format!("{MAIN_SEPARATOR}bird:")) && message.contains("no such folder"),
        "{message}"
    );
    let dir = folder_of(&[classes(""), vec![("bird/1.png".into(), b"bad")]]);
    let message = refused(open(dir.path().to_str().unwrap(), &skipping()));
    assert!(
        message.contains(&format!("{MAIN_SEPARATOR}bird:")) && message.contains("all 1 are bad"),
        "{message}"
    );
}

#[test]
fn what_was_found_is_said_in_a_line() {
    let dir = folder_of(&[classes("train/"), classes("test/")]);
    assert_eq!(
        open_dir(&dir).unwrap().describe(),
        "2 images to learn from, 2 to choose the epoch, 4 to test; 2 classes: cat, dog"
    );
    assert!(top5_data::digits().describe().ends_with("10 classes: 0, 1, 2, …"));
}

#[test]
fn empty_folders_say_what_was_expected() {
    let message = refused(open_dir(&folder(&[])));
    assert!(message.contains("MNIST") && message.contains("CIFAR-10"), "{message}");
    let dir = folder(&[("a/1.png", COLOUR), ("b/readme.txt", b"")]);
    let message = refused(open_dir(&dir));
    assert!(
        message.contains(&format!("{MAIN_SEPARATOR}b:")) && message.contains("jpeg"),
        "{message}"
    );
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

#[cfg(unix)]
#[test]
fn bad_files_are_counted_exactly_or_fail_with_their_path() {
    use std::os::unix::fs::symlink;
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
    // `b/loop` leads to the folder above and is not entered. Bad files keep their numbers.
    assert_eq!([count(0), count(1)], [6, 5]);
    assert!(splits.describe().contains("4 of them cannot be used"), "{}", splits.describe());

    let plain = open_dir(&dir).unwrap();
    for splits in [&splits, &plain] {
        let errors: Vec<String> = [&splits.train, &splits.validation]
            .into_iter()
            .flat_map(|part| (0..part.len()).filter_map(|i| part.sample(i).err()))
            .map(|error| error.to_string())
            .collect();
        assert_eq!(errors.len(), 4);
        assert!(errors.iter().any(|error| error.contains("empty.jpg")), "{errors:?}");
    }
    assert_eq!(plain.train.fingerprint(), splits.train.fingerprint());
    fs::write(dir.path().join("a/empty.jpg"), COLOUR).unwrap();
    let repaired = open_dir(&dir).unwrap();
    assert_eq!(repaired.train.fingerprint(), splits.train.fingerprint());
    // It is that of the part in which the file is.
    let revisions =
        |splits: &Splits| [&splits.train, &splits.validation].map(|part| part.revision());
    let [before, after] = [&splits, &repaired].map(revisions);
    let holds_it = [&splits.train, &splits.validation]
        .map(|part| (0..part.len()).any(|i| part.sample_name(i) == "a/empty.jpg"));
    assert_eq!([before[0] != after[0], before[1] != after[1]], holds_it);
    assert!(holds_it.contains(&true), "{holds_it:?}");
    fs::rename(dir.path().join("a/empty.jpg"), dir.path().join("a/full.jpg")).unwrap();
    assert_ne!(open_dir(&dir).unwrap().train.fingerprint(), splits.train.fingerprint());
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

/// A set is not taken for another, nor a class for none, where the system does not let it be seen what is there.
#[cfg(unix)]
#[test]
fn what_may_not_be_looked_at_is_not_absent() {
    for name in [
        "ILSVRC2012_img_train.tar",
        "train-images-idx3-ubyte",
        "batches.meta.txt",
        "cats",
        "x.tar",
        "train/1.png",
    ] {
        let dir = folder(&[("train/a/1.png", b""), ("train/b/1.png", b"")]);
        let path = dir.path().join(name);
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let error = open_dir(&dir).err().unwrap();
        assert!(matches!(&error, DataError::Io { path: of, .. } if *of == path), "{name}: {error}");
    }
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
    for spec in [dir.path().to_owned(), dir.path().join("FashionMNIST")] {
        let splits = open(spec.to_str().unwrap(), &OpenOptions::default()).unwrap();
        assert_eq!(
            (splits.train.name(), splits.train.classes()[3].as_str()),
            ("fashion-mnist", "Dress")
        );
    }
    for (name, bytes) in idx(20, 3) {
        write(dir.path(), &[(format!("MNIST/raw/{name}").as_str(), bytes.as_slice())]);
    }
    let message = refused(open_dir(&dir));
    assert!(message.contains("one of MNIST and FashionMNIST"), "{message}");
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
fn pickled_cifar_folders_are_recognised_and_their_damage_named() {
    let dir = folder(&[
        ("cifar-10-batches-py/batches.meta", b"\x80\x02}q\x01U\x0blabel_namesq\x02]q\x03s."),
        ("cifar-10-batches-py/test_batch", b"short"),
        ("cifar-10-batches-py/data_batch_1", b"short"),
    ]);
    let message = refused(open_dir(&dir));
    assert!(message.contains("0 class names, expected 10"), "{message}");
    write(dir.path(), &[("cifar-10-batches-py/batches.meta", b"\x80\x02}")]);
    let message = refused(open_dir(&dir));
    assert!(message.contains("batches.meta") && message.contains("in the middle"), "{message}");
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
