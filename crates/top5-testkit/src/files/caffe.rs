//! Caffe models: `NetParameter` messages whose layers carry blobs.

use top5_graph::Tensor;

/// Which of the two forms of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `layers`, of `V1LayerParameter`: kinds are numbers, blobs have four dimensions.
    V1,
    /// `layer`, of `LayerParameter`.
    Current,
}

/// A layer with its blobs.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Its kind: `Convolution`, `InnerProduct`, `BatchNorm` or `Scale`.
    pub kind: &'static str,
    /// Its blobs.
    pub blobs: Vec<Tensor>,
}

impl Layer {
    /// A layer.
    pub fn new(name: impl Into<String>, kind: &'static str, blobs: Vec<Tensor>) -> Self {
        Self { name: name.into(), kind, blobs }
    }
}

/// The model of these layers, behind a layer without blobs.
pub fn model(layers: &[Layer], form: Form) -> Vec<u8> {
    let mut bytes = field(1, b"net");
    let data = Layer::new("data", "Input", Vec::new());
    for layer in std::iter::once(&data).chain(layers) {
        let (number, message) = match form {
            Form::V1 => (2, v1(layer)),
            Form::Current => (100, current(layer)),
        };
        bytes.extend(field(number, &message));
    }
    bytes
}

fn current(layer: &Layer) -> Vec<u8> {
    let mut message = [field(1, layer.name.as_bytes()), field(2, layer.kind.as_bytes())].concat();
    message.extend(field(3, b"bottom"));
    for blob in &layer.blobs {
        let shape: Vec<u8> = blob.shape().iter().flat_map(|&size| varint(size as u64)).collect();
        let blob = [field(5, &values(blob)), field(7, &field(1, &shape))].concat();
        message.extend(field(7, &blob));
    }
    message
}

fn v1(layer: &Layer) -> Vec<u8> {
    let kind = match layer.kind {
        "Convolution" => 4,
        "InnerProduct" => 14,
        _ => 0,
    };
    let mut message = [field(2, b"bottom"), field(4, layer.name.as_bytes())].concat();
    message.extend([varint(5 << 3), varint(kind)].concat());
    for blob in &layer.blobs {
        let ones = vec![1; 4 - blob.shape().len()];
        let shape = ones.iter().chain(blob.shape()).zip(1u64..);
        let mut bytes: Vec<u8> = shape
            .flat_map(|(&size, number)| [varint(number << 3), varint(size as u64)].concat())
            .collect();
        bytes.extend(field(5, &values(blob)));
        message.extend(field(6, &bytes));
    }
    message
}

fn values(blob: &Tensor) -> Vec<u8> {
    blob.data().iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A field of bytes.
pub fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

pub(super) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
