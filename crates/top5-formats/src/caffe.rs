//! Caffe models (`.caffemodel`): a `NetParameter` whose layers carry their blobs, in the old form (`layers`, V1) and
//! the new one (`layer`).
//!
//! What differs from PyTorch is undone here: the first convolution's channels go from BGR to RGB, a `BatchNorm` layer
//! (sums and a factor to divide them by) and the `Scale` layer after it become one batch normalisation, and leading
//! dimensions of one that old blobs have are dropped. Tensors are called `LAYER.weight`, `LAYER.bias`,
//! `LAYER.running_mean` and `LAYER.running_var`.

use crate::element::Element;
use crate::error::{FormatError, MAX_NAME, quoted};
use crate::protobuf::{Fields, Value};
use top5_graph::{Tensor, Weights};

const FORMAT: &str = "Caffe";
const MAX_LAYERS: usize = 1 << 16;
/// A batch normalisation has three; nothing has more.
const MAX_BLOBS: usize = 3;

/// One layer that has blobs.
#[derive(Default)]
struct Layer {
    name: String,
    kind: Kind,
    blobs: Vec<Tensor>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    Convolution,
    InnerProduct,
    BatchNorm,
    Scale,
    #[default]
    Other,
}

impl Kind {
    fn named(name: &[u8]) -> Self {
        match name {
            b"Convolution" => Self::Convolution,
            b"InnerProduct" => Self::InnerProduct,
            b"BatchNorm" => Self::BatchNorm,
            b"Scale" => Self::Scale,
            _ => Self::Other,
        }
    }

    /// From V1's enumeration.
    fn numbered(number: u64) -> Self {
        match number {
            4 => Self::Convolution,
            14 => Self::InnerProduct,
            _ => Self::Other,
        }
    }
}

/// Reads the blobs of all layers.
pub fn read(bytes: &[u8]) -> Result<Weights, FormatError> {
    let mut fields = Fields::new(FORMAT, bytes);
    let mut layers = Vec::new();
    while let Some((number, value)) = fields.next()? {
        // `layers` of V1 and `layer`; their fields for name, kind and blobs differ.
        let layer = match (number, value) {
            (2, Value::Bytes(message)) => layer(message, [4, 5, 6])?,
            (100, Value::Bytes(message)) => layer(message, [1, 2, 7])?,
            _ => continue,
        };
        if !layer.blobs.is_empty() {
            layers.push(layer);
        }
        if layers.len() > MAX_LAYERS {
            return Err(malformed(format!("more than {MAX_LAYERS} layers")));
        }
    }
    if layers.is_empty() {
        return Err(FormatError::refused(
            FORMAT,
            "no layer has blobs; a `.prototxt` or a V0 model has none, or it is no Caffe model",
        ));
    }
    merge(layers)
}

fn malformed(what: impl Into<String>) -> FormatError {
    FormatError::malformed(FORMAT, what)
}

fn layer(message: &[u8], [name, kind, blobs]: [u64; 3]) -> Result<Layer, FormatError> {
    let mut fields = Fields::new(FORMAT, message);
    let mut layer = Layer::default();
    while let Some((number, value)) = fields.next()? {
        match value {
            Value::Bytes(text) if number == name && text.len() > MAX_NAME => {
                return Err(malformed(format!("a layer's name has {} bytes", text.len())));
            }
            Value::Bytes(text) if number == name => {
                layer.name = str::from_utf8(text)
                    .map_err(|_| malformed("a layer's name that is not UTF-8"))?
                    .to_owned();
            }
            Value::Bytes(text) if number == kind => layer.kind = Kind::named(text),
            Value::Varint(v1) if number == kind => layer.kind = Kind::numbered(v1),
            Value::Bytes(message) if number == blobs && layer.blobs.len() < MAX_BLOBS => {
                layer.blobs.push(blob(message)?);
            }
            Value::Bytes(_) if number == blobs => {
                return Err(malformed(format!("a layer with more than {MAX_BLOBS} blobs")));
            }
            Value::Bytes(_) | Value::Varint(_) | Value::Fixed32(_) | Value::Fixed64(_) => {}
        }
    }
    Ok(layer)
}

/// `BlobProto`: either `shape` (7) or num, channels, height, width (1–4); values as floats (5) or doubles (8), each
/// packed or one by one.
fn blob(message: &[u8]) -> Result<Tensor, FormatError> {
    let mut fields = Fields::new(FORMAT, message);
    let mut old = [None; 4];
    let mut shape = None;
    let mut data: Vec<f32> = Vec::new();
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1..=4, Value::Varint(size)) => old[number as usize - 1] = Some(size),
            (7, Value::Bytes(message)) => shape = Some(dimensions(message)?),
            (5, Value::Fixed32(bits)) => data.push(f32::from_le_bytes(bits)),
            (8, Value::Fixed64(bits)) => data.push(f64::from_le_bytes(bits) as f32),
            (5 | 8, Value::Bytes(packed)) => {
                let element = if number == 5 { Element::F32 } else { Element::F64 };
                if packed.len() % element.size() != 0 {
                    return Err(malformed("a blob whose values are cut"));
                }
                let values = element.values(packed);
                if data.is_empty() { data = values } else { data.extend(values) }
            }
            _ => {}
        }
    }
    let legacy = old.iter().any(Option::is_some).then(|| old.map(|size| size.unwrap_or(1)));
    let shape = match (shape, legacy) {
        (Some(shape), None) => shape,
        (None, Some(old)) => {
            let ones = old.iter().take(3).take_while(|&&size| size == 1).count();
            old[ones..].to_vec()
        }
        (Some(shape), Some(old)) if volume(&shape) == volume(&old) => shape,
        (Some(_), Some(_)) => return Err(malformed("a blob with two shapes that disagree")),
        (None, None) => return Err(malformed("a blob without a shape")),
    };
    let count = data.len();
    let sizes: Option<Vec<usize>> = shape.iter().map(|&size| usize::try_from(size).ok()).collect();
    sizes
        .and_then(|sizes| Tensor::new(sizes, data))
        .ok_or_else(|| malformed(format!("a blob of shape {shape:?} with {count} values")))
}

fn volume(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size))
}

/// `BlobShape`: dimensions, packed or one by one.
fn dimensions(message: &[u8]) -> Result<Vec<u64>, FormatError> {
    let mut fields = Fields::new(FORMAT, message);
    let mut shape = Vec::new();
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Varint(size)) => shape.push(size),
            (1, Value::Bytes(packed)) => {
                let mut packed = Fields::new(FORMAT, packed);
                while !packed.is_empty() {
                    shape.push(packed.varint()?);
                    if shape.len() > 8 {
                        break;
                    }
                }
            }
            _ => {}
        }
        if shape.len() > 8 {
            return Err(malformed("a blob with more than eight dimensions"));
        }
    }
    Ok(shape)
}

/// Names the tensors, flips the first convolution and joins the halves of batch normalisations.
fn merge(layers: Vec<Layer>) -> Result<Weights, FormatError> {
    let mut weights = Weights::new();
    let mut flipped = false;
    let mut normalised: Option<String> = None;
    for Layer { name, kind, blobs } in layers {
        let bad = |what: &str| malformed(format!("layer {}: {what}", quoted(&name)));
        let before = normalised.take();
        let mut insert = |layer: &str, role: &str, tensor: Tensor| {
            let twice = weights.insert(format!("{layer}.{role}"), tensor).is_some();
            if twice { Err(bad("its name comes twice")) } else { Ok(()) }
        };
        match (kind, <[Tensor; 3]>::try_from(blobs)) {
            (Kind::BatchNorm, Ok([mean, variance, factor])) => {
                // Caffe divides the sums by the factor, and takes zero for an untrained layer.
                let &[factor] = factor.data() else { return Err(bad("its factor is no number")) };
                let scale = if factor == 0.0 { 0.0 } else { 1.0 / factor };
                for (role, mut tensor) in [("running_mean", mean), ("running_var", variance)] {
                    tensor.data_mut().iter_mut().for_each(|value| *value *= scale);
                    insert(&name, role, tensor)?;
                }
                normalised = Some(name);
            }
            (Kind::BatchNorm, Err(_)) => return Err(bad("a BatchNorm has three blobs")),
            (_, Ok(_)) => return Err(bad("three blobs, where at most two were expected")),
            // One or two.
            (_, Err(blobs)) => {
                let mut blobs = blobs.into_iter();
                let (weight, bias) = (blobs.next(), blobs.next());
                let target = match (kind, before) {
                    (Kind::Scale, Some(before)) => before,
                    _ => name.clone(),
                };
                if let Some(mut weight) = weight {
                    if kind == Kind::Convolution && !std::mem::replace(&mut flipped, true) {
                        weight = from_bgr(weight);
                    }
                    insert(&target, "weight", weight)?;
                }
                if let Some(bias) = bias {
                    insert(&target, "bias", bias)?;
                }
            }
        }
    }
    Ok(weights)
}

/// Reverses the order of the three input channels of a filter bank; leaves another one as it is.
fn from_bgr(mut weight: Tensor) -> Tensor {
    if let &[_, 3, h, w] = weight.shape()
        && h * w > 0
    {
        for filter in weight.data_mut().chunks_exact_mut(3 * h * w) {
            let (blue, rest) = filter.split_at_mut(h * w);
            blue.swap_with_slice(&mut rest[h * w..]);
        }
    }
    weight
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::Message;

    fn packed(shape: &[i64], values: &[f32]) -> Message {
        let shape = shape.iter().fold(Message::new(), |shape, &size| shape.int(1, size));
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Message::new().bytes(5, &bytes).message(7, &shape)
    }

    fn old(shape: [i64; 4], values: &[f32]) -> Message {
        let blob = (1..=4).fold(Message::new(), |blob, i| blob.int(i, shape[i as usize - 1]));
        values.iter().fold(blob, |blob, &value| blob.float(5, value))
    }

    fn new_layer(name: &str, kind: &str, blobs: &[Message]) -> Message {
        let layer = Message::new().text(1, name).text(2, kind).text(3, "bottom");
        blobs.iter().fold(layer, |layer, blob| layer.message(7, blob))
    }

    fn model() -> Vec<u8> {
        let rgb: Vec<f32> = (0..6).map(|i| i as f32).collect();
        Message::new()
            .text(1, "tiny")
            .message(100, &new_layer("data", "Input", &[]))
            .message(100, &new_layer("conv1", "Convolution", &[packed(&[2, 3, 1, 1], &rgb)]))
            .message(
                100,
                &new_layer(
                    "bn_conv1",
                    "BatchNorm",
                    &[packed(&[2], &[2.0, 4.0]), packed(&[2], &[6.0, 8.0]), packed(&[1], &[2.0])],
                ),
            )
            .message(
                100,
                &new_layer(
                    "scale_conv1",
                    "Scale",
                    &[packed(&[2], &[0.5, 1.5]), packed(&[2], &[-1.0, 1.0])],
                ),
            )
            .message(100, &new_layer("fc", "InnerProduct", &[packed(&[1, 2], &[7.0, 9.0])]))
            .into_bytes()
    }

    #[test]
    fn colours_and_normalisations_become_pytorchs() {
        let weights = read(&model()).unwrap();
        let data = |name| weights.tensor(name).unwrap().data();
        assert_eq!(data("conv1.weight"), [2.0, 1.0, 0.0, 5.0, 4.0, 3.0]);
        assert_eq!(data("bn_conv1.running_mean"), [1.0, 2.0]);
        assert_eq!(data("bn_conv1.running_var"), [3.0, 4.0]);
        assert_eq!(data("bn_conv1.weight"), [0.5, 1.5]);
        assert_eq!(data("bn_conv1.bias"), [-1.0, 1.0]);
        assert_eq!(data("fc.weight"), [7.0, 9.0]);
        assert_eq!(weights.len(), 6);
    }

    #[test]
    fn old_layers_with_four_dimensions_are_read() {
        let layer = Message::new()
            .text(4, "fc8")
            .int(5, 14)
            .message(6, &old([1, 1, 2, 3], &[1.0; 6]))
            .message(6, &old([1, 1, 1, 2], &[2.0; 2]));
        let weights = read(&Message::new().text(1, "v1").message(2, &layer).into_bytes()).unwrap();
        assert_eq!(weights.tensor("fc8.weight").unwrap().shape(), [2, 3]);
        assert_eq!(weights.tensor("fc8.bias").unwrap().shape(), [2]);
    }

    #[test]
    fn hostile_blobs_are_refused() {
        let conflict = packed(&[2], &[1.0; 2]).int(1, 3);
        let negative = packed(&[-1, -2], &[1.0; 2]);
        let huge = packed(&[1 << 32, 1 << 32], &[]);
        let short = packed(&[3], &[1.0; 2]);
        let many = packed(&[1; 9], &[1.0]);
        let cut = Message::new().bytes(5, &[0; 5]).int(1, 1);
        let bare = Message::new().float(5, 1.0);
        let error = |layer: &Message| {
            read(&Message::new().message(100, layer).into_bytes()).unwrap_err().to_string()
        };
        for (blob, word) in [
            (conflict, "shapes that disagree"),
            (negative, "with 2 values"),
            (huge, "with 0 values"),
            (short, "[3] with 2 values"),
            (many, "more than eight dimensions"),
            (cut, "values are cut"),
            (bare, "without a shape"),
        ] {
            let error = error(&new_layer("a", "Convolution", std::slice::from_ref(&blob)));
            assert!(error.contains(word), "{blob:?}: {error}");
        }
        let two = packed(&[1], &[1.0]);
        let three = new_layer("a", "Convolution", &[two.clone(), two.clone(), two.clone()]);
        let pair = new_layer("a", "BatchNorm", &[two.clone(), two]);
        for (layer, word) in [(three, "at most two"), (pair, "has three blobs")] {
            assert!(error(&layer).contains(word), "{}", error(&layer));
        }
        let error = read(b"").unwrap_err().to_string();
        assert!(error.contains("no layer has blobs"), "{error}");
    }

    #[test]
    fn a_cut_file_is_an_error_or_has_fewer_tensors() {
        let bytes = model();
        let whole = read(&bytes).unwrap().len();
        for end in 0..bytes.len() {
            // A message has no end mark: a cut between two layers cannot be seen here, and `fit` tells it.
            assert!(read(&bytes[..end]).map_or(true, |weights| weights.len() < whole), "{end}");
        }
    }
}
