//! burn on its CPU backend Flex, with the functions that burn's layers call.

use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::activation::relu;
use burn::tensor::module::{adaptive_avg_pool2d, conv2d, linear, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, TensorData};

use crate::Run;
use crate::graph::{Graph, Layer, Node, Weight};

pub fn load(model: &str, images: Vec<f32>, shape: [usize; 4]) -> Result<Run> {
    let graph = Graph::load(model, layer)?;
    let images = tensor::<4>(Weight { shape: shape.to_vec(), values: images });
    Ok(Box::new(move || {
        let logits = graph.run(images.clone())?.into_data();
        logits.try_to_vec().map_err(|error| anyhow!("{error:?}"))
    }))
}

/// Activations have four axes throughout, of which the last two are 1 behind the linear layers.
fn layer(node: Node) -> Result<Layer<Tensor<4>>> {
    let Node { kernel, stride, padding, groups, ceil, .. } = node;
    let mut weights = node.weights.into_iter();
    let mut weight = || weights.next().context("too few weights");
    Ok(match node.op.as_str() {
        "Conv" => {
            let (weight, bias) = (tensor::<4>(weight()?), tensor::<1>(weight()?));
            let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], groups);
            Box::new(move |x| {
                let [x] = operands(x)?;
                Ok(conv2d(x, weight.clone(), Some(bias.clone()), options.clone()))
            })
        }
        "Relu" => Box::new(|x| operands(x).map(|[x]| relu(x))),
        "Add" => Box::new(|x| operands(x).map(|[a, b]| a + b)),
        "Concat" => Box::new(|x| Ok(Tensor::cat(x, 1))),
        "MaxPool" => {
            let options = MaxPoolOptions::new([kernel; 2])
                .with_stride([stride; 2])
                .with_padding([padding; 2])
                .with_ceil_mode(ceil);
            Box::new(move |x| operands(x).map(|[x]| max_pool2d(x, options.clone())))
        }
        "GlobalAveragePool" => Box::new(|x| operands(x).map(|[x]| adaptive_avg_pool2d(x, [1, 1]))),
        // Gemm does it.
        "Flatten" => Box::new(|x| operands(x).map(|[x]| x)),
        "Gemm" => {
            let (weight, bias) = (transposed(weight()?)?, tensor::<1>(weight()?));
            Box::new(move |x| {
                let [x] = operands(x)?;
                let y = linear::<2>(x.flatten(1, 3), weight.clone(), Some(bias.clone()));
                let [rows, columns] = y.dims();
                Ok(y.reshape([rows, columns, 1, 1]))
            })
        }
        op => bail!("no layer for {op}"),
    })
}

fn operands<const N: usize>(x: Vec<Tensor<4>>) -> Result<[Tensor<4>; N]> {
    x.try_into().map_err(|x: Vec<_>| anyhow!("{} operands", x.len()))
}

fn tensor<const D: usize>(weight: Weight) -> Tensor<D> {
    Tensor::from_data(TensorData::new(weight.values, weight.shape), &Device::default())
}

/// ONNX has the weights of a linear layer as outputs by inputs, burn as inputs by outputs.
fn transposed(weight: Weight) -> Result<Tensor<2>> {
    let [outputs, inputs]: [usize; 2] = weight.shape.as_slice().try_into()?;
    let at = |i: usize| weight.values[i % outputs * inputs + i / outputs];
    let values = (0..outputs * inputs).map(at).collect();
    Ok(tensor(Weight { shape: vec![inputs, outputs], values }))
}
