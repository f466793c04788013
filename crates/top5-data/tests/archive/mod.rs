//! Tar archives and what lies in them, for the tests of those who read them.

use top5_data::tar::{END, crc32, header, padding};

pub(crate) const GRAY: &[u8] = include_bytes!("../images/gray.png");
pub(crate) const COLOUR: &[u8] = include_bytes!("../images/rgb.png");

/// The archive of these files, each with its checksum.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        out.extend(header(name, bytes.len() as u64, crc32(bytes)).unwrap());
        out.extend_from_slice(bytes);
        out.resize(out.len() + padding(bytes.len() as u64), 0);
    }
    out.extend(END);
    out
}
