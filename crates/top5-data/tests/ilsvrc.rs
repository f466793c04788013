//! ImageNet's archives as the contest handed them out, in small. `golden/meta.mat` was written by scipy 1.x's `savemat`, compressed: four
//! synsets with the fields of the kit's, numbered 1 to 4: n01440764, n04254680, n01443537, and n02084071, which is no class.

mod archive;

use std::fs;
use std::io::Write;
use std::path::Path;

use archive::{COLOUR, GRAY, archive};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use top5_data::{DataError, Dataset, OpenOptions, Splits, open};

const META: &[u8] = include_bytes!("golden/meta.mat");
const WNIDS: [&str; 3] = ["n01440764", "n01443537", "n04254680"];

/// Two training images of each class, and three of validation, that show the classes of these numbers.
fn contest(truth: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let inner = WNIDS.map(|wnid| {
        let names = [9, 10].map(|number| format!("{wnid}_{number}.JPEG"));
        (format!("{wnid}.tar"), archive(&[(&names[0], COLOUR), (&names[1], GRAY)]))
    });
    let train: Vec<_> =
        inner.iter().rev().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    fs::write(dir.path().join("ILSVRC2012_img_train.tar"), archive(&train)).unwrap();
    let names = [3, 1, 2].map(|number| format!("ILSVRC2012_val_{number:08}.JPEG"));
    let validation: Vec<_> = names.iter().map(|name| (name.as_str(), GRAY)).collect();
    fs::write(dir.path().join("ILSVRC2012_img_val.tar"), archive(&validation)).unwrap();
    kit(dir.path(), META, truth);
    dir
}

fn kit(dir: &Path, meta: &[u8], truth: &str) {
    let files = archive(&[
        ("ILSVRC2012_devkit_t12/data/meta.mat", meta),
        ("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", truth.as_bytes()),
    ]);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&files).unwrap();
    fs::write(dir.join("ILSVRC2012_devkit_t12.tar.gz"), packed.finish().unwrap()).unwrap();
}

fn opened(dir: &Path) -> Result<Splits, DataError> {
    open(dir.to_str().unwrap(), &OpenOptions { validation: 0.0, ..OpenOptions::default() })
}

fn names(part: &dyn Dataset) -> Vec<(String, u32)> {
    (0..part.len())
        .map(|i| {
            assert_eq!(part.sample(i).unwrap().label, part.label(i));
            (part.sample_name(i), part.label(i))
        })
        .collect()
}

#[test]
fn archives_and_the_kit_are_read_in_the_order_of_wnids() {
    let dir = contest("2\n3\n1\n");
    let splits = opened(dir.path()).unwrap();
    assert_eq!(splits.train.classes(), WNIDS);
    let train = names(splits.train.as_ref());
    assert_eq!(train.len(), 6);
    assert_eq!(train[2], ("n01443537/n01443537_10.JPEG".to_owned(), 1));
    let expected = [(0, 3), (1, 2), (2, 1)].map(|(label, number)| {
        (format!("{}/ILSVRC2012_val_{number:08}.JPEG", WNIDS[label]), label as u32)
    });
    assert_eq!(names(splits.validation.as_ref()), expected);

    // Unpacked, they are the same.
    let folder = TempDir::new().unwrap();
    for (part, bytes, dataset) in
        [("train", COLOUR, &splits.train), ("val", GRAY, &splits.validation)]
    {
        for (name, _) in names(dataset.as_ref()) {
            let path = folder.path().join(part).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    let unpacked = opened(folder.path()).unwrap();
    assert_eq!(unpacked.train.fingerprint(), splits.train.fingerprint());
    assert_eq!(unpacked.validation.fingerprint(), splits.validation.fingerprint());

    // Of validation alone, and with the kit's folder. Windows removes no file that is open.
    drop(splits);
    fs::remove_file(dir.path().join("ILSVRC2012_img_train.tar")).unwrap();
    fs::remove_file(dir.path().join("ILSVRC2012_devkit_t12.tar.gz")).unwrap();
    let data = dir.path().join("ILSVRC2012_devkit_t12/data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("meta.mat"), META).unwrap();
    fs::write(data.join("ILSVRC2012_validation_ground_truth.txt"), "2\n3\n1\n").unwrap();
    assert_eq!(names(opened(dir.path()).unwrap().whole().as_ref()), expected);
}

#[test]
fn archives_of_classes_are_their_folders() {
    let dir = TempDir::new().unwrap();
    for wnid in WNIDS {
        let name = format!("{wnid}_1.JPEG");
        fs::write(dir.path().join(format!("{wnid}.tar")), archive(&[(&name, COLOUR)])).unwrap();
    }
    assert_eq!(opened(dir.path()).unwrap().train.classes(), WNIDS);
}

#[test]
fn what_does_not_belong_together_is_named() {
    let message = |dir: &TempDir| {
        let error = opened(dir.path()).err().unwrap();
        assert!(!error.is_io(), "{error}");
        error.to_string()
    };
    for (truth, word) in [
        ("2\n3\n1\n1\n", "it has 3 images, and the kit knows 4"),
        ("2\n3\n", "not one of the 2 images"),
        ("2\n3\n7\n", "a number that meta.mat lacks"),
        ("2\n3\nx\n", "a number that meta.mat lacks"),
        ("2\n3\n4\n", "n02084071"),
    ] {
        assert!(message(&contest(truth)).contains(word), "{truth:?}: {}", message(&contest(truth)));
    }
    let dir = contest("2\n3\n1\n");
    let path = dir.path().join("ILSVRC2012_devkit_t12.tar.gz");
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(message(&dir).contains("ILSVRC2012_devkit_t12.tar.gz"));
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(message(&dir).contains("gzip"));
}

/// A damaged list of synsets is an error, or says the same, and never a panic.
#[test]
fn damaged_lists_of_synsets_never_escape_as_panics() {
    let dir = contest("2\n3\n1\n");
    for at in 0..META.len() {
        for bit in [0x01, 0x80] {
            let mut meta = META.to_vec();
            meta[at] ^= bit;
            kit(dir.path(), &meta, "2\n3\n1\n");
            if let Err(error) = opened(dir.path()) {
                assert!(!error.is_io(), "{at}: {error}");
            }
        }
        kit(dir.path(), &META[..at], "2\n3\n1\n");
        let error = opened(dir.path()).err().unwrap();
        assert!(matches!(error, DataError::Archive { .. }), "{at}: {error}");
    }
}
