//! Checkpoints of every PyTorch there was, and the hostile ones among them that are large or make much work.

use std::collections::BTreeMap;
use top5_formats::{FormatError, detect, read_weights, torch};
use top5_graph::{Tensor, Weights};
use top5_testkit::files::Stored;
use top5_testkit::files::torch::{
    Around, Container, checkpoint, int, pickle, tar, text, tuple, zip,
};
use top5_testkit::fill::integers;

fn weights() -> Weights {
    let shapes: [(&str, &[usize]); 4] =
        [("conv1.weight", &[2, 3, 2, 2]), ("fc.weight", &[3, 5]), ("fc.bias", &[3]), ("n", &[])];
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let values = integers(name, shape.iter().product());
            let values = values.into_iter().map(|value| value / 8.0).collect();
            (name.to_owned(), Tensor::new(shape, values).unwrap())
        })
        .collect()
}

fn prefixed(weights: &Weights, prefix: &str) -> Weights {
    weights.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
}

#[test]
fn every_container_type_and_wrapping_is_read() {
    let weights = weights();
    for container in Container::ALL {
        for stored in Stored::ALL {
            for (around, prefix) in [(Around::Nothing, ""), (Around::Training, "module.")] {
                let bytes = checkpoint(&weights, stored, container, around);
                let read = torch::read(&bytes);
                let case = format!("{container:?} {stored:?} {around:?}");
                assert_eq!(read.as_ref(), Ok(&prefixed(&weights, prefix)), "{case}");
                assert_eq!(read_weights(&bytes).unwrap().weights, read.unwrap(), "{case}");
            }
        }
    }
}

/// Whether a file is refused as a damaged or foreign PyTorch checkpoint.
fn is_refused<T>(read: &Result<T, FormatError>) -> bool {
    matches!(read, Err(FormatError::Malformed { format, .. } | FormatError::Refused { format, .. }) if format.contains("PyTorch"))
}

#[test]
fn every_prefix_of_every_container_is_an_error() {
    for container in Container::ALL {
        let bytes = checkpoint(&weights(), Stored::F32, container, Around::Training);
        // An archive's padding and second block of zeros carry nothing.
        let end = if container == Container::Tar { bytes.len() - 1023 } else { bytes.len() };
        for end in 0..end {
            assert!(is_refused(&torch::read(&bytes[..end])), "{container:?} cut at {end}");
        }
    }
}

type Members = BTreeMap<String, Vec<u8>>;

/// The members of a tar checkpoint.
fn members(bytes: &[u8]) -> Members {
    let mut members = BTreeMap::new();
    let mut rest = bytes;
    while rest[0] != 0 {
        let text = |range: std::ops::Range<usize>| {
            str::from_utf8(&rest[range]).unwrap().trim_matches('\0').to_owned()
        };
        let size = usize::from_str_radix(&text(124..136), 8).unwrap();
        members.insert(text(0..100), rest[512..512 + size].to_vec());
        rest = &rest[512 + size.next_multiple_of(512)..];
    }
    members
}

#[test]
fn hostile_tar_archives_are_refused() {
    let good = checkpoint(&weights(), Stored::F32, Container::Tar, Around::Nothing);
    let parts = members(&good);
    let build = |change: &dyn Fn(&mut Members)| {
        let mut parts = parts.clone();
        change(&mut parts);
        let order = ["sys_info", "pickle", "tensors", "storages"];
        let members: Vec<(&str, &[u8])> =
            order.iter().filter_map(|&name| Some((name, parts.get(name)?.as_slice()))).collect();
        tar(&members)
    };
    assert_eq!(torch::read(&build(&|_| ())), Ok(weights()));
    let replace = |name: &'static str, from: &'static [u8], to: &'static [u8]| {
        build(&|parts| {
            let part = parts.get_mut(name).unwrap();
            let at = part.windows(from.len()).position(|window| window == from).unwrap();
            part.splice(at..at + from.len(), to.iter().copied());
        })
    };
    let with = |name: &'static str, value: &[u8]| {
        build(&|parts| drop(parts.insert(name.into(), value.to_vec())))
    };
    let mut sum = good;
    // In the mode: by its name it is still a checkpoint.
    sum[106] ^= 1;
    for (case, bytes) in [
        ("no storages", build(&|parts| drop(parts.remove("storages")))),
        ("no tensors", build(&|parts| drop(parts.remove("tensors")))),
        ("no pickle", build(&|parts| drop(parts.remove("pickle")))),
        ("twice", tar(&[("pickle", b"N."), ("pickle", b"N.")])),
        ("checksum", sum),
        ("code", replace("pickle", b"ccollections\nOrderedDict\n", b"cos\nsystem\n")),
        ("code in storages", replace("storages", b"ctorch\nFloatStorage\n", b"cposix\nsystem\n")),
        ("code in tensors", replace("tensors", b"ctorch\nFloatTensor\n", b"cos\nsystem\n")),
        ("bytes", replace("storages", b"FloatStorage", b"ByteStorage")),
        ("doubles", replace("storages", b"FloatStorage", b"DoubleStorage")),
        ("many storages", with("storages", &pickle(&int(1 << 20)))),
        ("more storages", with("storages", &pickle(&int(1000)))),
        ("no count", with("storages", &pickle(&text("one")))),
        ("more tensors", with("tensors", &pickle(&int(1000)))),
        ("rank", replace("tensors", b".\x04\0\0\0\0\0\0\0", b".\xff\xff\xff\xff\0\0\0\0")),
        (
            "negative size",
            replace("tensors", b"\x03\0\0\0\0\0\0\0\x05", b"\xff\xff\xff\xff\xff\xff\xff\xff\x05"),
        ),
        ("huge size", replace("tensors", b"\x03\0\0\0\0\0\0\0\x05", b"\x03\0\0\0\xff\0\0\0\x05")),
    ] {
        let read = read_weights(&bytes);
        assert!(is_refused(&read), "{case}: {read:?}");
    }
    assert!(detect(&tar(&[("photo.jpg", b"x")])).unwrap_err().to_string().contains("unpack"));
}

/// A zip checkpoint with this pickle and one storage of six floats.
fn zipped(value: &[u8]) -> Vec<u8> {
    zip(&[("a/data.pkl".into(), pickle(value)), ("a/data/0".into(), vec![0; 24])])
}

#[test]
fn containers_that_are_filled_again_and_again_are_refused() {
    let pair = tuple(&[text("a"), int(1)]);
    let list = [b"](".to_vec(), pair.repeat(20_000), b"eq\x00".to_vec()].concat();
    // Each call copies the whole list: a quadratic bomb.
    let copies = b"ccollections\nOrderedDict\nh\x00\x85R0".repeat(20_000);
    let appended = [b"(".to_vec(), vec![b'N'; 100_000], b"e".to_vec()].concat();
    let pairs = [b"(".to_vec(), b"K\x01N".repeat(100_000), b"u".to_vec()].concat();
    let tuples = [b"(".to_vec(), vec![b'N'; 100_000], b"t0".to_vec()].concat();
    for (case, value) in [
        ("copies of a list", [list, copies].concat()),
        ("a list", [b"]".to_vec(), appended.repeat(50)].concat()),
        ("a dict", [b"}".to_vec(), pairs.repeat(50)].concat()),
        ("tuples", tuples.repeat(50)),
    ] {
        let error = torch::read(&zipped(&value)).unwrap_err().to_string();
        assert!(
            error.contains("holds more than") || error.contains("builds more than"),
            "{case}: {error}"
        );
    }
    let nested = [vec![b']'; 200_000], vec![b'a'; 199_999]].concat();
    assert!(is_refused(&torch::read(&zipped(&nested))));
}

#[test]
fn zip_entries_that_overlap_are_refused() {
    let inner = zip(&[("a/data/1".into(), vec![0; 4000])]);
    let entries = [("a/data.pkl".into(), pickle(b"}")), ("a/data/0".into(), inner.clone())];
    let outer = zip(&entries);
    let find = |bytes: &[u8], what: &[u8]| {
        bytes.windows(what.len()).rposition(|window| window == what).unwrap()
    };
    let start = outer.windows(inner.len()).position(|window| window == inner).unwrap();
    let mut record = inner[find(&inner, b"PK\x01\x02")..inner.len() - 22].to_vec();
    record[42..46].copy_from_slice(&(start as u32).to_le_bytes());
    // The directory gets a third record, for the entry inside the second one.
    let end = outer.len() - 22;
    let mut bytes = [&outer[..end], &record, &outer[end..]].concat();
    let end = bytes.len() - 22;
    (bytes[end + 8], bytes[end + 10]) = (3, 3);
    let error = torch::read(&bytes).unwrap_err().to_string();
    assert!(error.contains("overlap"), "{error}");
}
