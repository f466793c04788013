//! OverFeat's published weights (Sermanet et al., ICLR 2014): `net_weight_0` (fast) and `net_weight_1` (accurate), raw
//! little-endian floats without a header. The sizes and offsets are those of its `net_init.hpp`.

use crate::element::Element;
use crate::error::FormatError;
use top5_graph::{Tensor, Weights};

/// Which of the two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// `net_weight_0`
    Fast,
    /// `net_weight_1`
    Accurate,
}

/// Layers in the order of the file: name, then the weight's shape.
type Layers = &'static [(&'static str, [usize; 4])];

const FAST: Layers = &[
    ("conv1", [96, 3, 11, 11]),
    ("conv2", [256, 96, 5, 5]),
    ("conv3", [512, 256, 3, 3]),
    ("conv4", [1024, 512, 3, 3]),
    ("conv5", [1024, 1024, 3, 3]),
    ("fc1", [3072, 1024, 6, 6]),
    ("fc2", [4096, 3072, 1, 1]),
    ("fc3", [1000, 4096, 1, 1]),
];

const ACCURATE: Layers = &[
    ("conv1", [96, 3, 7, 7]),
    ("conv2", [256, 96, 7, 7]),
    ("conv3", [512, 256, 3, 3]),
    ("conv4", [512, 512, 3, 3]),
    ("conv5", [1024, 512, 3, 3]),
    ("conv6", [1024, 1024, 3, 3]),
    ("fc1", [4096, 1024, 5, 5]),
    ("fc2", [4096, 4096, 1, 1]),
    ("fc3", [1000, 4096, 1, 1]),
];

impl Model {
    /// The model whose file has this many bytes.
    pub fn of_length(bytes: usize) -> Option<Self> {
        [Self::Fast, Self::Accurate].into_iter().find(|model| model.bytes() == bytes)
    }

    fn layers(self) -> Layers {
        match self {
            Self::Fast => FAST,
            Self::Accurate => ACCURATE,
        }
    }

    fn bytes(self) -> usize {
        let floats = |(_, shape): &(&str, [usize; 4])| shape.iter().product::<usize>() + shape[0];
        4 * self.layers().iter().map(floats).sum::<usize>()
    }

    /// Reads the weights; layers are called as the network has them, `conv1`, …, `fc3`, and fully connected ones are matrices.
    pub fn read(self, bytes: &[u8]) -> Result<Weights, FormatError> {
        if bytes.len() != self.bytes() {
            let what = format!("{} bytes instead of {}", bytes.len(), self.bytes());
            return Err(FormatError::malformed("OverFeat", what));
        }
        let mut weights = Weights::new();
        let mut rest = bytes;
        for (layer, shape) in self.layers() {
            let inputs: usize = shape[1..].iter().product();
            let matrix = layer.starts_with("fc");
            let shape_of = if matrix { vec![shape[0], inputs] } else { shape.to_vec() };
            for (role, shape) in [("weight", shape_of), ("bias", vec![shape[0]])] {
                let (data, after) = rest.split_at(4 * shape.iter().product::<usize>());
                rest = after;
                let tensor = Tensor::new(shape, Element::F32.values(data))
                    .expect("the data were cut to the shape");
                weights.insert(format!("{layer}.{role}"), tensor);
            }
        }
        Ok(weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_those_of_the_networks() {
        for (model, name) in
            [(Model::Fast, "overfeat_fast"), (Model::Accurate, "overfeat_accurate")]
        {
            let graph = top5_zoo::network(name).unwrap().graph().unwrap();
            let wanted: Vec<(String, usize)> =
                graph.params().map(|(name, param)| (name, param.elements())).collect();
            let tensors = |(layer, shape): &(&str, [usize; 4])| {
                let weight = (format!("{layer}.weight"), shape.iter().product());
                [weight, (format!("{layer}.bias"), shape[0])]
            };
            let ours: Vec<(String, usize)> = model.layers().iter().flat_map(tensors).collect();
            assert_eq!(ours, wanted, "{name}");
        }
    }

    #[test]
    fn layers_lie_at_the_published_offsets() {
        // The last pair of each: where the classifier's weight and bias begin, in floats.
        for (model, weight, bias, total) in [
            (Model::Fast, 141_823_872, 145_919_872, 145_920_872),
            (Model::Accurate, 140_559_488, 144_655_488, 144_656_488),
        ] {
            let sizes: Vec<usize> =
                model.layers().iter().map(|(_, s)| s.iter().product::<usize>() + s[0]).collect();
            let last = sizes[..sizes.len() - 1].iter().sum::<usize>();
            assert_eq!((last, last + 1000 * 4096), (weight, bias));
            assert_eq!(sizes.iter().sum::<usize>(), total);
            assert_eq!(Model::of_length(4 * total), Some(model));
        }
        assert_eq!(Model::of_length(0), None);
        let error = Model::Fast.read(&[0; 16]).unwrap_err().to_string();
        assert!(error.contains("16 bytes instead of 583683488"), "{error}");
    }
}
