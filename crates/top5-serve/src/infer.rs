//! The Open Inference Protocol's `infer`, with Triton's binary and classification extensions.
//!
//! A model has two inputs, of which a request gives one: `input`, prepared tensors (FP32, or FP16 in binary; [images, channels,
//! height, width]), and `image`: files (BYTES, [images]) or pixels (UINT8, [images, height, width, channels]). Its outputs are
//! `logits` and `probabilities`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use top5::data::{Image, Limits};

use crate::answer::{Answer, document, with_type};
use crate::app::App;
use crate::failure::Failure;
use crate::predict::predict;
use crate::request::Received;
use crate::served::Served;
use crate::tensor::{Data, Datatype, Values, count};

/// The version that every model has: one file, one version.
pub(crate) const VERSION: &str = "1";
/// Where the JSON ends and the tensors begin.
const HEADER: &str = "inference-header-content-length";
const OUTPUTS: [&str; 2] = ["logits", "probabilities"];

/// A value of a parameter. Unknown parameters are ignored, unknown kinds of values are not.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a parameter must be a text, a number, true or false")]
enum Parameter {
    Switch(bool),
    Number(f64),
    Text(
        #[expect(
            dead_code,
            reason = "its kind is checked, and no parameter that we know is a text"
        )]
        String,
    ),
}

type Parameters = BTreeMap<String, Parameter>;

/// Where something may be left out it may be `null`, too, as pydantic's clients write it.
#[derive(Debug, Deserialize)]
struct Asked {
    id: Option<String>,
    parameters: Option<Parameters>,
    inputs: Vec<Input>,
    outputs: Option<Vec<Wanted>>,
}

#[derive(Debug, Deserialize)]
struct Input {
    name: String,
    shape: Vec<u64>,
    datatype: Datatype,
    parameters: Option<Parameters>,
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
struct Wanted {
    name: String,
    parameters: Option<Parameters>,
}

fn switch(parameters: &Option<Parameters>, name: &str) -> Result<Option<bool>, Failure> {
    match parameters.as_ref().and_then(|all| all.get(name)) {
        None => Ok(None),
        Some(Parameter::Switch(on)) => Ok(Some(*on)),
        Some(_) => Err(Failure::bad(format!("{name} must be true or false"))),
    }
}

fn whole(parameters: &Option<Parameters>, name: &str) -> Result<Option<usize>, Failure> {
    match parameters.as_ref().and_then(|all| all.get(name)) {
        None => Ok(None),
        Some(&Parameter::Number(n)) if n >= 0.0 && n.fract() == 0.0 && n < 1e15 => {
            Ok(Some(n as usize))
        }
        Some(_) => Err(Failure::bad(format!("{name} must be a whole number"))),
    }
}

/// An output, as it is wanted.
struct Form {
    name: &'static str,
    binary: bool,
    /// The most probable classes instead of the values.
    top: Option<usize>,
}

/// A request, understood.
struct Request {
    id: Option<String>,
    input: Tensor,
    outputs: Vec<Form>,
}

/// The input.
enum Tensor {
    Prepared(Vec<f32>, usize),
    Files(Vec<Vec<u8>>),
    Pixels(Vec<Image>),
}

impl Tensor {
    fn images(&self) -> usize {
        match self {
            Self::Prepared(_, images) => *images,
            Self::Files(files) => files.len(),
            Self::Pixels(images) => images.len(),
        }
    }

    /// [images, channels, height, width].
    fn prepare(self, model: &Served, limits: &Limits) -> Result<Vec<f32>, Failure> {
        let size = model.preprocess.size();
        let mut input = vec![0.0; self.images() * size];
        match self {
            Self::Prepared(values, _) => return Ok(values),
            Self::Files(files) => {
                for (index, (file, out)) in
                    files.iter().zip(input.chunks_exact_mut(size)).enumerate()
                {
                    model.prepare(file, limits, out).map_err(|failure| {
                        Failure::bad(format!("image {index}: {}", failure.message))
                    })?;
                }
            }
            Self::Pixels(images) => {
                for (image, out) in images.iter().zip(input.chunks_exact_mut(size)) {
                    model.resize(image, out);
                }
            }
        }
        Ok(input)
    }
}

/// What the protocol calls a model's metadata.
pub(crate) fn metadata(model: &Served) -> Value {
    let [channels, height, width] = model.graph.input();
    let output =
        |name| json!({ "name": name, "datatype": "FP32", "shape": [-1, model.classes.len()] });
    json!({
        "name": model.name,
        "versions": [VERSION],
        "platform": "top5",
        "inputs": [
            { "name": "input", "datatype": "FP32", "shape": [-1, channels, height, width] },
            { "name": "image", "datatype": "BYTES", "shape": [-1] },
        ],
        "outputs": OUTPUTS.map(output),
    })
}

/// Answers a request.
pub(crate) async fn answer(
    app: &Arc<App>,
    model: &Arc<Served>,
    received: Received,
) -> Result<Answer, Failure> {
    let (served, most) = (Arc::clone(model), app.options.max_batch);
    let read = move || {
        let Received { headers, bytes, held } = received;
        let request = understand(&served, &headers, &bytes)?;
        let images = request.input.images();
        if !(1..=most).contains(&images) {
            let message =
                format!("{images} images in one request: expected 1 to {most} (--max-batch)");
            return Err(Failure::bad(message));
        }
        Ok((request, held))
    };
    let (request, held) = app.apart(read).await?;
    let Request { id, input, outputs } = request;
    let (images, limits) = (input.images(), app.options.images);
    let prepare = move |served: &Served| input.prepare(served, &limits);
    let predicted = predict(app, model, images, prepare).await?;
    drop(held);
    let (served, logits) = (Arc::clone(model), predicted.answer.logits);
    app.written(model, logits.len(), move || written(&served, id, &outputs, &logits)).await
}

/// Reads a request: JSON alone, JSON with tensors behind it, or, where the header says that there is no JSON, one image file.
fn understand(model: &Served, headers: &HeaderMap, bytes: &[u8]) -> Result<Request, Failure> {
    let wrong =
        || Failure::bad("Inference-Header-Content-Length is not one length within the body");
    let length: Option<usize> = match headers.get_all(HEADER).iter().collect::<Vec<_>>()[..] {
        [] => None,
        [value] => {
            let length = value.to_str().ok().and_then(|text| text.parse().ok());
            Some(length.ok_or_else(wrong)?)
        }
        _ => return Err(wrong()),
    };
    if length == Some(0) {
        let outputs = OUTPUTS.map(|name| Form { name, binary: true, top: None });
        let input = Tensor::Files(vec![bytes.to_vec()]);
        return Ok(Request { id: None, input, outputs: outputs.into() });
    }
    let (text, mut tensors) =
        bytes.split_at_checked(length.unwrap_or(bytes.len())).ok_or_else(wrong)?;
    // Lists would be taken for objects without names.
    if text.trim_ascii_start().first().is_some_and(|&first| first != b'{') {
        return Err(Failure::bad("the request: expected a JSON object"));
    }
    let asked: Asked = serde_json::from_slice(text)
        .map_err(|error| Failure::bad(format!("the request: {error}")))?;
    let Ok([input]) = <[Input; 1]>::try_from(asked.inputs) else {
        return Err(Failure::bad("expected one of the inputs `input` and `image`"));
    };
    let values = count(&input.shape)?;
    let name = input.name.clone();
    let named = |failure: Failure| Failure::bad(format!("{name:.40}: {}", failure.message));
    let given = match (input.data, whole(&input.parameters, "binary_data_size")?) {
        (Some(data), None) => Values::of_data(input.datatype, data, values).map_err(named)?,
        (None, Some(size)) => {
            let outside = || Failure::bad("binary_data_size is more than the body has");
            let (own, rest) = tensors.split_at_checked(size).ok_or_else(outside)?;
            tensors = rest;
            Values::of_bytes(input.datatype, own, values).map_err(named)?
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(Failure::bad("an input has either data or binary_data_size"));
        }
    };
    if !tensors.is_empty() {
        return Err(Failure::bad("there are bytes after the last tensor"));
    }
    let input = tensor(model, &input.name, &input.shape, given)?;
    let all = switch(&asked.parameters, "binary_data_output")?.unwrap_or(false);
    Ok(Request { id: asked.id, input, outputs: forms(asked.outputs.unwrap_or_default(), all)? })
}

/// The input that these values are.
fn tensor(model: &Served, name: &str, shape: &[u64], values: Values) -> Result<Tensor, Failure> {
    let [channels, height, width] = model.graph.input();
    match (name, values) {
        ("input", Values::Floats(values)) => {
            let expected = [channels as u64, height as u64, width as u64];
            match shape {
                [images, rest @ ..] if rest == expected => {
                    Ok(Tensor::Prepared(values, *images as usize))
                }
                _ => {
                    let message = format!(
                        "input must have the shape [images, {channels}, {height}, {width}]"
                    );
                    Err(Failure::bad(message))
                }
            }
        }
        ("image", Values::Files(files)) => Ok(Tensor::Files(files)),
        ("image", Values::Pixels(pixels)) => {
            let sides = match shape {
                [_, sides @ ..] if sides.len() == 3 && !pixels.is_empty() => sides,
                _ => &[][..],
            };
            let &[height, width, channels @ (1 | 3)] = sides else {
                let message = "pixels must have the shape [images, height, width, 1 or 3]";
                return Err(Failure::bad(message));
            };
            let [height, width, channels] = [height, width, channels].map(|side| side as usize);
            let images = pixels.chunks_exact(height * width * channels);
            let images =
                images.map(|pixels| Image { channels, height, width, pixels: pixels.to_vec() });
            Ok(Tensor::Pixels(images.collect()))
        }
        ("input", _) => Err(Failure::bad("input takes FP32, or FP16 in binary")),
        ("image", _) => Err(Failure::bad("image takes BYTES or UINT8")),
        (_, _) => Err(Failure::bad("the model's inputs are `input` and `image`")),
    }
}

/// How the outputs are wanted: all of them where none is named.
fn forms(wanted: Vec<Wanted>, binary: bool) -> Result<Vec<Form>, Failure> {
    if wanted.is_empty() {
        return Ok(OUTPUTS.map(|name| Form { name, binary, top: None }).into());
    }
    let names: BTreeSet<&str> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
    if names.len() < wanted.len() {
        return Err(Failure::bad("an output is wanted twice"));
    }
    let form = |wanted: Wanted| {
        let name = OUTPUTS.into_iter().find(|name| *name == wanted.name);
        let name = name
            .ok_or_else(|| Failure::bad("the model's outputs are `logits` and `probabilities`"))?;
        let binary = switch(&wanted.parameters, "binary_data")?.unwrap_or(binary);
        let top = whole(&wanted.parameters, "classification")?.filter(|top| *top > 0);
        Ok(Form { name, binary, top })
    };
    wanted.into_iter().map(form).collect()
}

/// The answer: JSON, and after it the tensors that are wanted as bytes.
fn written(model: &Served, id: Option<String>, forms: &[Form], logits: &[f32]) -> Answer {
    let classes = model.classes.len();
    let images = logits.len() / classes;
    let mut tensors: Vec<u8> = Vec::new();
    let mut outputs = Vec::new();
    for form in forms {
        let values: Vec<f32> = match form.name {
            "probabilities" => logits.chunks_exact(classes).flat_map(top5::softmax).collect(),
            _ => logits.to_vec(),
        };
        let mut output = Map::new();
        output.insert("name".to_owned(), form.name.into());
        let start = tensors.len();
        let (datatype, width, data) = match form.top {
            Some(top) => {
                let top = top.min(classes);
                let texts: Vec<String> = (0..images)
                    .flat_map(|image| {
                        let at = image * classes..(image + 1) * classes;
                        let best = top5::best(&logits[at.clone()], &model.classes, top);
                        let values = values[at].to_vec();
                        best.into_iter()
                            .map(move |p| classified(values[p.label as usize], p.label, &p.class))
                    })
                    .collect();
                if form.binary {
                    for text in &texts {
                        tensors.extend((text.len() as u32).to_le_bytes());
                        tensors.extend(text.as_bytes());
                    }
                }
                ("BYTES", top, json!(texts))
            }
            None if form.binary => {
                tensors.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                ("FP32", classes, Value::Null)
            }
            None => ("FP32", classes, json!(values)),
        };
        output.insert("datatype".to_owned(), datatype.into());
        output.insert("shape".to_owned(), json!([images, width]));
        match form.binary {
            true => {
                let size = json!({ "binary_data_size": tensors.len() - start });
                output.insert("parameters".to_owned(), size);
            }
            false => {
                output.insert("data".to_owned(), data);
            }
        }
        outputs.push(Value::Object(output));
    }
    let mut said =
        json!({ "model_name": model.name, "model_version": VERSION, "outputs": outputs });
    if let Some(id) = id {
        said["id"] = id.into();
    }
    if !forms.iter().any(|form| form.binary) {
        return document(&said);
    }
    let mut body = said.to_string().into_bytes();
    let length = body.len();
    body.extend(tensors);
    let mut answer = with_type("application/octet-stream", body);
    answer.headers_mut().insert(HEADER, HeaderValue::from(length));
    answer
}

/// `value:index:label`; a label may hold colons.
fn classified(value: f32, label: u32, class: &str) -> String {
    let mut text = format!("{value:.6}:{label}");
    if class != label.to_string() {
        write!(text, ":{class}").expect("a text takes what is written");
    }
    text
}
