//! PyTorch checkpoints in every container that PyTorch ever had, byte for byte as its pickler writes them but for the memo.

use super::Stored;
use top5_graph::{Tensor, Weights};

/// Which version's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// The zip archive of PyTorch 2, with the records that it added.
    Zip,
    /// That of 1.6 to 1.13, without `byteorder` and `.data/serialization_id`.
    EarlyZip,
    /// That of 0.1.10 to 1.5, and of `_use_new_zipfile_serialization=False`.
    Legacy,
    /// The tar archive before.
    Tar,
}

impl Container {
    /// All containers.
    pub const ALL: [Self; 4] = [Self::Zip, Self::EarlyZip, Self::Legacy, Self::Tar];
}

/// What surrounds the tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    /// Nothing: `torch.save(model.state_dict(), …)`.
    Nothing,
    /// What a training script keeps: epoch, network, optimiser and schedule, with the state dict of `DataParallel`.
    Training,
}

/// The checkpoint of these tensors.
pub fn checkpoint(
    weights: &Weights,
    stored: Stored,
    container: Container,
    around: Around,
) -> Vec<u8> {
    let tensors: Vec<(String, &Tensor)> = weights
        .iter()
        .map(|(name, tensor)| match around {
            Around::Nothing => (name.to_owned(), tensor),
            Around::Training => (format!("module.{name}"), tensor),
        })
        .collect();
    let by_number = container == Container::Tar;
    let value = |i: usize, tensor: &Tensor| match by_number {
        true => [text(&number(i).to_string()), b"Q".to_vec()].concat(),
        false => rebuilt(i, tensor, stored, container),
    };
    let items: Vec<(&str, Vec<u8>)> = tensors
        .iter()
        .enumerate()
        .map(|(i, (name, tensor))| (name.as_str(), value(i, tensor)))
        .collect();
    let content = match around {
        Around::Nothing => state_dict(&items),
        Around::Training => training(state_dict(&items)),
    };
    let content = pickle(&content);
    let storages: Vec<Vec<u8>> =
        tensors.iter().map(|(_, tensor)| stored.encode(tensor.data())).collect();
    match container {
        Container::Zip | Container::EarlyZip => {
            zipped(&content, &storages, container == Container::Zip)
        }
        Container::Legacy => legacy(&content, &tensors, &storages),
        Container::Tar => tarred(&content, &tensors, &storages, stored),
    }
}

/// A pickle of protocol 2 around a value.
pub fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

/// A text.
pub fn text(text: &str) -> Vec<u8> {
    [b"X", (text.len() as u32).to_le_bytes().as_slice(), text.as_bytes()].concat()
}

/// A number, as Python 2 and 3 write it in protocol 2 where they agree.
pub fn int(value: i64) -> Vec<u8> {
    match (u8::try_from(value), i32::try_from(value)) {
        (Ok(byte), _) => vec![b'K', byte],
        (_, Ok(word)) => [b"J".as_slice(), &word.to_le_bytes()].concat(),
        _ => format!("I{value}\n").into_bytes(),
    }
}

/// A tuple.
pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", items.concat().as_slice(), b"t"].concat()
}

fn ints(values: &[usize]) -> Vec<u8> {
    tuple(&values.iter().map(|&value| int(value as i64)).collect::<Vec<_>>())
}

fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

fn dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<u8> =
        items.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(", items.as_slice(), b"u"].concat()
}

/// An OrderedDict with its attribute `_metadata`.
fn state_dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<u8> =
        items.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    let ordered = [global("collections", "OrderedDict"), b")R".to_vec()].concat();
    let version = dict(&[("version", int(1))]);
    let metadata = [ordered.clone(), b"(".to_vec(), text(""), version, b"u".to_vec()].concat();
    let attributes = [b"}".to_vec(), text("_metadata"), metadata, b"sb".to_vec()].concat();
    [ordered, b"(".to_vec(), items, b"u".to_vec(), attributes].concat()
}

fn training(state: Vec<u8>) -> Vec<u8> {
    let float = |value: f64| [b"G".as_slice(), &value.to_be_bytes()].concat();
    let group =
        dict(&[("lr", float(0.1)), ("nesterov", b"\x89".to_vec()), ("params", b"]".to_vec())]);
    let groups = [b"](".to_vec(), group, b"e".to_vec()].concat();
    let counted = [b"}".to_vec(), int(30), int(1), b"s".to_vec()].concat();
    let milestones = [global("collections", "Counter"), counted, b"\x85R".to_vec()].concat();
    dict(&[
        ("epoch", int(90)),
        ("arch", text("resnet")),
        ("best_acc1", float(76.13)),
        ("dtype", global("torch", "float32")),
        ("lr_scheduler", dict(&[("milestones", milestones), ("last_epoch", b"N".to_vec())])),
        ("optimizer", dict(&[("state", b"}".to_vec()), ("param_groups", groups)])),
        ("state_dict", state),
    ])
}

fn kind(stored: Stored) -> &'static str {
    match stored {
        Stored::F16 => "HalfStorage",
        Stored::Bf16 => "BFloat16Storage",
        Stored::F32 => "FloatStorage",
        Stored::F64 => "DoubleStorage",
    }
}

/// The number of a storage or tensor: an address on the heap in the containers before zip.
fn number(i: usize) -> i64 {
    0x7f12_3456_0000 + 64 * i as i64
}

fn key(i: usize, container: Container) -> String {
    match container {
        Container::Zip | Container::EarlyZip => i.to_string(),
        Container::Legacy | Container::Tar => number(i).to_string(),
    }
}

fn strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

/// A tensor with a storage of its own.
fn rebuilt(i: usize, tensor: &Tensor, stored: Stored, container: Container) -> Vec<u8> {
    let mut id = vec![
        text("storage"),
        global("torch", kind(stored)),
        text(&key(i, container)),
        text("cpu"),
        int(tensor.data().len() as i64),
    ];
    if container == Container::Legacy {
        id.push(b"N".to_vec());
    }
    let hooks = [global("collections", "OrderedDict"), b")R".to_vec()].concat();
    let arguments = tuple(&[
        [tuple(&id), b"Q".to_vec()].concat(),
        int(0),
        ints(tensor.shape()),
        ints(&strides(tensor.shape())),
        b"\x89".to_vec(),
        hooks,
    ]);
    [global("torch._utils", "_rebuild_tensor_v2"), arguments, b"R".to_vec()].concat()
}

fn zipped(content: &[u8], storages: &[Vec<u8>], modern: bool) -> Vec<u8> {
    let mut entries = vec![("archive/data.pkl".to_owned(), content.to_vec())];
    if modern {
        entries.push(("archive/.format_version".to_owned(), b"1".to_vec()));
        entries.push(("archive/.storage_alignment".to_owned(), b"64".to_vec()));
        entries.push(("archive/byteorder".to_owned(), b"little".to_vec()));
    }
    let data = |(i, bytes): (usize, &Vec<u8>)| (format!("archive/data/{i}"), bytes.clone());
    entries.extend(storages.iter().enumerate().map(data));
    entries.push(("archive/version".to_owned(), b"3\n".to_vec()));
    if modern {
        entries.push(("archive/.data/serialization_id".to_owned(), vec![b'7'; 40]));
    }
    zip(&entries)
}

/// A zip archive of stored entries, each aligned to 64 bytes by an extra field, as PyTorch does it.
pub fn zip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let local = bytes.len() as u32;
        let unpadded = bytes.len() + 30 + name.len() + 4;
        let padding = unpadded.next_multiple_of(64) - unpadded;
        let size = (data.len() as u32).to_le_bytes();
        let name_len = (name.len() as u16).to_le_bytes();
        let fields = [&[0; 8][..], &crc32(data).to_le_bytes(), &size, &size, &name_len];
        bytes.extend([b"PK\x03\x04\0\0".as_slice(), &fields.concat()].concat());
        bytes.extend((padding as u16 + 4).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend([b"FB".as_slice(), &(padding as u16).to_le_bytes()].concat());
        bytes.extend(vec![b'Z'; padding]);
        bytes.extend(data);
        directory.extend([b"PK\x01\x02\0\0\0\0".as_slice(), &fields.concat()].concat());
        directory.extend([0; 12]);
        directory.extend(local.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, size) = (bytes.len() as u32, directory.len() as u32);
    bytes.extend(directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([entries.len() as u16; 2].map(u16::to_le_bytes).concat());
    bytes.extend([size, start].map(u32::to_le_bytes).concat());
    bytes.extend([0, 0]);
    bytes
}

/// The checksum of zip, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ ((crc & 1) * 0xedb8_8320))
    })
}

fn legacy(content: &[u8], tensors: &[(String, &Tensor)], storages: &[Vec<u8>]) -> Vec<u8> {
    let machine = dict(&[
        ("protocol_version", int(1001)),
        ("little_endian", b"\x88".to_vec()),
        ("type_sizes", dict(&[("short", int(2)), ("int", int(4)), ("long", int(4))])),
    ]);
    let keys: Vec<u8> = (0..tensors.len()).flat_map(|i| text(&key(i, Container::Legacy))).collect();
    let mut bytes = [
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec(),
        pickle(&machine),
        content.to_vec(),
        pickle(&[b"](", keys.as_slice(), b"e"].concat()),
    ]
    .concat();
    for ((_, tensor), storage) in tensors.iter().zip(storages) {
        bytes.extend((tensor.data().len() as i64).to_le_bytes());
        bytes.extend(storage);
    }
    bytes
}

fn tarred(
    content: &[u8],
    tensors: &[(String, &Tensor)],
    contents: &[Vec<u8>],
    stored: Stored,
) -> Vec<u8> {
    // Storages have numbers of their own.
    let storage_number = |i| number(i) - 32;
    let mut storages = pickle(&int(tensors.len() as i64));
    let mut described = storages.clone();
    for (i, ((_, tensor), content)) in tensors.iter().zip(contents).enumerate() {
        let kind = global("torch", kind(stored));
        storages.extend(pickle(&tuple(&[int(storage_number(i)), text("cpu"), kind])));
        storages.extend((tensor.data().len() as i64).to_le_bytes());
        storages.extend(content);
        let kind = global("torch", "FloatTensor");
        described.extend(pickle(&tuple(&[int(number(i)), int(storage_number(i)), kind])));
        described.extend((tensor.shape().len() as i64).to_le_bytes());
        let numbers = [tensor.shape(), &strides(tensor.shape()), &[0]].concat();
        described.extend(numbers.iter().flat_map(|&n| (n as i64).to_le_bytes()));
    }
    storages.extend(pickle(b"]"));
    let machine =
        pickle(&dict(&[("protocol_version", int(1000)), ("little_endian", b"\x88".to_vec())]));
    tar(&[
        ("sys_info", &machine),
        ("pickle", content),
        ("tensors", &described),
        ("storages", &storages),
    ])
}

/// A tar archive.
pub fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, data) in members {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar  \0");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.extend(header);
        bytes.extend(*data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}
