//! Images in tar archives: what is read from them, and that nothing in them escapes as a panic or takes memory that they have
//! not.

mod archive;

use std::fs;
use std::path::{Path, PathBuf};

use archive::{COLOUR, GRAY, archive};
use tempfile::TempDir;
use top5_data::packed::{CLASSES, SHARD, folder_of, shard_path, shard_text};
use top5_data::tar::{END, header};
use top5_data::{DataError, Dataset, OnBad, OpenOptions, Splits, open};

fn written(folder: &TempDir, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, archive(files)).unwrap();
    path
}

fn opened(path: &Path) -> Result<Splits, DataError> {
    open(path.to_str().unwrap(), &OpenOptions { validation: 0.0, ..OpenOptions::default() })
}

fn refused(path: &Path) -> String {
    let error = opened(path).err().expect("an error");
    assert!(!error.is_io(), "{error}");
    error.to_string()
}

fn content(part: &dyn Dataset) -> Vec<(String, u32, usize)> {
    (0..part.len())
        .map(|i| {
            let sample = part.sample(i).unwrap();
            assert_eq!(sample.label, part.label(i));
            (part.sample_name(i), sample.label, sample.image.channels)
        })
        .collect()
}

const FILES: [(&str, &[u8]); 5] = [
    ("dog/2.png", COLOUR),
    ("cat/deep/1.png", GRAY),
    ("cat/2.png", COLOUR),
    ("cat/readme.txt", b"no image"),
    ("dog/.hidden.png", b"no image"),
];

#[test]
fn archive_of_a_folder_is_that_folder() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("photos");
    for (name, bytes) in FILES {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let plain = opened(&root).unwrap().train;
    let wrapped: Vec<(String, &[u8])> =
        FILES.iter().map(|(name, bytes)| (format!("./photos/{name}"), *bytes)).collect();
    let wrapped: Vec<_> = wrapped.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    for files in [&FILES[..], &wrapped] {
        let packed = opened(&written(&folder, "photos.tar", files)).unwrap().train;
        assert_eq!(packed.classes(), plain.classes());
        assert_eq!(content(packed.as_ref()), content(plain.as_ref()));
        assert_eq!(packed.fingerprint(), plain.fingerprint());
        assert_eq!(packed.revision(), plain.revision());
        assert_eq!(packed.encoded(0).unwrap(), plain.encoded(0).unwrap());
        assert!(matches!(packed.sample(3), Err(DataError::Index { index: 3, .. })));
    }
}

#[test]
fn parts_and_listed_classes_are_kept() {
    let folder = TempDir::new().unwrap();
    let files: [(&str, &[u8]); 5] = [
        (CLASSES, b"zebra\na/b\n"),
        ("train/zebra/1.png", COLOUR),
        ("train/a%2Fb/1.png", COLOUR),
        ("Test/a%2Fb/1.png", GRAY),
        ("val/zebra/1.png", GRAY),
    ];
    assert_eq!(folder_of("a/b"), "a%2Fb");
    let splits = opened(&written(&folder, "x.tar", &files)).unwrap();
    assert_eq!(splits.train.classes(), ["zebra", "a/b"]);
    let names =
        |part: &dyn Dataset| content(part).into_iter().map(|c| (c.0, c.1)).collect::<Vec<_>>();
    assert_eq!(
        names(splits.train.as_ref()),
        [("zebra/1.png".to_owned(), 0), ("a%2Fb/1.png".to_owned(), 1)]
    );
    assert_eq!(names(splits.test.unwrap().as_ref()), [("a%2Fb/1.png".to_owned(), 1)]);
    assert_eq!(splits.validation.label(0), 0);
}

#[test]
fn folders_beside_the_parts_are_told() {
    let folder = TempDir::new().unwrap();
    let files = ["train/a/1.png", "train/a/2.png", "train/b/1.png", "train/b/2.png"];
    let beside = ["dev/a/1.png", "dev/b/1.png", "test/1.png"];
    let files: Vec<_> = files.into_iter().chain(beside).map(|name| (name, COLOUR)).collect();
    let splits = opened(&written(&folder, "photos.tar", &files)).unwrap();
    assert_eq!((splits.train.len() + splits.validation.len(), splits.test.is_none()), (4, true));
    let [dev, test] = &splits.unused[..] else { panic!("{:?}", splits.unused) };
    assert!(dev.starts_with("dev/ is no part: those are called train, "), "{dev}");
    assert_eq!(test, "the images in test/ are in no folder of a class");
}

#[test]
fn shards_are_read_together_and_missing_ones_named() {
    let folder = TempDir::new().unwrap();
    let whole = folder.path().join("x.tar");
    let shard = |number: usize, files: &[(&str, &[u8])], last| {
        let text = shard_text(number, files.len(), last);
        let files: Vec<_> = files.iter().copied().chain([(SHARD, text.as_bytes())]).collect();
        written(&folder, &format!("x-{number:05}.tar"), &files)
    };
    let first = shard(0, &[("a/1.png", COLOUR), ("b/1.png", COLOUR)], false);
    assert!(refused(&first).contains("a shard is missing"));
    let second = shard(1, &[("b/2.png", COLOUR)], true);
    assert_eq!(second, shard_path(&whole, 1));
    for path in [&whole, &first, &second, &folder.path().to_owned()] {
        assert_eq!(opened(path).unwrap().train.len(), 3, "{path:?}");
    }
    let stale = shard(2, &[("b/3.png", COLOUR)], true);
    assert!(refused(&whole).contains("x-00001.tar"));
    fs::remove_file(stale).unwrap();
    fs::remove_file(first).unwrap();
    assert!(refused(&whole).contains("nothing is there"));
    assert!(refused(folder.path()).contains("a shard is missing"));
}

#[test]
fn layouts_that_are_no_dataset_are_named() {
    let folder = TempDir::new().unwrap();
    for (files, word) in [
        (&[("a/1.png", COLOUR)][..], "only class"),
        (&[("1.png", COLOUR), ("a/2.png", COLOUR)], "in no folder of a class"),
        (&[("readme.txt", b"")], "nothing to read"),
        (&[], "nothing to read"),
        (&[("train/a/1.png", COLOUR), ("train/b/1.png", COLOUR), ("test/c/1.png", COLOUR)], "c"),
        (&[(CLASSES, b"a\nb\nc\n"), ("a/1.png", COLOUR), ("b/1.png", COLOUR)], "the class \"c\""),
        (&[(CLASSES, b"\xff"), ("a/1.png", COLOUR)], "no text"),
        (
            &[("a/1.png", COLOUR), ("b/1.png", COLOUR), ("./a/1.png", GRAY)],
            "a/1.png is there twice",
        ),
    ] {
        let message = refused(&written(&folder, "x.tar", files));
        assert!(message.contains(word), "{word}: {message}");
    }
    // Names are as `tar` makes files of them.
    let files: [(&str, &[u8]); 2] = [("/a/1.png", COLOUR), (".//b/./1.png", COLOUR)];
    let splits = opened(&written(&folder, "x.tar", &files)).unwrap();
    assert_eq!(splits.train.classes(), ["a", "b"]);
    fs::write(folder.path().join("x.tar"), "no archive").unwrap();
    assert!(refused(&folder.path().join("x.tar")).contains("ends before"));
}

/// A bit that is flipped in an image is noticed when it is read, in a header when the archive is opened; a cut always.
#[test]
fn damage_is_noticed_and_never_escapes_as_a_panic() {
    let folder = TempDir::new().unwrap();
    let files: [(&str, &[u8]); 2] = [("a/1.png", COLOUR), ("b/1.png", GRAY)];
    let bytes = archive(&files);
    let path = folder.path().join("x.tar");
    let image = 512..512 + COLOUR.len();
    for at in (0..bytes.len() - 1024).step_by(7) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        fs::write(&path, &flipped).unwrap();
        let Ok(splits) = opened(&path) else { continue };
        let read: Vec<_> = (0..2).map(|i| splits.train.sample(i)).collect();
        if image.contains(&at) {
            let error = read[0].as_ref().unwrap_err();
            assert!(matches!(error, DataError::Archive { .. }), "{at}: {error}");
            assert!(error.to_string().contains("a/1.png is damaged"), "{error}");
            let skipping =
                OpenOptions { on_bad: OnBad::Skip, validation: 0.0, ..OpenOptions::default() };
            let splits = open(path.to_str().unwrap(), &skipping).unwrap();
            assert_eq!(splits.skipped.len(), 1);
        }
    }
    for len in (0..bytes.len() - 1024).step_by(11) {
        fs::write(&path, &bytes[..len]).unwrap();
        refused(&path);
    }
}

/// Names, files and lists that claim more than the archive has, or than may be taken.
#[test]
fn archives_do_not_decide_how_much_memory_is_taken() {
    let folder = TempDir::new().unwrap();
    let path = written(&folder, "x.tar", &[("a/1.png", COLOUR), ("b/1.png", COLOUR)]);
    let little = OpenOptions { memory: 50, ..OpenOptions::default() };
    let error = open(path.to_str().unwrap(), &little).err().unwrap();
    assert!(matches!(error, DataError::Memory { allowed: 50, .. }), "{error}");

    let mut bytes = header("a/1.png", 1 << 50, 0).unwrap();
    bytes.extend(END);
    fs::write(&path, bytes).unwrap();
    assert!(refused(&path).contains("longer than the archive"));

    // A hole of a terabyte: its image is longer than any may be.
    let mut bytes = header("a/1.png", 1 << 40, 0).unwrap();
    fs::write(&path, &bytes).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    if file.set_len((1 << 40) + (1 << 20)).is_ok() {
        drop(file);
        bytes = header("b/1.png", 3, 0).unwrap();
        let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start((1 << 40) + 512)).unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        let error = opened(&path).unwrap().train.sample(0).unwrap_err();
        assert!(error.to_string().contains("over the limit"), "{error}");
    }
}
