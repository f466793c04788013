//! The binary versions of CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009).
//!
//! A record is its labels (CIFAR-10: one; CIFAR-100: coarse, then fine, of which the fine one is used) and 3,072 pixels: 32x32
//! red, then green, then blue. Files have exactly the published lengths.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dataset::{Dataset, MemoryDataset};
use crate::error::DataError;

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
}

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
};

impl Cifar {
    /// Whether `dir` holds the set: its list of class names and its test file are there.
    pub fn is_in(&self, dir: &Path) -> bool {
        dir.join(self.names).is_file() && dir.join(self.test).is_file()
    }

    /// Reads the training part, 3x32x32.
    pub fn read_train(&self, dir: &Path) -> Result<Arc<dyn Dataset>, DataError> {
        let files: Vec<PathBuf> = self.train.iter().map(|file| dir.join(file)).collect();
        self.read(dir, &files, self.train_records)
    }

    /// Reads the test part, 3x32x32.
    pub fn read_test(&self, dir: &Path) -> Result<Arc<dyn Dataset>, DataError> {
        self.read(dir, &[dir.join(self.test)], self.test_records)
    }

    fn read(
        &self,
        dir: &Path,
        files: &[PathBuf],
        records: usize,
    ) -> Result<Arc<dyn Dataset>, DataError> {
        let classes = self.read_names(&dir.join(self.names))?;
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for path in files {
            self.append(path, &read_file(path)?, records, &mut pixels, &mut labels)?;
        }
        let shape = [3, SIDE, SIDE];
        Ok(Arc::new(MemoryDataset::new(self.name, classes, shape, pixels, labels)))
    }

    fn read_names(&self, path: &Path) -> Result<Vec<String>, DataError> {
        let text = read_file(path)?;
        let text = String::from_utf8_lossy(&text);
        let names: Vec<String> = text
            .lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect();
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
            if label as usize >= self.classes {
                let (path, classes) = (path.to_owned(), self.classes);
                return Err(DataError::Label { path, record, label, classes });
            }
            labels.push(label);
            pixels.extend(
                (0..PLANE).flat_map(|i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]]),
            );
        }
        Ok(())
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })
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
    fn lengths_must_be_exact() {
        let bytes = record(&CIFAR10, 1);
        for (bytes, records) in [(&bytes[..bytes.len() - 1], 1), (&bytes[..], 2), (&[][..], 1)] {
            assert!(matches!(append(&CIFAR10, bytes, records), Err(DataError::Length { .. })));
        }
        assert!(append(&CIFAR100, &bytes, 1).is_err());
        assert_eq!(CIFAR10.train_records * 3073, 30_730_000);
        assert_eq!(CIFAR100.test_records * 3074, 30_740_000);
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
