//! candle: its tensor operations as candle-nn's layers call them.

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};

use crate::Run;
use crate::graph::{Graph, Layer, Node, Weight};

pub fn load(model: &str, images: Vec<f32>, shape: [usize; 4]) -> Result<Run> {
    let graph = Graph::load(model, layer)?;
    let images = Tensor::from_vec(images, shape.as_slice(), &Device::Cpu)?;
    Ok(Box::new(move || Ok(graph.run(images.clone())?.flatten_all()?.to_vec1()?)))
}

fn layer(node: Node) -> Result<Layer<Tensor>> {
    let Node { kernel, stride, padding, groups, ceil, .. } = node;
    let mut weights = node.weights.into_iter().map(tensor);
    let mut weight = || weights.next().context("too few weights")?;
    Ok(match node.op.as_str() {
        "Conv" => {
            let (weight, bias) = (weight()?, weight()?.reshape((1, (), 1, 1))?);
            Box::new(move |x| {
                Ok(x[0].conv2d(&weight, padding, stride, 1, groups)?.broadcast_add(&bias)?)
            })
        }
        "Relu" => Box::new(|x| Ok(x[0].relu()?)),
        "Add" => Box::new(|x| Ok((&x[0] + &x[1])?)),
        "Concat" => Box::new(|x| Ok(Tensor::cat(&x, 1)?)),
        // candle's max-pooling has neither padding nor a ceiling. Zeros do as padding, because all that is pooled in these
        // graphs comes from a ReLU.
        "MaxPool" => Box::new(move |x| {
            let mut x = x[0].clone();
            for axis in [2, 3] {
                let rest = (x.dim(axis)? + 2 * padding - kernel) % stride;
                let more = if ceil && rest > 0 { stride - rest } else { 0 };
                x = x.pad_with_zeros(axis, padding, padding + more)?;
            }
            Ok(x.max_pool2d_with_stride(kernel, stride)?)
        }),
        "GlobalAveragePool" => Box::new(|x| Ok(x[0].mean_keepdim((2, 3))?)),
        "Flatten" => Box::new(|x| Ok(x[0].flatten_from(1)?)),
        "Gemm" => {
            let (weight, bias) = (weight()?.t()?, weight()?);
            Box::new(move |x| Ok(x[0].matmul(&weight)?.broadcast_add(&bias)?))
        }
        op => bail!("no layer for {op}"),
    })
}

fn tensor(weight: Weight) -> Result<Tensor> {
    Ok(Tensor::from_vec(weight.values, weight.shape, &Device::Cpu)?)
}
