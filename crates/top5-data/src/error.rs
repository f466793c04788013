//! What can be wrong with images and datasets. Each message says what is wrong, where, what was expected and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::files;
use top5_graph::counted;

/// Why bytes are not an image that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// The first bytes are those of no supported format.
    UnknownFormat {
        /// Up to eight bytes from the start of the input.
        start: Vec<u8>,
    },
    /// The header claims more than the limits allow; nothing was decoded.
    TooLarge {
        /// Format that was recognised, for example `"PNG"`.
        format: &'static str,
        /// Claimed width in pixels.
        width: u64,
        /// Claimed height in pixels.
        height: u64,
        /// The limit that is exceeded, in words.
        limit: String,
        /// Whether [`crate::Limits`] may allow more.
        may_be_raised: bool,
    },
    /// The system gives no memory for the pixels.
    Memory {
        /// Format that was recognised, for example `"PNG"`.
        format: &'static str,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// What was asked for.
        bytes: u64,
    },
    /// The file is longer than the limits allow; it was not read.
    LongFile {
        /// Length of the file in bytes.
        bytes: u64,
        /// Greatest length allowed.
        limit: u64,
    },
    /// The image has no pixels.
    Empty {
        /// Format that was recognised.
        format: &'static str,
    },
    /// The decoder rejected the bytes.
    Damaged {
        /// Format that was recognised.
        format: &'static str,
        /// The decoder's reason.
        reason: String,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFormat { start } if start.is_empty() => {
                write!(f, "the image is empty (0 bytes)")
            }
            Self::UnknownFormat { start } => {
                write!(f, "not an image in a supported format (starts with")?;
                for byte in start {
                    write!(f, " {byte:02x}")?;
                }
                write!(f, "); expected PNG, JPEG, WebP, BMP or PNM: convert it to one of these")
            }
            Self::TooLarge { format, width, height, limit, may_be_raised } => write!(
                f,
                "the {format} header claims {width}x{height} pixels, over the limit of {limit}: scale the image down \
                 first{}",
                if *may_be_raised { ", or allow more" } else { "" }
            ),
            Self::Memory { format, width, height, bytes } => write!(
                f,
                "the {width}x{height} pixels of the {format} image need {} MiB of memory at once, which are not to be had",
                bytes.div_ceil(1 << 20)
            ),
            Self::LongFile { bytes, limit } => {
                write!(f, "the file has {bytes} bytes, over the limit of {limit}: is it an image?")
            }
            Self::Empty { format } => {
                write!(f, "the {format} image has no pixels: expected at least 1x1")
            }
            Self::Damaged { format, reason } => write!(
                f,
                "damaged or unsupported {format} image ({reason}): open and save it again with an \
                 image editor, or replace it"
            ),
        }
    }
}

impl std::error::Error for ImageError {}

/// Why a dataset, or one sample of it, cannot be used.
#[derive(Debug)]
pub enum DataError {
    /// The operating system refused to read a file or folder.
    Io {
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of an image folder is not a usable image.
    Image {
        /// The image file.
        path: PathBuf,
        /// What is wrong with it.
        source: ImageError,
    },
    /// A file is gone that was there when a run began.
    Gone {
        /// What it is called.
        path: PathBuf,
    },
    /// An IDX file does not start with the magic number of its kind.
    Magic {
        /// The IDX file.
        path: PathBuf,
        /// Magic number expected: 2051 for images, 2049 for labels.
        expected: u32,
        /// Number found.
        found: u32,
    },
    /// A file is shorter or longer than its format or its header says.
    Length {
        /// The file.
        path: PathBuf,
        /// What the length was derived from, in words.
        what: String,
        /// Bytes expected.
        expected: u64,
        /// Bytes found (at least, where reading stopped early).
        found: u64,
    },
    /// The images and the labels of an IDX pair differ in number.
    Counts {
        /// The file of labels.
        path: PathBuf,
        /// Images in the image file.
        images: u64,
        /// Labels in the label file.
        labels: u64,
    },
    /// A gzip stream is broken.
    Gzip {
        /// The compressed file.
        path: PathBuf,
        /// The decompressor's reason.
        reason: String,
    },
    /// A label is not a class.
    Label {
        /// The file that holds the label.
        path: PathBuf,
        /// Zero-based record in the file.
        record: usize,
        /// The label found.
        label: u32,
        /// Number of classes; labels are 0..classes.
        classes: usize,
    },
    /// A list of class names has the wrong number of lines.
    ClassNames {
        /// The file of names.
        path: PathBuf,
        /// Names expected.
        expected: usize,
        /// Names found.
        found: usize,
    },
    /// Two parts of one dataset name different classes.
    ClassMismatch {
        /// Folder whose classes differ from those of the training part.
        path: PathBuf,
        /// Classes that only the training part has.
        missing: Vec<String>,
        /// Classes that the training part lacks.
        unexpected: Vec<String>,
    },
    /// A pickle that is not what the Python version of CIFAR consists of.
    Pickle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tar archive that is damaged, incomplete, or not laid out as a dataset.
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The parts of a dataset cannot be told apart, or the one to learn from is missing.
    Parts {
        /// The folder.
        path: PathBuf,
        /// What was expected, in words.
        expected: String,
    },
    /// A single class, which leaves nothing to tell apart.
    OneClass {
        /// The folder.
        path: PathBuf,
        /// The class.
        class: String,
        /// Whether its folder holds several, which may be the classes, or the parts.
        inner: bool,
    },
    /// Nothing to read where samples were expected.
    Empty {
        /// The folder or file.
        path: PathBuf,
        /// What was looked for, in words.
        expected: String,
    },
    /// A folder could not be recognised as a dataset.
    Unrecognised {
        /// The name or path given.
        spec: String,
        /// Each thing that was looked for.
        looked_for: Vec<String>,
    },
    /// Too few samples to keep training, validation and test apart.
    TooFew {
        /// Name of the dataset.
        name: String,
        /// Samples it has.
        samples: usize,
    },
    /// A sample number beyond the end.
    Index {
        /// Name of the dataset.
        name: String,
        /// The number asked for.
        index: usize,
        /// Number of samples.
        len: usize,
    },
    /// The dataset is held in memory, and does not fit there.
    Memory {
        /// The file.
        path: PathBuf,
        /// Bytes that it would take.
        needed: u64,
        /// Bytes that it may take.
        allowed: u64,
    },
    /// A stop flag was set.
    Stopped,
    /// The background thread of a loader stopped without a result: a bug in a decoder or dataset.
    Worker {
        /// What is known about it.
        reason: String,
    },
}

/// The regular file at a path, if there is one. Fails where that cannot be found out: a file that may not be looked at is not
/// absent.
pub(crate) fn there(path: PathBuf) -> Result<Option<PathBuf>, DataError> {
    match files::is_file(&path) {
        Ok(is_there) => Ok(Some(path).filter(|_| is_there)),
        Err(source) => Err(DataError::Io { path, source }),
    }
}

impl DataError {
    /// Whether it is of a sample that is of no use, and may be left out where that is asked for. What the system did not let be read
    /// may be good, and whoever left it out would learn or count something else than the data.
    pub fn is_bad_sample(&self) -> bool {
        if let Self::Io { source, .. } = self { files::tells_content(source) } else { true }
    }

    /// Whether the operating system failed (exit code 4) rather than the data (exit code 3).
    pub fn is_io(&self) -> bool {
        matches!(
            self,
            Self::Io { .. }
                | Self::Memory { .. }
                | Self::Image { source: ImageError::Memory { .. }, .. }
        )
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Image { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Gone { path } => {
                write!(
                    f,
                    "{}: was there when the run began, and is gone: put it back",
                    path.display()
                )
            }
            Self::Magic { path, expected, found } => write!(
                f,
                "{}: not an IDX file of the kind its name says: the first four bytes should be \
                 the number {expected}, found {found}: download the file again",
                path.display()
            ),
            Self::Length { path, what, expected, found } => write!(
                f,
                "{}: {what} needs {expected} bytes, found {found}: the file is truncated or has \
                 trailing bytes, download it again",
                path.display()
            ),
            Self::Counts { path, images, labels } => write!(
                f,
                "{}: {} for {}: the two files do not belong together",
                path.display(),
                counted(*labels, "label"),
                counted(*images, "image")
            ),
            Self::Gzip { path, reason } => write!(
                f,
                "{}: broken gzip stream ({reason}): download the file again",
                path.display()
            ),
            Self::Label { path, record, label, classes } => write!(
                f,
                "{}: record {record} has label {label}, expected 0 to {}: the file is damaged or \
                 belongs to another dataset",
                path.display(),
                classes.saturating_sub(1)
            ),
            Self::ClassNames { path, expected, found } => write!(
                f,
                "{}: {found} class names, expected {expected}, one per line",
                path.display()
            ),
            Self::ClassMismatch { path, missing, unexpected } => write!(
                f,
                "{}: its classes differ from those of the part before it (missing: {}; \
                 unexpected: {}): give both the same class folders",
                path.display(),
                list(missing),
                list(unexpected)
            ),
            Self::Pickle { path, reason } => write!(
                f,
                "{}: not a batch of CIFAR's Python version ({reason}): download it again",
                path.display()
            ),
            Self::Archive { path, reason } => write!(
                f,
                "{}: not a whole archive of images ({reason}): pack or download it again",
                path.display()
            ),
            Self::Parts { path, expected } => {
                write!(f, "{}: its parts are not clear, expected {expected}", path.display())
            }
            Self::OneClass { path, class, inner } => {
                write!(
                    f,
                    "{}: {class:?} is its only class, expected at least two: one folder per class, \
                     directly in the one given or in its train/, val/ and test/",
                    path.display()
                )?;
                let folder = path.join(class);
                if *inner { write!(f, "; is it {}?", folder.display()) } else { Ok(()) }
            }
            Self::Empty { path, expected } => {
                write!(f, "{}: found nothing to read, expected {expected}", path.display())
            }
            Self::Unrecognised { spec, looked_for } => {
                write!(f, "'{spec}' is not a dataset that top5 knows; looked for:")?;
                looked_for.iter().try_for_each(|thing| write!(f, "\n  - {thing}"))
            }
            Self::TooFew { name, samples } => write!(
                f,
                "{name}: {samples} training samples cannot be divided into training and validation \
                 parts: expected a class with at least two, or none for validation (--validation 0)"
            ),
            Self::Index { name, index, len } => {
                write!(f, "{name}: there is no sample {index}, it has {len}")
            }
            Self::Memory { path, needed, allowed } => write!(
                f,
                "{}: its images take {} MiB and may take {} MiB: give this process more memory, or images in one \
                 folder per class, which are read one by one",
                path.display(),
                needed >> 20,
                allowed >> 20
            ),
            Self::Stopped => f.write_str("stopped, as was asked for"),
            Self::Worker { reason } => write!(f, "the loader's thread stopped: {reason}"),
        }
    }
}

/// The first few names, separated by commas.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 5;
    match names.len() {
        0 => "none".to_owned(),
        n if n <= SHOWN => names.join(", "),
        n => format!("{}, and {} more", names[..SHOWN].join(", "), n - SHOWN),
    }
}

impl std::error::Error for DataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io { source, .. } = self { Some(source) } else { None }
    }
}
