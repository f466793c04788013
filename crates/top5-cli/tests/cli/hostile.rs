//! Hostile files of weights under limits that the system enforces: a program that took more memory than the file's size
//! allows, or worked on it without end, would be ended by a signal and not by exit code 3.

use std::collections::BTreeMap;
use std::fs;

use top5::formats::safetensors;
use top5::graph::{Tensor, Weights};
use top5_testkit::files::caffe::field;
use top5_testkit::files::torch::{int, pickle, text, tuple, zip};

use crate::program::Place;

/// KiB of address space that the program takes before it reads a file, with room to spare.
const PROGRAM: usize = 32 << 10;
/// KiB that a reader may take beside twice the file's size.
const READER: usize = 16 << 10;
/// KiB for the machine that reads pickles, whose limits are on objects and not on bytes.
const PICKLE: usize = 128 << 10;

fn header(json: &str, data: usize) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes(), json.as_bytes(), &vec![0; data]].concat()
}

/// safetensors files, small ones that claim much and large ones that would grow.
fn safetensors_files() -> Vec<(&'static str, Vec<u8>)> {
    let entry = |name: &str, dtype: &str, shape: &str, offsets: &str| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
    };
    let one = |dtype, shape, offsets| format!("{{{}}}", entry("a", dtype, shape, offsets));
    let crowd = |count: usize, item: &dyn Fn(usize) -> String| {
        (0..count).map(item).collect::<Vec<_>>().join(",")
    };
    let tebi = "[1099511627776]";
    let ones = format!("[{}]", crowd(4_000_000, &|_| "1".to_owned()));
    let tensors = crowd(1_000_000, &|i| entry(&i.to_string(), "F32", "[0]", "[0,0]"));
    let texts = crowd(1_000_000, &|i| format!(r#""{i}":"""#));
    let classes = format!(r#""top5.classes":"[{}0]""#, r#"\"\","#.repeat(2_000_000));
    vec![
        ("claims-4-TiB", header(&one("F32", tebi, "[0,4398046511104]"), 16)),
        ("claims-2^64", header(&one("F32", "[4294967296,4294967296]", "[0,16]"), 16)),
        ("claims-the-rest", header(&one("F64", tebi, "[0,18446744073709551615]"), 16)),
        ("header-of-100-MB", [&99_999_999u64.to_le_bytes(), b"{}".as_slice()].concat()),
        ("many-dimensions", header(&one("F32", &ones, "[0,4]"), 4)),
        ("million-tensors", header(&format!("{{{tensors}}}"), 0)),
        ("million-metadata", header(&format!(r#"{{"__metadata__":{{{texts}}}}}"#), 0)),
        ("million-classes", header(&format!(r#"{{"__metadata__":{{{classes}}}}}"#), 0)),
        ("nested", header(&format!(r#"{{"a":{}"#, "[".repeat(4_000_000)), 0)),
        (
            "long-name",
            header(&format!("{{{}}}", entry(&"n".repeat(8 << 20), "F32", "[]", "[0,4]")), 4),
        ),
    ]
}

/// A zip checkpoint of this pickle with one storage of six floats.
fn zipped(value: &[u8]) -> Vec<u8> {
    zip(&[("a/data.pkl".into(), pickle(value)), ("a/data/0".into(), vec![0; 24])])
}

/// A state dict with one tensor of this shape, strides and claimed length of its storage.
fn expanded(shape: i64, stride: i64, len: i64) -> Vec<u8> {
    let storage =
        [text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu"), int(len)];
    let storage = [tuple(&storage), b"Q".to_vec()].concat();
    let (shape, stride) = (tuple(&[int(shape), int(shape)]), tuple(&[int(stride), int(stride)]));
    let arguments = tuple(&[storage, int(0), shape, stride, b"N".to_vec(), b"N".to_vec()]);
    let tensor = [b"ctorch._utils\n_rebuild_tensor_v2\n", arguments.as_slice(), b"R"].concat();
    zipped(&[b"}".to_vec(), text("a"), tensor, b"s".to_vec()].concat())
}

fn pickles() -> Vec<(&'static str, Vec<u8>)> {
    let list =
        [b"](".to_vec(), tuple(&[text("a"), int(1)]).repeat(20_000), b"eq\x00".to_vec()].concat();
    let copies = b"ccollections\nOrderedDict\nh\x00\x85R0".repeat(20_000);
    let appended = [b"(".to_vec(), vec![b'N'; 200_000], b"e".to_vec()].concat();
    vec![
        ("quadratic", zipped(&[list, copies].concat())),
        ("long-list", zipped(&[b"]".to_vec(), appended.repeat(40)].concat())),
        ("nested-lists", zipped(&[vec![b']'; 1_000_000], vec![b'a'; 999_999]].concat())),
        ("marks", zipped(&vec![b'('; 8_000_000])),
        ("text-of-4-GiB", zipped(b"X\xff\xff\xff\xff")),
        ("text-of-2^63", zipped(b"\x8d\0\0\0\0\0\0\0\x80")),
        ("expanded-to-10-TiB", expanded(1 << 21, 0, 6)),
        ("storage-of-10-TiB", expanded(1 << 20, 1, 1 << 41)),
    ]
}

fn caffe_files() -> Vec<(&'static str, Vec<u8>)> {
    let layer = |blob: &[u8]| {
        field(100, &[field(1, b"a"), field(2, b"Convolution"), field(7, blob)].concat())
    };
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let old: Vec<u8> = (1..=4).flat_map(|i| [&[i << 3], huge.as_slice()].concat()).collect();
    let v0 = field(2, &field(1, &field(50, &field(5, &[0; 16]))));
    // Each message inside the one before: a reader that recursed would leave the stack.
    let nested = (0..2_000).fold(Vec::new(), |inner, _| field(100, &inner));
    vec![
        ("huge-blob", layer(&[field(7, &field(1, &huge)), field(5, &[0; 16])].concat())),
        ("huge-old-blob", layer(&[old, field(5, &[0; 16])].concat())),
        ("length-of-2-GiB", b"\x0a\x03net\xa2\x06\xff\xff\xff\xff\x07abc".to_vec()),
        ("v0", v0),
        ("nested", [field(1, b"net"), nested].concat()),
        ("many-layers", [field(1, b"net"), layer(&field(7, &[])).repeat(400_000)].concat()),
    ]
}

#[cfg(target_os = "linux")]
#[test]
fn hostile_files_take_no_more_memory_than_their_size_allows() {
    let place = Place::new();
    let files = [
        ("safetensors", READER, safetensors_files()),
        ("pth", PICKLE, pickles()),
        ("caffemodel", READER, caffe_files()),
    ];
    for (extension, room, files) in files {
        for (name, bytes) in files {
            let file = format!("{name}.{extension}");
            fs::write(place.path(&file), &bytes).unwrap();
            let limit = PROGRAM + room + 2 * bytes.len() / 1024;
            let line = format!("convert resnet20_cifar out.safetensors --weights {file}");
            let ran = place.run_within(&line, limit);
            assert_eq!(ran.code, Some(3), "{file} in {limit} KiB: {ran:?}");
            assert!(
                ran.stderr.contains("error: ") && ran.stderr.contains(&file),
                "{file}: {ran:?}"
            );
            assert!(ran.stderr.len() < 4096, "{file}: a message of {} bytes", ran.stderr.len());
            fs::remove_file(place.path(&file)).unwrap();
        }
    }
    assert!(!place.path("out.safetensors").exists());
}

/// The same limits let a good file through: it is what they are compared with.
#[cfg(target_os = "linux")]
#[test]
fn good_files_are_read_within_the_same_limits() {
    let place = Place::new();
    place.text("convert resnet20_cifar good.safetensors --init 1");
    let size = fs::metadata(place.path("good.safetensors")).unwrap().len() as usize;
    let line = "convert resnet20_cifar out.safetensors --weights good.safetensors";
    let ran = place.run_within(line, PROGRAM + READER + 2 * size / 1024);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // And a limit that is too small ends the program otherwise than with code 3.
    let large: Weights = [("a".to_owned(), Tensor::zeros([16 << 20]))].into_iter().collect();
    fs::write(place.path("large.safetensors"), safetensors::write(&large, &BTreeMap::new()))
        .unwrap();
    let ran = place
        .run_within("convert resnet20_cifar o.safetensors --weights large.safetensors", PROGRAM);
    assert_ne!(ran.code, Some(3), "{ran:?}");
}

#[cfg(unix)]
#[test]
fn devices_and_pipes_are_no_weights() {
    let place = Place::new();
    for file in ["/dev/zero", "/dev/null"] {
        place.fails(
            &format!("convert resnet20_cifar o.safetensors --weights {file}"),
            4,
            &["regular", file],
        );
    }
}
