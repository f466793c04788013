//! Hand-assembled checkpoints, hostile ones, and a published one.

use super::*;
use crc32fast::hash as crc32;
use std::path::PathBuf;

/// A pickle of protocol 2 around `body`.
fn pickle(body: &[&[u8]]) -> Vec<u8> {
    [b"\x80\x02".as_slice(), &body.concat(), b"."].concat()
}

fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn int(value: i32) -> Vec<u8> {
    [b"J".as_slice(), &value.to_le_bytes()].concat()
}

fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(".as_slice(), &items.concat(), b"t"].concat()
}

fn ints(values: &[i32]) -> Vec<u8> {
    tuple(&values.iter().map(|&value| int(value)).collect::<Vec<_>>())
}

fn storage(kind: &str, key: &str, len: i32) -> Vec<u8> {
    let kind = format!("ctorch\n{kind}\n").into_bytes();
    [tuple(&[text("storage"), kind, text(key), text("cpu"), int(len)]), b"Q".to_vec()].concat()
}

fn tensor(storage: &[u8], offset: i32, shape: &[i32], stride: &[i32]) -> Vec<u8> {
    tensor_with(storage, offset, [shape, stride], &[])
}

/// The same with more arguments.
fn tensor_with(storage: &[u8], offset: i32, layout: [&[i32]; 2], more: &[Vec<u8>]) -> Vec<u8> {
    let hooks = b"ccollections\nOrderedDict\n)R".to_vec();
    let [shape, stride] = layout.map(ints);
    let plain = [storage.to_vec(), int(offset), shape, stride, b"\x89".to_vec(), hooks];
    let arguments = tuple(&[&plain, more].concat());
    [b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec(), arguments, b"R".to_vec()].concat()
}

/// An OrderedDict with its `_metadata` attribute, as `state_dict()` makes it.
fn dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<u8> =
        items.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    let metadata = [b"}".to_vec(), text("_metadata"), b"}sb".to_vec()].concat();
    [b"ccollections\nOrderedDict\n)R(".to_vec(), items, b"u".to_vec(), metadata].concat()
}

/// A zip archive of stored entries; `wide` writes the 64-bit directory.
fn archive(entries: &[(&str, &[u8])], wide: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for (name, data) in entries {
        let local = bytes.len() as u32;
        let sizes = [crc32(data), data.len() as u32, data.len() as u32].map(u32::to_le_bytes);
        let lengths = [name.len() as u16, 0].map(u16::to_le_bytes);
        bytes.extend(b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0");
        bytes.extend(sizes.concat());
        bytes.extend(lengths.concat());
        bytes.extend(name.as_bytes());
        bytes.extend(*data);
        directory.extend(b"PK\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0");
        if wide {
            directory.extend(crc32(data).to_le_bytes());
            directory.extend([0xff; 8]);
            directory.extend((name.len() as u16).to_le_bytes());
            directory.extend(28u16.to_le_bytes());
            directory.extend([0; 10]);
            directory.extend([0xff; 4]);
            directory.extend(name.as_bytes());
            directory.extend([1, 0, 24, 0]);
            let fields = [data.len() as u64, data.len() as u64, u64::from(local)];
            directory.extend(fields.map(u64::to_le_bytes).concat());
        } else {
            directory.extend(sizes.concat());
            directory.extend(lengths.concat());
            directory.extend([0; 10]);
            directory.extend(local.to_le_bytes());
            directory.extend(name.as_bytes());
        }
    }
    let (start, size) = (bytes.len(), directory.len());
    bytes.extend(directory);
    if wide {
        let end = bytes.len() as u64;
        bytes.extend(b"PK\x06\x06");
        bytes.extend([0; 20]);
        let count = entries.len() as u64;
        bytes.extend([count, count, size as u64, start as u64].map(u64::to_le_bytes).concat());
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend(end.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend([0xff; 12]);
    } else {
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend([entries.len() as u16; 2].map(u16::to_le_bytes).concat());
        bytes.extend([size as u32, start as u32].map(u32::to_le_bytes).concat());
    }
    bytes.extend([0, 0]);
    bytes
}

fn zipped(content: &[u8]) -> Vec<u8> {
    let six: Vec<u8> = (1..=6u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    archive(&[("m/data.pkl", content), ("m/byteorder", b"little"), ("m/data/0", &six)], false)
}

/// A state dict with one matrix, stored transposed, and one slice.
fn small() -> Vec<u8> {
    let six = storage("FloatStorage", "0", 6);
    pickle(&[&dict(&[
        ("a.weight", tensor(&six, 0, &[3, 2], &[1, 3])),
        ("a.bias", tensor(&six, 4, &[2], &[1])),
        ("steps", int(7)),
    ])])
}

/// Whether a file is refused as a damaged or foreign PyTorch checkpoint.
fn is_refused<T>(read: &Result<T, FormatError>) -> bool {
    matches!(read, Err(FormatError::Malformed { format, .. } | FormatError::Refused { format, .. }) if format.contains("PyTorch"))
}

#[test]
fn strides_and_offsets_are_honoured() {
    let weights = read(&zipped(&small())).unwrap();
    assert_eq!(weights.len(), 2);
    assert_eq!(weights.tensor("a.weight").unwrap().shape(), [3, 2]);
    assert_eq!(weights.tensor("a.weight").unwrap().data(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(weights.tensor("a.bias").unwrap().data(), [5.0, 6.0]);
}

#[test]
fn views_are_read_whatever_lies_between_their_elements() {
    // (offset, shape, stride): without gaps, gaps after each half, channels last, axes of one element, repeated rows, backwards axes.
    let views: [(i32, &[i32], &[i32]); 7] = [
        (0, &[2, 3, 4], &[12, 4, 1]),
        (1, &[2, 3, 2], &[12, 2, 1]),
        (0, &[2, 3, 2, 2], &[12, 1, 6, 3]),
        (4, &[2, 1, 3, 1], &[5, 77, 1, 99]),
        (2, &[3, 4], &[0, 1]),
        (3, &[2, 3], &[1, 7]),
        (23, &[], &[]),
    ];
    let values: Vec<u8> = (0..24).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let floats = storage("FloatStorage", "0", 24);
    for (offset, shape, stride) in views {
        let state = dict(&[("w", tensor(&floats, offset, shape, stride))]);
        let bytes = archive(
            &[("archive/data.pkl", &pickle(&[&state])), ("archive/data/0", &values)],
            false,
        );
        let mut expected = vec![offset];
        for (&d, &step) in shape.iter().zip(stride) {
            expected = expected.iter().flat_map(|&at| (0..d).map(move |i| at + i * step)).collect();
        }
        let read = read(&bytes).unwrap();
        let expected: Vec<f32> = expected.into_iter().map(|at| at as f32).collect();
        assert_eq!(read.tensor("w").unwrap().data(), expected, "{shape:?} {stride:?}");
    }
}

/// PyTorch writes `{"neg": True}` for a negative that was never computed (`torch._neg_view`).
#[test]
fn tensors_that_are_computed_from_their_storage_are_refused() {
    let floats = storage("FloatStorage", "0", 6);
    for (key, read_as) in [("neg", None), ("other", None), ("conj", Some(6)), ("", Some(6))] {
        let items = [text(key), b"\x88s".to_vec()].concat();
        let metadata = [b"}".to_vec(), if key.is_empty() { Vec::new() } else { items }].concat();
        let state = dict(&[("w", tensor_with(&floats, 0, [&[6], &[1]], &[metadata]))]);
        let entries: [(&str, &[u8]); 2] =
            [("archive/data.pkl", &pickle(&[&state])), ("archive/data/0", &[0; 24])];
        let read = read(&archive(&entries, false));
        assert_eq!(
            read.as_ref().ok().map(|read| read.tensor("w").unwrap().data().len()),
            read_as,
            "{key}"
        );
        if let Err(error) = read {
            assert!(error.to_string().contains("save it as `tensor.clone()`"), "{error}");
        }
    }
}

#[test]
fn the_64_bit_directory_is_read() {
    let data = [0u8; 24];
    let bytes = archive(&[("archive/data.pkl", &small()), ("archive/data/0", &data)], true);
    assert_eq!(read(&bytes).unwrap().len(), 2);
}

#[test]
fn wrapped_state_dicts_and_other_types_are_found() {
    let half = storage("HalfStorage", "1", 1);
    let long = storage("LongStorage", "2", 1);
    let parameter = [
        b"ctorch._utils\n_rebuild_parameter\n".to_vec(),
        tuple(&[tensor(&half, 0, &[1], &[1]), b"\x88".to_vec(), b"}".to_vec()]),
        b"R".to_vec(),
    ]
    .concat();
    let state = dict(&[("w", parameter), ("n", tensor(&long, 0, &[], &[]))]);
    let outer = dict(&[("epoch", int(3)), ("net", state)]);
    let bytes = archive(
        &[
            ("x/data.pkl", &pickle(&[&outer])),
            ("x/data/1", &[0x00, 0x3e]),
            ("x/data/2", &9i64.to_le_bytes()),
        ],
        false,
    );
    let weights = read(&bytes).unwrap();
    assert_eq!(weights.tensor("w").unwrap().data(), [1.5]);
    // Integers are counters, masks or quantised: no weights.
    assert_eq!(weights.len(), 1);
}

/// The published checkpoint, or `None` where the shared folder is not there.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn published() -> Option<(Vec<u8>, serde_json::Value)> {
    let root = std::env::var_os("TOP5_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    if !root.exists() {
        assert!(std::env::var_os("CI").is_none(), "{} is missing", root.display());
        eprintln!("skipped: {} is missing", root.display());
        return None;
    }
    let json = std::fs::read(root.join("reference/forward/resnet20_cifar.json")).unwrap();
    let bytes = std::fs::read(root.join("data/akamaster-resnet20.th")).unwrap();
    Some((bytes, serde_json::from_slice(&json).unwrap()))
}

#[test]
fn a_published_legacy_checkpoint_has_the_names_and_shapes_of_its_network() {
    let Some((bytes, json)) = published() else { return };
    let weights = read(&bytes).unwrap();
    let wanted: BTreeMap<String, Vec<usize>> =
        serde_json::from_value::<Vec<(String, Vec<usize>)>>(json["tensors"].clone())
            .unwrap()
            .into_iter()
            .map(|(name, shape)| (format!("module.{name}"), shape))
            .collect();
    let got: BTreeMap<String, Vec<usize>> =
        weights.iter().map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec())).collect();
    assert_eq!(got, wanted);
    assert!(weights.iter().all(|(_, t)| t.data().iter().all(|v| v.is_finite() && v.abs() < 100.0)));
    let variance = weights.tensor("module.bn1.running_var").unwrap();
    assert!(variance.data().iter().all(|&v| v > 0.0));
    for end in (0..bytes.len()).step_by(997) {
        assert!(is_refused(&read(&bytes[..end])), "cut at {end}");
    }
}

#[test]
fn every_prefix_is_an_error() {
    let bytes = zipped(&small());
    for end in 0..bytes.len() {
        assert!(is_refused(&read(&bytes[..end])), "cut at {end}");
    }
}

#[test]
fn globals_that_could_run_code_are_refused_by_name() {
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("subprocess", "Popen"),
        ("torch", "load"),
        ("numpy.core.multiarray", "fromfile"),
        ("builtins", "getattr"),
        ("argparse", "ArgumentParser"),
        ("pathlib", "Path.home"),
        ("collections", "OrderedDict.fromkeys"),
        ("__torch__.M", "M"),
    ] {
        let full = format!("{module}.{name}");
        let call = [format!("c{module}\n{name}\n").into_bytes(), text("true"), b"\x85R".to_vec()];
        let error = read(&zipped(&pickle(&[&call.concat()]))).unwrap_err().to_string();
        assert!(error.contains(&full), "{error}");
        let stacked = [text(module), text(name), b"\x93)R".to_vec()].concat();
        let error = read(&zipped(&pickle(&[&stacked]))).unwrap_err().to_string();
        assert!(error.contains(&full), "{error}");
    }
}

/// `module.name()` by `NEWOBJ`, with its attributes.
fn new_object(module: &str, name: &str) -> Vec<u8> {
    let attributes =
        [b"}(".to_vec(), text("lr"), b"G?\xb9\x99\x99\x99\x99\x99\x9au".to_vec()].concat();
    [format!("c{module}\n{name}\n)").as_bytes(), b"\x81", &attributes, b"b"].concat()
}

#[test]
fn plain_data_beside_the_weights_are_things_without_content() {
    let six = storage("FloatStorage", "0", 6);
    let call = |module: &str, name: &str, arguments: &[u8]| {
        [format!("c{module}\n{name}\n").as_bytes(), arguments, b"R"].concat()
    };
    let bytes = call("_codecs", "encode", &tuple(&[text("\u{cd}\u{ec}V@"), text("latin1")]));
    let dtype = call("numpy", "dtype", &tuple(&[text("f8"), b"\x89".to_vec(), b"\x88".to_vec()]));
    let dtype =
        [dtype, tuple(&[int(3), text("<"), b"N".to_vec(), int(-1)]), b"b".to_vec()].concat();
    let scalar = call("numpy._core.multiarray", "scalar", &tuple(&[dtype, bytes]));
    let list = call("collections", "defaultdict", &tuple(&[b"cbuiltins\nlist\n".to_vec()]));
    let counted = [list, b"(".to_vec(), text("train"), b"]u".to_vec()].concat();
    let set = call("__builtin__", "set", &tuple(&[b"](K\x01K\x02e".to_vec()]));
    for (case, value) in [
        ("namespace", new_object("argparse", "Namespace")),
        ("path", call("pathlib", "PosixPath", &tuple(&[text("/"), text("data")]))),
        ("defaultdict", counted),
        ("numpy", scalar),
        ("set", set),
        ("set of protocol 4", b"\x8f(K\x01\x90".to_vec()),
        ("long", b"\x8a\x0b\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b".to_vec()),
        ("bytes of Python 2", b"U\x02\xff\xfe".to_vec()),
        ("PyTorch's version", new_object("torch.torch_version", "TorchVersion")),
        (
            "NumPy's generator",
            call(
                "numpy.random._pickle",
                "__generator_ctor",
                &tuple(&[b"cnumpy.random._pcg64\nPCG64\n".to_vec()]),
            ),
        ),
        ("complex numbers", tensor(&storage("ComplexFloatStorage", "0", 3), 0, &[3], &[1])),
        ("Lightning's dict", new_object("pytorch_lightning.utilities.parsing", "AttributeDict")),
        ("script's own", new_object("__main__", "Config")),
        ("script's own in protocol 1", {
            let class = b"c__main__\nConfig\n".to_vec();
            let object = b"c__builtin__\nobject\n".to_vec();
            call("copy_reg", "_reconstructor", &tuple(&[class, object, b"N".to_vec()]))
        }),
        ("function that is not called", b"ctorch.nn.functional\nrelu\n".to_vec()),
    ] {
        let state = dict(&[("w", tensor(&six, 0, &[6], &[1]))]);
        let content = pickle(&[&dict(&[("args", value), ("state_dict", state)])]);
        let weights = read(&zipped(&content)).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(weights.len(), 1, "{case}");
    }
}

#[test]
fn models_that_were_saved_whole_are_named() {
    let whole = new_object("__main__", "Net");
    let six = storage("FloatStorage", "0", 6);
    let moments = dict(&[("optimizer", dict(&[("m.w", tensor(&six, 0, &[6], &[1]))]))]);
    let beside = dict(&[("model", whole.clone()), ("train", moments)]);
    for content in [whole.clone(), dict(&[("model", whole.clone())]), beside] {
        let error = read(&zipped(&pickle(&[&content]))).unwrap_err().to_string();
        assert!(error.contains("`__main__.Net`") && error.contains("state_dict()"), "{error}");
    }
    let state = dict(&[("w", tensor(&six, 0, &[6], &[1]))]);
    let content = pickle(&[&dict(&[("args", whole), ("state_dict", state)])]);
    let loaded = read_with(&zipped(&content), &Pick::Weights).unwrap();
    assert!(loaded.unread[0].contains("`__main__.Net`"), "{:?}", loaded.unread);
}

#[test]
fn tensors_are_found_at_any_depth_and_averages_only_when_asked_for() {
    let six = storage("FloatStorage", "0", 6);
    let one = |at: i32| dict(&[("w", tensor(&six, at, &[1], &[1]))]);
    let both =
        |at: i32| dict(&[("w", tensor(&six, at, &[1], &[1])), ("b", tensor(&six, at, &[1], &[1]))]);
    let list = |items: &[Vec<u8>]| [b"](".to_vec(), items.concat(), b"e".to_vec()].concat();
    let average = || Pick::Average;
    for (case, content, pick, first) in [
        (
            "known key",
            dict(&[("other", both(0)), ("model_state_dict", one(1))]),
            Pick::Weights,
            2.0,
        ),
        ("most tensors", dict(&[("netD", one(0)), ("netG", both(1))]), Pick::Weights, 2.0),
        ("deeper", dict(&[("a", list(&[int(1), dict(&[("b", one(3))])]))]), Pick::Weights, 4.0),
        ("optimiser", dict(&[("optimizer", both(0)), ("x", one(1))]), Pick::Weights, 2.0),
        ("both", dict(&[("state_dict_ema", one(0)), ("state_dict", one(1))]), Pick::Weights, 2.0),
        ("average", dict(&[("model", one(0)), ("model_ema", one(1))]), average(), 2.0),
        ("key", dict(&[("a", one(0)), ("b", one(1))]), Pick::Key("b".to_owned()), 2.0),
        (
            "key in a list",
            dict(&[("models", list(&[one(0), one(1)]))]),
            Pick::Key("models.1".to_owned()),
            2.0,
        ),
        ("beginning", dict(&[("model", one(2))]), Pick::Key("encoder".to_owned()), 3.0),
        ("average alone", dict(&[("ema", one(2))]), Pick::Weights, 3.0),
    ] {
        let Loaded { weights, groups, .. } =
            read_with(&zipped(&pickle(&[&content])), &pick).unwrap();
        assert_eq!(weights.tensor("w").unwrap().data(), [first], "{case}");
        assert_eq!(groups.iter().filter(|group| group.taken).count(), 1, "{case}");
        assert!(groups.iter().all(|group| group.path != "optimizer"), "{case}");
    }
    for (case, content, pick, word) in [
        ("two", dict(&[("netA", one(0)), ("netB", one(1))]), Pick::Weights, "1 tensor in `netB`"),
        ("no average", dict(&[("model", one(0))]), average(), "no average"),
        ("optimiser alone", dict(&[("optimizer", both(0))]), Pick::Weights, "an optimiser keeps"),
        ("expanded", dict(&[("w", tensor(&six, 0, &[9], &[0]))]), Pick::Weights, "tensor.clone()"),
    ] {
        let error = read_with(&zipped(&pickle(&[&content])), &pick).unwrap_err().to_string();
        assert!(error.contains(word), "{case}: {error}");
    }
}

#[test]
fn programs_are_told_from_checkpoints() {
    let bytes = archive(&[("m/constants.pkl", b"N."), ("m/data.pkl", &small())], false);
    let error = read(&bytes).unwrap_err().to_string();
    assert!(error.contains("TorchScript"), "{error}");
}

/// What people take for checkpoints, and what they are told.
#[test]
fn checkpoints_without_weights_are_named() {
    let error = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    for (entry, words) in [
        ("conv1.weight.npy", "a NumPy archive"),
        ("exported/archive_format", "torch.export"),
        ("model.weights.h5", "Keras"),
        ("notes.txt", "not a PyTorch checkpoint"),
    ] {
        let bytes = archive(&[(entry, b"x")], false);
        assert!(error(&bytes).contains(words), "{entry}: {}", error(&bytes));
        // A checkpoint may have an entry that is called so.
        let bytes = archive(&[(entry, b"x"), ("a/data.pkl", &pickle(&[&dict(&[])]))], false);
        assert!(error(&bytes).contains("no tensors in a dict"), "{entry}: {}", error(&bytes));
    }
    let six = storage("FloatStorage", "0", 6);
    let kept = tensor(&six, 0, &[2, 3], &[3, 1]);
    let made = |rebuild: &str, arguments: &[Vec<u8>]| {
        let global = format!("ctorch._utils\n{rebuild}\n").into_bytes();
        [global, tuple(arguments), b"R".to_vec()].concat()
    };
    let negative = dict(&[("neg", b"\x88".to_vec())]);
    let untyped =
        [b"ctorch.storage\nUntypedStorage\n".to_vec(), b"ctorch\nfloat8_e4m3fn\n".to_vec()];
    for (made, words) in [
        (made("_rebuild_qtensor", &[]), "`a` is quantised"),
        (made("_rebuild_sparse_tensor", &[]), "to_dense"),
        (made("_rebuild_meta_tensor_no_storage", &[]), "no values"),
        (made("_rebuild_tensor_v3", &untyped), "float8"),
        (tensor_with(&six, 0, [&[6], &[1]], &[negative]), "negative"),
        (tensor(&six, 0, &[4, 6], &[0, 1]), "`expand`"),
    ] {
        let alone = zipped(&pickle(&[&dict(&[("a", made.clone())])]));
        assert!(error(&alone).contains(words), "{}", error(&alone));
        let beside = zipped(&pickle(&[&dict(&[("a", made), ("w", kept.clone())])]));
        let loaded = read_with(&beside, &Pick::Weights).unwrap();
        assert_eq!((loaded.weights.len(), loaded.unread.len()), (1, 1));
        assert!(loaded.unread[0].contains(words), "{:?}", loaded.unread);
    }
    let of_one = |name| dict(&[(name, kept.clone())]);
    let adam = dict(&[("state", dict(&[("0", of_one("exp_avg")), ("1", of_one("step"))]))]);
    for checkpoint in [dict(&[("optimizer", adam.clone())]), adam] {
        let said = error(&zipped(&pickle(&[&checkpoint])));
        assert!(said.contains("what an optimiser keeps, and no weights"), "{said}");
    }
    let listed = [b"](".to_vec(), kept.clone(), kept.clone(), b"e".to_vec()].concat();
    let average = dict(&[("ema", dict(&[("shadow_params", listed.clone())]))]);
    for (checkpoint, words) in [
        (listed.clone(), "a list of 2 tensors without names: save `model.state_dict()`"),
        (average, "a list of 2 tensors (`ema.shadow_params`) without names"),
        (dict(&[("state", dict(&[])), ("param_groups", dict(&[]))]), "what an optimiser keeps"),
    ] {
        let said = error(&zipped(&pickle(&[&checkpoint])));
        assert!(said.contains(words), "{said}");
    }
    let both = dict(&[("model", of_one("fc.weight")), ("shadow_params", listed)]);
    let said = read_with(&zipped(&pickle(&[&both])), &Pick::Average).unwrap_err().to_string();
    assert!(said.contains("no average") && said.contains("`shadow_params`"), "{said}");
    // Names of tensors are paths, whatever lies above them.
    let lists = dict(&[("state", dict(&[("0", of_one("fc.weight")), ("1", of_one("step"))]))]);
    let read = read(&zipped(&pickle(&[&lists]))).unwrap();
    assert!(read.tensor("fc.weight").is_some());
}

#[test]
fn hostile_pickles_are_refused() {
    let six = storage("FloatStorage", "0", 6);
    let one = |value: Vec<u8>| dict(&[("a", value)]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("inst", b"(ios\nsystem\n".to_vec()),
        ("obj", b"(cos\nsystem\no".to_vec()),
        ("newobj", b"ccollections\nOrderedDict\n)\x81".to_vec()),
        ("extension", b"\x82\x01".to_vec()),
        ("text persistent id", b"Pstorage\n".to_vec()),
        ("build on a tuple", b")}b".to_vec()),
        ("build on a tensor", one([tensor(&six, 0, &[6], &[1]), b"}b".to_vec()].concat())),
        ("setitem on a list", b"]K\x01K\x02s".to_vec()),
        ("setitem on a number", b"K\x01K\x01K\x02s".to_vec()),
        ("append to a dict", b"}K\x01a".to_vec()),
        ("odd items", b"}(K\x01u".to_vec()),
        ("no mark", b"}K\x01u".to_vec()),
        ("mark as a value", b"((K\x01\x86".to_vec()),
        ("empty stack", b"0".to_vec()),
        ("empty memo", b"h\x05".to_vec()),
        ("call of text", [text("os.system"), b")R".to_vec()].concat()),
        ("four gigabytes of text", b"X\xff\xff\xff\xff".to_vec()),
        ("2^63 bytes of text", b"\x8d\0\0\0\0\0\0\0\x80".to_vec()),
        ("bytes beyond the end", b"B\xff\xff\xff\x7f".to_vec()),
        ("text that is not UTF-8", b"X\x01\0\0\0\xff".to_vec()),
        ("protocol 9", b"\x80\x09".to_vec()),
        ("a crowd of marks", vec![b'('; 300_000]),
        ("a crowd of lists", vec![b']'; 300_000]),
        ("a crowd of memos", [vec![b'N'], vec![0x94; 300_000]].concat()),
        ("not a dict", b"K\x01".to_vec()),
        ("no tensors", dict(&[("a", int(1))])),
        ("storage too long", one(tensor(&storage("FloatStorage", "0", 7), 0, &[7], &[1]))),
        ("storage too short", one(tensor(&storage("FloatStorage", "0", 5), 0, &[5], &[1]))),
        ("storage of another type", one(tensor(&storage("DoubleStorage", "0", 6), 0, &[6], &[1]))),
        ("negative length", one(tensor(&storage("FloatStorage", "0", -1), 0, &[1], &[1]))),
        ("no such storage", one(tensor(&storage("FloatStorage", "9", 6), 0, &[6], &[1]))),
        ("storage outside", one(tensor(&storage("FloatStorage", "../data.pkl", 6), 0, &[6], &[1]))),
        ("bytes as weights", one(tensor(&storage("ByteStorage", "0", 24), 0, &[24], &[1]))),
        ("expanded", one(tensor(&six, 0, &[i32::MAX, i32::MAX], &[0, 0]))),
        ("overflowing", one(tensor(&six, 0, &[i32::MAX; 4], &[1; 4]))),
        ("negative stride", one(tensor(&six, 5, &[6], &[-1]))),
        ("negative offset", one(tensor(&six, -1, &[1], &[1]))),
        ("negative shape", one(tensor(&six, 0, &[-1, -6], &[1, 1]))),
        ("beyond the storage", one(tensor(&six, 5, &[2], &[1]))),
        ("stride beyond", one(tensor(&six, 0, &[2], &[i32::MAX]))),
        ("more strides", one(tensor(&six, 0, &[6], &[6, 1]))),
        ("nine dimensions", one(tensor(&six, 0, &[1; 9], &[1; 9]))),
        ("shape of text", {
            let arguments = tuple(&[six.clone(), int(0), tuple(&[text("6")]), ints(&[1])]);
            one([b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec(), arguments, b"R".to_vec()]
                .concat())
        }),
        ("tensor of no storage", one(tensor(b"}", 0, &[1], &[1]))),
        ("twice", dict(&[("a", tensor(&six, 0, &[1], &[1])), ("a", tensor(&six, 1, &[1], &[1]))])),
    ];
    for (case, body) in cases {
        assert!(is_refused(&read(&zipped(&pickle(&[&body])))), "{case}");
    }
}

#[test]
fn shared_storages_cannot_multiply_the_file() {
    let big = vec![0; 400_000];
    let whole = tensor(&storage("FloatStorage", "0", 100_000), 0, &[100_000], &[1]);
    let names: Vec<String> = (0..50).map(|i| format!("w{i}")).collect();
    let items: Vec<(&str, Vec<u8>)> = names.iter().map(|n| (n.as_str(), whole.clone())).collect();
    let content = pickle(&[&dict(&items)]);
    let bytes = archive(&[("m/data.pkl", &content), ("m/data/0", &big)], false);
    assert!(read(&bytes).unwrap_err().to_string().contains("share storages"));
}

#[test]
fn a_dict_that_contains_itself_ends() {
    let body = [b"}q\x00".to_vec(), text("model"), b"h\x00s".to_vec()].concat();
    assert!(is_refused(&read(&zipped(&pickle(&[&body])))));
}

#[test]
fn hostile_archives_are_refused() {
    let content = small();
    let data = [0u8; 24];
    let good = [("m/data.pkl", content.as_slice()), ("m/data/0", data.as_slice())];
    assert!(read(&archive(&good, false)).is_ok());
    let with =
        |name: &'static str, data: &'static [u8]| archive(&[good[0], good[1], (name, data)], false);
    for (case, bytes) in [
        ("parent", with("m/../x", b"")),
        ("absolute", with("/etc/passwd", b"")),
        ("twice", with("m/data/0", b"x")),
        ("two pickles", with("n/data.pkl", b"N.")),
        ("big-endian", with("m/byteorder", b"big")),
        ("TorchScript", with("m/constants.pkl", b"N.")),
        ("no pickle", archive(&good[1..], false)),
        ("no entries", archive(&[], false)),
    ] {
        assert!(is_refused(&read(&bytes)), "{case}");
    }
    let good = archive(&good, false);
    let directory = good.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    for (case, at, value) in [
        ("compressed", directory + 10, 8),
        ("encrypted", directory + 8, 1),
        ("wrong checksum", directory + 16, !good[directory + 16]),
        ("other size", directory + 24, !good[directory + 24]),
        ("huge size", directory + 27, 0x7f),
        ("long name", directory + 29, 0x7f),
        ("offset elsewhere", directory + 42, 1),
        ("offset beyond", directory + 45, 0x7f),
        ("too many entries", good.len() - 12, 9),
        ("comment", good.len() - 2, 3),
    ] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert!(is_refused(&read(&bytes)), "{case}");
    }
}

#[test]
fn exhaustive_mutants_of_archives() {
    let bytes = zipped(&small());
    let mutants = if std::env::var_os("TOP5_EXHAUSTIVE").is_some() { 2_000_000 } else { 20_000 };
    let mut refused = 0;
    for seed in 0..mutants {
        let mut mutant = bytes.clone();
        let mut stream = top5_graph::random::Stream::new(seed, 0);
        for _ in 0..=stream.below(3) {
            let at = stream.below(mutant.len());
            mutant[at] = stream.draw() as u8;
        }
        match read(&mutant) {
            Ok(weights) => {
                let values: usize = weights.iter().map(|(_, t)| t.data().len()).sum();
                assert!(values <= mutant.len());
            }
            Err(_) => refused += 1,
        }
    }
    // Fields that are not read (times, attributes) are all that may change unnoticed.
    assert!(refused * 2 > mutants, "{refused} of {mutants} were refused");
}
