//! The binary and the Python versions of CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning Multiple Layers of Features from Tiny
//! Images", 2009).
//!
//! A record of the binary version is its labels (CIFAR-10: one; CIFAR-100: coarse, then fine, of which the fine one is used) and 3,072 pixels: 32x32
//! red, then green, then blue. Files have exactly the published lengths. Batches of the Python version hold the same numbers of
//! the same pixels.

mod python;

use std::path::Path;
use std::sync::Arc;

use crate::dataset::{Dataset, MemoryDataset};
use crate::error::{DataError, there};
use crate::files::Regular;

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// One of the two sets: what its files are called and how they are laid out.
#[derive(Debug)]
pub struct Cifar {
    /// Name of the dataset.
    pub name: &'static str,
    /// Number of classes.
    pub classes: usize,
    /// Label bytes per record; the last one counts.
    label_bytes: usize,
    names: &'static str,
    train: &'static [&'static str],
    train_records: usize,
    test: &'static str,
    test_records: usize,
    /// The same in the Python version.
    python: Python,
}

/// The files of the Python version and what is in them.
#[derive(Debug)]
struct Python {
    names: &'static str,
    names_key: &'static str,
    labels_key: &'static str,
    train: &'static [&'static str],
    test: &'static str,
}

/// Longest file that is read; CIFAR-100's training file in Python has 155 MB.
const LONGEST: u64 = 1 << 28;

/// CIFAR-10: five training files and a test file of 10,000 records.
pub static CIFAR10: Cifar = Cifar {
    name: "cifar10",
    classes: 10,
    label_bytes: 1,
    names: "batches.meta.txt",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    train_records: 10_000,
    test: "test_batch.bin",
    test_records: 10_000,
    python: Python {
        names: "batches.meta",
        names_key: "label_names",
        labels_key: "labels",
        train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
        test: "test_batch",
    },
};

/// CIFAR-100: 50,000 records to train, 10,000 to test.
pub static CIFAR100: Cifar = Cifar {
    name: "cifar100",
    classes: 100,
    label_bytes: 2,
    names: "fine_label_names.txt",
    train: &["train.bin"],
    train_records: 50_000,
    test: "test.bin",
    test_records: 10_000,
    python: Python {
        names: "meta",
        names_key: "fine_label_names",
        labels_key: "fine_labels",
        train: &["train"],
        test: "test",
    },
};

impl Cifar {
    /// Whether `dir` holds the set in one of its versions: its list of class names and its test file are there.
    pub fn is_in(&self, dir: &Path) -> Result<bool, DataError> {
        let Python { names, test, .. } = self.python;
        Ok(self.is_binary(dir)? || are_there(dir, [names, test])?)
    }

    fn is_binary(&self, dir: &Path) -> Result<bool, DataError> {
        are_there(dir, [self.names, self.test])
    }

    /// Reads the training part, 3x32x32, if it fits into `memory` bytes.
    pub fn read_train(&self, dir: &Path, memory: u64) -> Result<Arc<dyn Dataset>, DataError> {
        let files = if self.is_binary(dir)? { self.train } else { self.python.train };
        self.read(dir, files, self.train_records, memory)
    }

    /// Reads the test part, 3x32x32, if it fits into `memory` bytes.
    pub fn read_test(&self, dir: &Path, memory: u64) -> Result<Arc<dyn Dataset>, DataError> {
        let file = if self.is_binary(dir)? { self.test } else { self.python.test };
        self.read(dir, &[file], self.test_records, memory)
    }

    fn read(
        &self,
        dir: &Path,
        files: &[&str],
        records: usize,
        memory: u64,
    ) -> Result<Arc<dyn Dataset>, DataError> {
        // Beside the pixels, the file that is being read.
        let needed = (records * (files.len() + 1) * 3 * PLANE) as u64;
        if needed > memory {
            return Err(DataError::Memory { path: dir.to_owned(), needed, allowed: memory });
        }
        let binary = self.is_binary(dir)?;
        let classes = match binary {
            true => self.read_names(&dir.join(self.names))?,
            false => self.unpickle_names(&dir.join(self.python.names))?,
        };
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for file in files {
            let path = &dir.join(file);
            let bytes = read_file(path)?;
            match binary {
                true => self.append(path, &bytes, records, &mut pixels, &mut labels)?,
                false => self.unpickle(path, &bytes, records, &mut pixels, &mut labels)?,
            }
        }
        let shape = [3, SIDE, SIDE];
        Ok(Arc::new(MemoryDataset::new(self.name, classes, shape, pixels, labels)))
    }

    fn read_names(&self, path: &Path) -> Result<Vec<String>, DataError> {
        let text = read_file(path)?;
        let text = String::from_utf8_lossy(&text);
        let names = text
            .lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect();
        self.named(path, names)
    }

    fn unpickle_names(&self, path: &Path) -> Result<Vec<String>, DataError> {
        let bytes = read_file(path)?;
        let mut meta = python::read(&bytes).map_err(|reason| pickle(path, reason))?;
        let key = self.python.names_key;
        // Python 3 writes bytes by a call of a codec in protocol 2, which are no texts then; torchvision reads none of these, either.
        let lacks = || pickle(path, format!("it has no list `{key}` of texts"));
        self.named(path, meta.texts.remove(key).ok_or_else(lacks)?)
    }

    /// The names, if there are as many as classes.
    fn named(&self, path: &Path, names: Vec<String>) -> Result<Vec<String>, DataError> {
        if names.len() == self.classes {
            return Ok(names);
        }
        let (expected, found) = (self.classes, names.len());
        Err(DataError::ClassNames { path: path.to_owned(), expected, found })
    }

    /// Appends the `records` of a file: pixels in order H W C, and labels.
    fn append(
        &self,
        path: &Path,
        bytes: &[u8],
        records: usize,
        pixels: &mut Vec<u8>,
        labels: &mut Vec<u32>,
    ) -> Result<(), DataError> {
        let size = self.label_bytes + 3 * PLANE;
        if bytes.len() != records * size {
            return Err(DataError::Length {
                path: path.to_owned(),
                what: format!("{}: {records} records of {size} bytes", self.name),
                expected: (records * size) as u64,
                found: bytes.len() as u64,
            });
        }
        for (record, bytes) in bytes.chunks_exact(size).enumerate() {
            let (label, planes) = bytes.split_at(self.label_bytes);
            let label = u32::from(label[self.label_bytes - 1]);
            self.push(path, record, label, planes, pixels, labels)?;
        }
        Ok(())
    }

    /// Appends the `records` of a file of the Python version.
    fn unpickle(
        &self,
        path: &Path,
        bytes: &[u8],
        records: usize,
        pixels: &mut Vec<u8>,
        labels: &mut Vec<u32>,
    ) -> Result<(), DataError> {
        let mut batch = python::read(bytes).map_err(|reason| pickle(path, reason))?;
        let key = self.python.labels_key;
        let numbers = batch.numbers.remove(key).unwrap_or_default();
        let size = 3 * PLANE;
        let data = match batch.arrays.remove("data") {
            Some((rows, columns, data)) if rows == records && columns == size => data,
            Some(_) | None => {
                let reason = format!("it has no `data` of {records}x{size} bytes, row by row");
                return Err(pickle(path, reason));
            }
        };
        if numbers.len() != records {
            let reason = format!("it has {} `{key}`, expected {records}", numbers.len());
            return Err(pickle(path, reason));
        }
        for (record, (label, planes)) in
            numbers.into_iter().zip(data.chunks_exact(size)).enumerate()
        {
            let label = u32::try_from(label).unwrap_or(u32::MAX);
            self.push(path, record, label, planes, pixels, labels)?;
        }
        Ok(())
    }

    /// Appends a record whose colours are one after the other.
    fn push(
        &self,
        path: &Path,
        record: usize,
        label: u32,
        planes: &[u8],
        pixels: &mut Vec<u8>,
        labels: &mut Vec<u32>,
    ) -> Result<(), DataError> {
        if label as usize >= self.classes {
            let (path, classes) = (path.to_owned(), self.classes);
            return Err(DataError::Label { path, record, label, classes });
        }
        labels.push(label);
        pixels
            .extend((0..PLANE).flat_map(|i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]]));
        Ok(())
    }
}

fn pickle(path: &Path, reason: String) -> DataError {
    DataError::Pickle { path: path.to_owned(), reason }
}

/// Reads a file no longer than the longest of the sets.
fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let file = Regular::open(path).map_err(failed)?;
    match file.len() {
        length if length > LONGEST => {
            let what = "a file of CIFAR, at most,".to_owned();
            let path = path.to_owned();
            Err(DataError::Length { path, what, expected: LONGEST, found: length })
        }
        _ => file.read(LONGEST).map_err(failed),
    }
}

fn are_there(dir: &Path, names: [&str; 2]) -> Result<bool, DataError> {
    Ok(there(dir.join(names[0]))?.is_some() && there(dir.join(names[1]))?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(set: &Cifar, label: u8) -> Vec<u8> {
        let mut bytes = vec![3; set.label_bytes];
        bytes[set.label_bytes - 1] = label;
        bytes.extend([10; PLANE].iter().chain(&[20; PLANE]).chain(&[30; PLANE]));
        bytes
    }

    fn append(set: &Cifar, bytes: &[u8], records: usize) -> Result<(Vec<u8>, Vec<u32>), DataError> {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        set.append(Path::new("batch"), bytes, records, &mut pixels, &mut labels)?;
        Ok((pixels, labels))
    }

    #[test]
    fn planes_become_interleaved_and_the_fine_label_counts() {
        for set in [&CIFAR10, &CIFAR100] {
            let bytes = [record(set, 9), record(set, 0)].concat();
            let (pixels, labels) = append(set, &bytes, 2).unwrap();
            assert_eq!(labels, [9, 0]);
            assert_eq!(pixels.len(), 2 * 3 * PLANE);
            assert!(pixels.chunks(3).all(|rgb| rgb == [10, 20, 30]));
        }
    }

    #[test]
    fn names_that_a_codec_would_make_are_missed_by_their_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("batches.meta");
        // {b"label_names": []}, as Python 3 writes it in protocol 2.
        let meta =
            b"\x80\x02}q\x00(c_codecs\nencode\nX\x0b\0\0\0label_namesX\x06\0\0\0latin1\x86R]u.";
        std::fs::write(&path, meta).unwrap();
        let error = CIFAR10.unpickle_names(&path).unwrap_err().to_string();
        assert!(error.contains("no list `label_names` of texts"), "{error}");
    }

    #[test]
    fn lengths_must_be_exact() {
        let bytes = record(&CIFAR10, 1);
        for (bytes, records) in [(&bytes[..bytes.len() - 1], 1), (&bytes[..], 2), (&[][..], 1)] {
            assert!(matches!(append(&CIFAR10, bytes, records), Err(DataError::Length { .. })));
        }
        let short = append(&CIFAR100, &bytes, 1);
        assert!(matches!(short, Err(DataError::Length { expected: 3074, found: 3073, .. })));
        assert_eq!(CIFAR10.train_records * 3073, 30_730_000);
        assert_eq!(CIFAR100.test_records * 3074, 30_740_000);
    }

    #[test]
    fn batches_of_python_give_the_same_records_or_an_error() {
        let read = |key, labels: &[u8], columns| {
            let (mut pixels, mut found) = (Vec::new(), Vec::new());
            let file = python::batch(key, labels, columns);
            CIFAR10
                .unpickle(Path::new("data_batch_1"), &file, 2, &mut pixels, &mut found)
                .map(|()| (pixels, found))
        };
        let (pixels, labels) = read("labels", &[3, 9], 3072).unwrap();
        assert_eq!(labels, [3, 9]);
        assert_eq!(pixels, [[0; 3072], [1; 3072]].concat());
        let reason = |result: Result<_, DataError>| result.unwrap_err().to_string();
        assert!(reason(read("labels", &[3, 9, 1], 3072)).contains("no `data` of 2x3072"));
        assert!(reason(read("labels", &[3, 9], 3071)).contains("no `data` of 2x3072"));
        assert!(reason(read("fine_labels", &[3, 9], 3072)).contains("0 `labels`, expected 2"));
        assert!(matches!(
            read("labels", &[3, 10], 3072),
            Err(DataError::Label { record: 1, label: 10, .. })
        ));
    }

    #[test]
    fn label_out_of_range_names_its_record() {
        let bytes = [record(&CIFAR10, 9), record(&CIFAR10, 10)].concat();
        assert!(matches!(
            append(&CIFAR10, &bytes, 2),
            Err(DataError::Label { record: 1, label: 10, classes: 10, .. })
        ));
    }
}
