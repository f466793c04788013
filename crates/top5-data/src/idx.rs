//! IDX files, plain or gzipped: MNIST, Fashion-MNIST and their relatives.
//!
//! Big-endian: images are the magic number 2051, count, rows, columns and one byte per pixel; labels the magic number 2049,
//! count and one byte per label. A length that disagrees with the header, in either direction, is an error.

use std::io::{self, BufReader, Read, Take};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::GzDecoder;

use crate::dataset::{Dataset, MemoryDataset};
use crate::error::{DataError, there};
use crate::files::Regular;

const IMAGES: u32 = 2051;
const LABELS: u32 = 2049;

const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
const FASHION: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// The four files of a dataset in MNIST's layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MnistFiles {
    /// Images and labels to train on.
    pub train: [PathBuf; 2],
    /// Images and labels to test on.
    pub test: [PathBuf; 2],
}

/// Finds MNIST's four files in `dir`, in its folder `raw`, or where torchvision puts them below a root: `MNIST/raw` or
/// `FashionMNIST/raw`. They are called `train-images-idx3-ubyte` and so on, `.idx3` for `-idx3` and `.gz` allowed. None unless
/// all four are there.
pub fn find_mnist_like(dir: &Path) -> Result<Option<MnistFiles>, DataError> {
    for place in ["", "raw", "MNIST/raw", "FashionMNIST/raw"] {
        let dir = dir.join(place);
        let find = |stem: &str, kind: &str| {
            for dash in ["-", "."] {
                for end in ["", ".gz"] {
                    let name = format!("{stem}{dash}{kind}-ubyte{end}");
                    if let Some(path) = there(dir.join(name))? {
                        return Ok::<_, DataError>(Some(path));
                    }
                }
            }
            Ok(None)
        };
        let files = [
            find("train-images", "idx3")?,
            find("train-labels", "idx1")?,
            find("t10k-images", "idx3")?,
            find("t10k-labels", "idx1")?,
        ];
        if let [Some(images), Some(labels), Some(test_images), Some(test_labels)] = files {
            let (train, test) = ([images, labels], [test_images, test_labels]);
            return Ok(Some(MnistFiles { train, test }));
        }
    }
    Ok(None)
}

/// Reads images and labels of ten classes, 1 x rows x columns, if they fit into `memory` bytes. The classes are named after
/// Fashion-MNIST's when `name` says so, otherwise they are the digits.
pub fn read_pair(
    name: &str,
    [images, labels]: &[PathBuf; 2],
    memory: u64,
) -> Result<Arc<dyn Dataset>, DataError> {
    let classes = if name.contains("fashion") { FASHION } else { DIGITS };
    let ([count, height, width], pixels) = read::<3>(images, IMAGES, memory)?;
    let ([label_count], labels_read) = read::<1>(labels, LABELS, memory)?;
    if count != label_count {
        return Err(DataError::Counts {
            path: labels.clone(),
            images: count as u64,
            labels: label_count as u64,
        });
    }
    let beyond = labels_read.iter().position(|&label| usize::from(label) >= classes.len());
    if let Some(record) = beyond {
        return Err(DataError::Label {
            path: labels.clone(),
            record,
            label: u32::from(labels_read[record]),
            classes: classes.len(),
        });
    }
    let classes = classes.map(str::to_owned).to_vec();
    let labels = labels_read.into_iter().map(u32::from).collect();
    Ok(Arc::new(MemoryDataset::new(name, classes, [1, height, width], pixels, labels)))
}

/// Reads an IDX file of D dimensions: its shape and its bytes.
fn read<const D: usize>(
    path: &Path,
    magic: u32,
    memory: u64,
) -> Result<([usize; D], Vec<u8>), DataError> {
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let file = Regular::open(path).map_err(failed)?;
    let len = file.len();
    parse(path, BufReader::new(file.into_file().take(len)), magic, memory)
}

/// What is left of a file.
fn left<R: Read>(file: &BufReader<Take<R>>) -> u64 {
    file.buffer().len() as u64 + file.get_ref().limit()
}

fn parse<const D: usize>(
    path: &Path,
    mut file: BufReader<Take<impl Read>>,
    magic: u32,
    memory: u64,
) -> Result<([usize; D], Vec<u8>), DataError> {
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let bytes = left(&file);
    let gzip = io::BufRead::fill_buf(&mut file).map_err(failed)?.starts_with(&[0x1F, 0x8B]);
    // Deflate expands at most 1,032 times: a header that claims more is refused before memory is taken for it.
    let most = bytes.saturating_mul(if gzip { 1032 } else { 1 });
    let length = |what: &str, expected, found| DataError::Length {
        path: path.to_owned(),
        what: what.to_owned(),
        expected,
        found,
    };
    let broken = |source: io::Error| match gzip {
        true => DataError::Gzip { path: path.to_owned(), reason: source.to_string() },
        false => failed(source),
    };
    let mut stream: Box<dyn Read> =
        if gzip { Box::new(GzDecoder::new(&mut file)) } else { Box::new(&mut file) };

    let header = 4 + 4 * D as u64;
    let mut start = Vec::new();
    Read::take(&mut *stream, header).read_to_end(&mut start).map_err(broken)?;
    if start.len() as u64 != header {
        return Err(length("an IDX header", header, start.len() as u64));
    }
    let number = |i: usize| {
        u32::from_be_bytes([start[4 * i], start[4 * i + 1], start[4 * i + 2], start[4 * i + 3]])
    };
    if number(0) != magic {
        return Err(DataError::Magic { path: path.to_owned(), expected: magic, found: number(0) });
    }
    let shape: [usize; D] = std::array::from_fn(|i| number(i + 1) as usize);
    if shape.contains(&0) {
        let expected = format!("at least one item, the header says {shape:?}");
        return Err(DataError::Empty { path: path.to_owned(), expected });
    }
    let size = shape.iter().try_fold(1u64, |size, &side| size.checked_mul(side as u64));
    let what = format!("the header's {shape:?}");
    let claimed = size.map_or(u64::MAX, |size| size.saturating_add(header));
    if claimed > most.max(header) || !gzip && claimed != bytes {
        return Err(length(&what, claimed, bytes));
    }
    let size = claimed - header;
    if size > memory {
        return Err(DataError::Memory { path: path.to_owned(), needed: size, allowed: memory });
    }
    let mut data = Vec::new();
    Read::take(&mut *stream, size + 1).read_to_end(&mut data).map_err(broken)?;
    if data.len() as u64 != size {
        return Err(length(&what, claimed, header + data.len() as u64));
    }
    drop(stream);
    match left(&file) {
        0 => Ok((shape, data)),
        rest => Err(length("the gzip stream", bytes - rest, bytes)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn images(shape: [u32; 3], bytes: usize) -> Vec<u8> {
        let mut file = IMAGES.to_be_bytes().to_vec();
        shape.iter().for_each(|side| file.extend(side.to_be_bytes()));
        file.extend((0..bytes).map(|i| i as u8));
        file
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    const MEMORY: u64 = 1 << 20;

    fn parse_images(bytes: &[u8]) -> Result<([usize; 3], Vec<u8>), DataError> {
        let file = BufReader::new(Read::take(bytes, bytes.len() as u64));
        parse(Path::new("images"), file, IMAGES, MEMORY)
    }

    #[test]
    fn plain_and_gzipped_read_alike() {
        let file = images([2, 3, 4], 24);
        let expected = ([2, 3, 4], (0..24).collect::<Vec<u8>>());
        assert_eq!(parse_images(&file).unwrap(), expected);
        assert_eq!(parse_images(&gzip(&file)).unwrap(), expected);
    }

    #[test]
    fn every_cut_and_every_trailing_byte_is_an_error() {
        let file = images([2, 3, 4], 24);
        for whole in [file.clone(), gzip(&file)] {
            for cut in 0..whole.len() {
                let error = parse_images(&whole[..cut]).unwrap_err();
                assert!(!error.is_io() && !error.to_string().is_empty(), "cut at {cut}");
            }
            let longer = [whole.as_slice(), &[0]].concat();
            assert!(matches!(parse_images(&longer), Err(DataError::Length { .. })));
        }
        let longer = parse_images(&gzip(&[file.as_slice(), &[0]].concat()));
        assert!(matches!(longer, Err(DataError::Length { .. })), "{longer:?}");
    }

    #[test]
    fn damaged_gzip_is_an_error() {
        let file = gzip(&images([2, 30, 40], 2400));
        // Before the eight bytes of the trailer the last byte of the data may hold unused bits.
        for position in (10..file.len()).filter(|position| *position != file.len() - 9) {
            let mut damaged = file.clone();
            damaged[position] ^= 0x10;
            let error = parse_images(&damaged).unwrap_err();
            // What is unpacked up to the damage may already be no header.
            let expected = matches!(
                error,
                DataError::Gzip { .. }
                    | DataError::Length { .. }
                    | DataError::Magic { .. }
                    | DataError::Empty { .. }
            );
            assert!(expected, "byte {position} of {}: {error}", file.len());
        }
    }

    #[test]
    fn claims_beyond_the_file_are_refused_before_allocation() {
        // Zeros that deflate a thousandfold.
        let large = gzip(&images([3, 1 << 10, 1 << 9], 3 << 19));
        let error = parse_images(&large).unwrap_err();
        let expected =
            DataError::Memory { path: "images".into(), needed: 3 << 19, allowed: MEMORY };
        assert_eq!(error.to_string(), expected.to_string());
        assert!(error.is_io());
        for shape in [[u32::MAX; 3], [1 << 31, 1 << 16, 1 << 16], [60_000, 28, 28]] {
            assert!(matches!(parse_images(&images(shape, 100)), Err(DataError::Length { .. })));
            assert!(matches!(
                parse_images(&gzip(&images(shape, 100))),
                Err(DataError::Length { .. })
            ));
        }
    }

    #[test]
    fn wrong_magic_and_empty_shape_are_named() {
        let mut file = images([1, 1, 1], 1);
        file[3] = 1;
        assert!(matches!(
            parse_images(&file),
            Err(DataError::Magic { expected: 2051, found: 2049, .. })
        ));
        assert!(matches!(parse_images(&images([0, 28, 28], 0)), Err(DataError::Empty { .. })));
        assert!(matches!(parse_images(&images([5, 0, 28], 0)), Err(DataError::Empty { .. })));
    }
}
