//! Tar archives (POSIX.1-1988 `ustar`, with GNU's and POSIX.1-2001's long names), looked through in place: what is in them and
//! where, without unpacking. Nothing is ever written where an archive says.
//!
//! Every header has a checksum. Archives that are written here also have the CRC-32 of each file's bytes, in the header's field
//! for the owner's name, where other programs have no use for it. What an archive claims is compared with its length first.

use std::io;
use std::ops::Range;
use std::path::Path;

use crate::error::DataError;
use crate::folder::has_image_extension;

/// Headers and data begin at multiples of it.
const BLOCK: u64 = 512;
/// Bytes of headers that are read at once.
const WINDOW: u64 = 1 << 16;
/// Longest name.
const LONGEST: u64 = 1 << 12;
/// Where the owner's name is in a header, and what it begins with where it is a CRC-32.
const OWNER: Range<usize> = 265..297;
const CRC: &str = "crc32:";

/// A file in an archive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Where its bytes begin.
    pub(crate) start: u64,
    pub(crate) len: u64,
    /// Of its bytes, where it is known.
    pub(crate) crc: Option<u32>,
}

fn damaged(path: &Path, reason: impl Into<String>) -> DataError {
    DataError::Archive { path: path.to_owned(), reason: reason.into() }
}

/// Reads so many bytes from a place on, all of them.
pub(crate) type ReadAt<'a> = dyn Fn(u64, u64) -> io::Result<Vec<u8>> + 'a;

/// Calls `each` with every regular file of the archive that is this part of what is read, in order.
pub(crate) fn scan(
    (path, read): (&Path, &ReadAt<'_>),
    part: Range<u64>,
    each: &mut dyn FnMut(Entry) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut window = Window { path, read, end: part.end, start: 0, bytes: Vec::new() };
    let (mut at, mut long) = (part.start, Long::default());
    loop {
        let Some(header) = window.block(at)? else {
            return Err(damaged(path, "it ends before the mark of its end"));
        };
        if header.iter().all(|&byte| byte == 0) {
            return Ok(());
        }
        let wrong = |what: &str| damaged(path, format!("{what} at byte {at}"));
        if !checks(&header) {
            return Err(wrong("a damaged header"));
        }
        let len = match long.len.take().filter(|_| is_file(header[156])) {
            Some(len) => len,
            None => number(&header[124..136]).ok_or_else(|| wrong("a damaged length"))?,
        };
        let start = at + BLOCK;
        let next = start.checked_add(len).and_then(|end| end.checked_next_multiple_of(BLOCK));
        let next = next.filter(|_| len <= part.end.saturating_sub(start));
        let next = next.ok_or_else(|| wrong("a file that is longer than the archive"))?;
        match header[156] {
            kind @ (b'L' | b'x') => {
                if len > LONGEST {
                    return Err(wrong("a name of more than 4096 bytes"));
                }
                let bytes = window.read(start, len)?;
                long.take(kind, &bytes).ok_or_else(|| wrong("a damaged name"))?;
            }
            kind if is_file(kind) => {
                let name = long.name.take().unwrap_or_else(|| short_name(&header));
                let crc = text(&header[OWNER]).strip_prefix(CRC).map(str::to_owned);
                let crc = crc.and_then(|crc| u32::from_str_radix(&crc, 16).ok());
                each(Entry { name, start, len, crc })?;
            }
            kind => {
                let name = long.name.take().unwrap_or_else(|| short_name(&header));
                // Unpacked, it would be an image.
                if matches!(kind, b'1' | b'2') && has_image_extension(Path::new(&name)) {
                    let why = "is a link, which `tar --dereference --hard-dereference` follows";
                    return Err(damaged(path, format!("{name} {why}")));
                }
                long = Long::default();
            }
        }
        at = next;
    }
}

/// The blocks of an archive, some of them in memory.
struct Window<'a> {
    path: &'a Path,
    read: &'a ReadAt<'a>,
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The block at this byte; None where the archive ends before its end.
    fn block(&mut self, at: u64) -> Result<Option<[u8; BLOCK as usize]>, DataError> {
        let of_window = |window: &Self| {
            let from = usize::try_from(at.checked_sub(window.start)?).ok()?;
            window.bytes.get(from..)?.first_chunk().copied()
        };
        if let Some(block) = of_window(self) {
            return Ok(Some(block));
        }
        let most = WINDOW.min(self.end.saturating_sub(at));
        if most < BLOCK {
            return Ok(None);
        }
        self.bytes = self.read(at, most)?;
        self.start = at;
        Ok(of_window(self))
    }

    /// So many bytes, which the archive has.
    fn read(&self, at: u64, len: u64) -> Result<Vec<u8>, DataError> {
        let failed = |source| DataError::Io { path: self.path.to_owned(), source };
        (self.read)(at, len).map_err(failed)
    }
}

/// What is said of the next file ahead of it.
#[derive(Default)]
struct Long {
    name: Option<String>,
    len: Option<u64>,
}

impl Long {
    /// Reads GNU's long name (`L`), or POSIX's records `LENGTH KEY=VALUE\n` (`x`).
    fn take(&mut self, kind: u8, bytes: &[u8]) -> Option<()> {
        if kind == b'L' {
            self.name = Some(text(bytes));
            return Some(());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let space = rest.iter().position(|&byte| byte == b' ')?;
            let len: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
            let record = rest.get(space + 1..len)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|&byte| byte == b'=')?;
            let value = text(&record[equals + 1..]);
            match &record[..equals] {
                b"path" => self.name = Some(value),
                b"size" => self.len = Some(value.parse().ok()?),
                _ => {}
            }
            rest = &rest[len..];
        }
        Some(())
    }
}

fn is_file(kind: u8) -> bool {
    matches!(kind, b'0' | 0 | b'7')
}

/// The text before the first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn short_name(header: &[u8]) -> String {
    let name = text(&header[..100]);
    match text(&header[345..500]) {
        prefix if header[257..263] == *b"ustar\0" && !prefix.is_empty() => {
            format!("{prefix}/{name}")
        }
        _ => name,
    }
}

/// A number in octal digits, or in GNU's binary form.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] == 0x80 {
        let (high, low) = field.split_at(field.len() - 8);
        let small = high[1..].iter().all(|&byte| byte == 0);
        return low.first_chunk().filter(|_| small).map(|low| u64::from_be_bytes(*low));
    }
    let text = text(field);
    let digits = text.trim_matches(' ');
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

/// The sum of a header's bytes, those of the sum itself counted as spaces.
fn sum(header: &[u8]) -> u64 {
    let byte =
        |(at, &byte): (usize, &u8)| u64::from(if (148..156).contains(&at) { b' ' } else { byte });
    header.iter().enumerate().map(byte).sum()
}

fn checks(header: &[u8]) -> bool {
    number(&header[148..156]) == Some(sum(header))
}

/// The header, and what stands before it, of a file of this name and length with these bytes' CRC-32. After it come the bytes,
/// filled up with [`padding`]. None for a name that is empty or of more than 4096 bytes.
pub fn header(name: &str, len: u64, crc: u32) -> Option<Vec<u8>> {
    if name.is_empty() || name.len() as u64 > LONGEST - 20 {
        return None;
    }
    let mut out = Vec::new();
    if name.len() > 100 {
        // The record's length counts its own digits.
        let rest = " path=\n".len() + name.len();
        let digits = (1..).find(|digits| (rest + digits).to_string().len() == *digits)?;
        let record = format!("{} path={name}\n", rest + digits);
        out.extend(block("pax", record.len() as u64, b'x', ""));
        out.extend(record.as_bytes());
        out.resize(out.len() + padding(record.len() as u64), 0);
    }
    let short: String = name
        .chars()
        .rev()
        .scan(0, |len, c| {
            *len += c.len_utf8();
            (*len <= 100).then_some(c)
        })
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    out.extend(block(&short, len, b'0', &format!("{CRC}{crc:08x}")));
    Some(out)
}

fn block(name: &str, len: u64, kind: u8, owner: &str) -> [u8; BLOCK as usize] {
    let mut header = [0; BLOCK as usize];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    // Eleven octal digits hold 8 GiB.
    let digits = format!("{len:011o}");
    put(124, if digits.len() == 11 { &digits } else { "" });
    put(136, "00000000000");
    put(257, "ustar\0");
    put(263, "00");
    put(OWNER.start, owner);
    if digits.len() > 11 {
        header[124] = 0x80;
        header[128..136].copy_from_slice(&len.to_be_bytes());
    }
    header[156] = kind;
    let sum = format!("{:06o}\0 ", sum(&header));
    header[148..156].copy_from_slice(sum.as_bytes());
    header
}

/// The checksum that [`header`] takes.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Zeros that follow a file of this length.
pub fn padding(len: u64) -> usize {
    (len.next_multiple_of(BLOCK) - len) as usize
}

/// What follows the last file.
pub const END: [u8; 2 * BLOCK as usize] = [0; 2 * BLOCK as usize];

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(bytes: &[u8]) -> Result<Vec<(String, u64, Option<u32>)>, String> {
        let read = |start: u64, len: u64| Ok(bytes[start as usize..][..len as usize].to_vec());
        let mut found = Vec::new();
        let part = 0..bytes.len() as u64;
        let scanned = scan((Path::new("a.tar"), &read), part, &mut |entry| {
            let end = entry.start + entry.len;
            assert!(end <= bytes.len() as u64);
            found.push((entry.name, entry.len, entry.crc));
            Ok(())
        });
        scanned.map(|()| found).map_err(|error| error.to_string())
    }

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, bytes) in files {
            out.extend(header(name, bytes.len() as u64, 7).unwrap());
            out.extend_from_slice(bytes);
            out.resize(out.len() + padding(bytes.len() as u64), 0);
        }
        out.extend(END);
        out
    }

    #[test]
    fn what_is_written_is_read() {
        let long = format!("train/{}/ü.jpg", "n".repeat(150));
        let bytes = archive(&[("a/b.jpg", b"123"), (&long, &[0; 512]), ("c", b"")]);
        let found = listed(&bytes).unwrap();
        let expected = [("a/b.jpg", 3), (&long, 512), ("c", 0)];
        assert_eq!(found, expected.map(|(name, len)| (name.to_owned(), len, Some(7))));
        assert_eq!(number(&block("x", 1 << 40, b'0', "")[124..136]), Some(1 << 40));
        assert!(header("", 0, 0).is_none() && header(&"x".repeat(5000), 0, 0).is_none());
    }

    #[test]
    fn images_that_are_links_are_named() {
        let link = |name: &str, kind| {
            let archive = [block(name, 0, kind, "").as_slice(), &[0; 2 * BLOCK as usize]].concat();
            listed(&archive)
        };
        for kind in [b'1', b'2'] {
            assert!(link("a/b.jpg", kind).unwrap_err().contains("a/b.jpg is a link"));
            assert_eq!(link("a/readme", kind), Ok(Vec::new()));
        }
        assert_eq!(link("a.jpg", b'5'), Ok(Vec::new()));
    }

    /// No flip of a header's bit goes unnoticed, no cut, and none makes it read beyond the file.
    #[test]
    fn every_flipped_bit_of_a_header_and_every_cut_is_an_error() {
        let bytes = archive(&[("a/b.jpg", b"123"), ("c", &[5; 600])]);
        // The last byte of the sum's field means nothing.
        for bit in (0..512 * 8).filter(|bit| bit / 8 != 155) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match listed(&flipped) {
                Err(error) => assert!(error.contains("download it again"), "bit {bit}: {error}"),
                // A zero in front of a number may be a space.
                Ok(found) => assert_eq!(Ok(found), listed(&bytes), "bit {bit}"),
            }
        }
        for len in (0..bytes.len() - 1024).step_by(64) {
            let error = listed(&bytes[..len]).unwrap_err();
            assert!(error.contains("ends before") || error.contains("longer"), "{len}: {error}");
        }
    }

    #[test]
    fn claims_beyond_the_file_are_refused() {
        let mut bytes = block("a", u64::MAX - 600, b'0', "").to_vec();
        bytes.extend([0; 2048]);
        assert!(listed(&bytes).unwrap_err().contains("longer than the archive"));
        let mut bytes = block("a", 1 << 20, b'L', "").to_vec();
        bytes.resize(2 << 20, 0);
        assert!(listed(&bytes).unwrap_err().contains("4096"));
        for record in ["9999 path=x\n", "x path=y\n", "7 size=", "12 size=moo\n", "3 a"] {
            let mut bytes = block("a", record.len() as u64, b'x', "").to_vec();
            bytes.extend(record.as_bytes());
            bytes.resize(4096, 0);
            assert!(listed(&bytes).unwrap_err().contains("damaged name"), "{record}");
        }
    }
}
