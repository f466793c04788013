//! rten: the ONNX file with its weights packed once, as rten's options offer.

use anyhow::Result;
use rten::{ModelOptions, Value};

use crate::Run;

pub fn load(model: &str, images: Vec<f32>, shape: [usize; 4]) -> Result<Run> {
    let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(model)?;
    let images = Value::from_shape(shape, images)?;
    Ok(Box::new(move || {
        let (_, logits) =
            model.run_one(images.as_view().into(), None)?.into_shape_vec::<f32, 2>()?;
        Ok(logits)
    }))
}
