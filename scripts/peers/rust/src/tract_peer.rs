//! tract: the ONNX file, optimised for a fixed batch.

use anyhow::{Result, anyhow};
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

use crate::Run;

pub fn load(model: &str, images: Vec<f32>, shape: [usize; 4]) -> Result<Run> {
    // tract is single-threaded unless it is given an executor.
    set_default_executor(Executor::multithread(std::env::var("PEER_THREADS")?.parse()?));
    let model = tract_onnx::onnx()
        .model_for_path(model)?
        .with_input_fact(0, f32::fact(shape).into())?
        .into_optimized()?
        .into_runnable()?;
    let images: TValue = Tensor::from_shape(&shape, &images)?.into();
    Ok(Box::new(move || {
        let outputs = model.run(tvec!(images.clone()))?;
        let logits = outputs.first().ok_or_else(|| anyhow!("no output"))?;
        Ok(logits.view().as_slice::<f32>()?.to_vec())
    }))
}
