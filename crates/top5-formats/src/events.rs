//! Event files, as TensorBoard reads them: scalars by tag and step.
//!
//! A file is a row of records, each a length, its checksum, an `Event` in protocol buffers' form and its checksum. The
//! checksums are CRC-32C (Castagnoli), turned and moved as TensorFlow's `record_writer.h` says. Fields are those of
//! `tensorboard/compat/proto/event.proto` and `summary.proto`.

use crate::protobuf::{Fields, Message, Value};

/// What the first record must say.
const VERSION: &str = "brain.Event:2";
/// `SessionLog.START`.
const START: i64 = 1;
/// Bytes of a record beside its event: length, checksum, checksum.
const FRAME: usize = 16;

/// The record with which a file begins.
pub fn opening(time: f64) -> Vec<u8> {
    record(Message::new().double(1, time).text(3, VERSION))
}

/// The record after which a run goes on at `step`: readers forget what they know of it and of later ones. Times are seconds
/// since 1970.
pub fn restart(time: f64, step: usize) -> Vec<u8> {
    let log = Message::new().int(1, START);
    record(Message::new().double(1, time).int(2, step as i64).message(7, &log))
}

/// A record of values at a step, by tag.
pub fn scalars(time: f64, step: usize, values: &[(&str, f64)]) -> Vec<u8> {
    let value = |summary: Message, &(tag, value): &(&str, f64)| {
        summary.message(1, &Message::new().text(1, tag).float(2, value as f32))
    };
    let summary = values.iter().fold(Message::new(), value);
    record(Message::new().double(1, time).int(2, step as i64).message(5, &summary))
}

/// How many bytes of a file stay where a run goes on after `step`: whole records up to the first that is of a later step, cut
/// off or damaged.
pub fn until(bytes: &[u8], step: usize) -> usize {
    let mut kept = 0;
    let is_within = |event: &&[u8]| step_of(event).is_some_and(|of| of <= step as u64);
    while let Some(event) = next(&bytes[kept..]).filter(is_within) {
        kept += event.len() + FRAME;
    }
    kept
}

/// The event of the first record, if it is whole.
fn next(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let (event, rest) =
        rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (of_event, _) = rest.split_first_chunk::<4>()?;
    (masked(length) == *checksum && masked(event) == *of_event).then_some(event)
}

/// An event's step; 0 where it names none.
fn step_of(event: &[u8]) -> Option<u64> {
    let (mut fields, mut step) = (Fields::new("event file", event), 0);
    while let Some(field) = fields.next().ok()? {
        if let (2, Value::Varint(value)) = field {
            step = value;
        }
    }
    Some(step)
}

fn record(event: Message) -> Vec<u8> {
    let event = event.into_bytes();
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &masked(&length)[..], &event[..], &masked(&event)[..]].concat()
}

/// The checksum as records hold it.
fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// CRC-32C of RFC 3720.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    !bytes.iter().fold(!0, |crc, &byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of RFC 3720, B.4, and of the usual check word.
    #[test]
    fn checksums_are_castagnolis() {
        for (bytes, crc) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&std::array::from_fn::<u8, 32, _>(|i| i as u8), 0x46dd_794e),
            (b"123456789", 0xe306_9283),
        ] {
            assert_eq!(crc32c(bytes), crc, "{bytes:?}");
        }
    }

    /// The first record as TensorFlow writes it, but for the time.
    #[test]
    fn opening_is_tensorflows() {
        let record = opening(0.0);
        assert_eq!(record.len(), 40);
        assert_eq!(record[..8], 24_u64.to_le_bytes());
        // The checksum of a length of 24, as every file of TensorFlow begins.
        assert_eq!(record[8..12], [0xa3, 0x7f, 0x4b, 0x22]);
        assert_eq!(record[21..36], *b"\x1a\x0dbrain.Event:2");
    }

    #[test]
    fn files_are_cut_between_records() {
        let records = [
            opening(1.0),
            scalars(1.0, 1, &[("loss", 2.0), ("lr", 0.1)]),
            scalars(2.0, 2, &[("loss", 1.0)]),
            restart(3.0, 3),
            scalars(3.0, 300, &[("loss", f64::NAN)]),
        ];
        let bytes = records.concat();
        let ends: Vec<usize> = (0..=5).map(|n| records[..n].concat().len()).collect();
        for (step, whole) in [(0, 1), (1, 2), (2, 3), (3, 4), (299, 4), (300, 5)] {
            assert_eq!(until(&bytes, step), ends[whole], "{step}");
        }
        for cut in 0..bytes.len() {
            let whole = ends.iter().rposition(|&end| end <= cut).unwrap();
            assert_eq!(until(&bytes[..cut], 300), ends[whole], "{cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            let whole = ends.iter().rposition(|&end| end <= at).unwrap();
            assert_eq!(until(&damaged, 300), ends[whole], "{at}");
        }
        assert_eq!(until(&[0xff; 64], 9), 0);
    }
}
