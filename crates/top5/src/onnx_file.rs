//! A network with its weights from an ONNX file: the one of the zoo whose structure the file has.

use top5_data::Preprocess;
use top5_formats::{FormatError, Intake, Onnx, OnnxWeights};
use top5_graph::Graph;
use top5_zoo::{Network, Settings};

use crate::description::Description;
use crate::error::ModelError;

/// Kinds of nodes that an error lists.
const LISTED: usize = 5;
/// Thousandths of a file's values that a network must have for it to be the one that was meant.
const NEAR: usize = 500;

/// What a file holds.
pub(crate) struct Recognised {
    pub(crate) network: &'static Network,
    /// At the file's input size and number of classes, without auxiliary heads.
    pub(crate) graph: Graph,
    pub(crate) weights: OnnxWeights,
}

/// What was done to a file that has nodes of this kind, and what to do about it.
fn rewritten(op: &str) -> Option<String> {
    let quantised = [
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "ConvInteger",
        "QLinearConv",
    ];
    if quantised.contains(&op) {
        return Some("it is quantised: take the file before it was".to_owned());
    }
    let fused = ["FusedConv", "FusedGemm", "FusedMatMul"];
    if fused.contains(&op) || op.starts_with("com.microsoft") {
        let what = "ONNX Runtime has optimised it for itself: take the file before it was";
        return Some(what.to_owned());
    }
    op.contains('.').then(|| format!("it calls {op}, which is none of ONNX's operators"))
}

/// Compares the file with `named`; otherwise with the network that it is said to be, then with every network of the zoo.
pub(crate) fn recognise(
    onnx: &Onnx<'_>,
    named: Option<&'static Network>,
    description: &Description,
) -> Result<Recognised, ModelError> {
    let (mut reason, mut nearest) = (None, None);
    let said = description.network.as_deref().and_then(|name| top5_zoo::network(name).ok());
    let all = said.into_iter().chain(top5_zoo::networks());
    for network in all.filter(|network| named.is_none_or(|named| named.name == network.name)) {
        let [c, h, w] = network.input;
        let [channels, height, width] = onnx.input();
        let input = [channels.unwrap_or(c), height.unwrap_or(h), width.unwrap_or(w)];
        let classes = match onnx.classes(input) {
            Ok(classes) => classes,
            Err(unknown) => {
                reason.get_or_insert(unknown);
                continue;
            }
        };
        // A network whose last layer is no convolution has its own number of classes, or the one that is said.
        let mut counts = classes;
        counts.push(network.classes);
        counts.extend(description.class_count);
        counts.sort_unstable();
        counts.dedup();
        for classes in counts {
            // Files are written without auxiliary heads, for which the input may have no room.
            let settings = Settings { input, classes, auxiliary: false };
            let Ok(graph) = network.with(settings) else { continue };
            if let Some(weights) = onnx.weights(&graph) {
                return Ok(Recognised { network, graph: graph.inference(), weights });
            }
            if let Some(alike) = onnx.alike(&graph)
                && nearest.as_ref().is_none_or(|(share, _, _)| alike.share > *share)
            {
                nearest = Some((alike.share, network.name, alike.departs));
            }
        }
    }
    let census = onnx.census();
    let kinds: Vec<String> =
        census.iter().take(LISTED).map(|(op, count)| format!("{count} {op}")).collect();
    let nearest = nearest.filter(|&(share, _, _)| share >= NEAR).map(|(_, name, [op, output])| {
        format!("most of it is as in {name}, and the first that is not is `{op}` ({output})")
    });
    let reason = census.iter().find_map(|(op, _)| rewritten(op)).or(reason).or(nearest);
    let kinds = if kinds.is_empty() { "no nodes".to_owned() } else { kinds.join(", ") };
    Err(ModelError::Onnx { named: named.map(|network| network.name), kinds, reason })
}

/// How images are prepared for a network whose file goes on preparing its input, and what to say about it. `said` is whether
/// somebody said how the file's input is prepared, which is `preprocess` then; otherwise that is the network's usual one.
pub(crate) fn prepared(
    intake: &Intake,
    said: bool,
    preprocess: &Preprocess,
) -> Result<(Preprocess, String), ModelError> {
    let of = |before: [&[f64]; 2]| statistics(intake, before);
    let channels = intake.channels.len();
    let with = |[mean, std]: [Vec<f64>; 2]| {
        let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
        Preprocess { mean: narrow(mean), std: narrow(std), ..preprocess.clone() }
    };
    let widen = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
    let (found, what) = if said {
        let found = of([&widen(&preprocess.mean), &widen(&preprocess.std)]);
        (with(found), "it goes on from there with what its description says of its input")
    } else if let found = of([&vec![0.0; channels], &vec![1.0; channels]])
        && !intake.bytes
        && plausible(&found)
    {
        (with(found), "its input is pixels from 0 to 1")
    } else if let found = of([&vec![0.0; channels], &vec![1.0 / 255.0; channels]])
        && plausible(&found)
        && (intake.bytes || tells(&found))
    {
        (with(found), "its input is pixels from 0 to 255")
    } else if let usual = Preprocess::imagenet(1, 1)
        && channels == usual.mean.len()
        && let found = of([&widen(&usual.mean), &widen(&usual.std)])
        && found.iter().flatten().all(|value| (value - 0.5).abs() < 1e-3)
    {
        let half = with([vec![0.5; channels], vec![0.5; channels]]);
        (half, "it takes images that are normalised as for ImageNet and scales them to -1..1")
    } else {
        let lines =
            intake.channels.iter().map(|(_, [factor, term])| format!("{factor:.4}x{term:+.4}"));
        let what = format!(
            "it makes {} of its input before the first layer, which fits neither pixels from 0 to 1 nor from 0 to 255: export it without that",
            lines.collect::<Vec<_>>().join(", ")
        );
        return Err(FormatError::Refused { format: "ONNX", what }.into());
    };
    let order = if intake.blue_first { ", blue first" } else { "" };
    let note = format!(
        "it prepares its input itself ({what}{order}): images get mean {:?} and std {:?}",
        found.mean, found.std
    );
    Ok((found, note))
}

/// Mean and deviation that give the network its input from pixels of 0..1, where the file's input is such pixels less `mean`, divided
/// by `std`.
fn statistics(intake: &Intake, [mean, std]: [&[f64]; 2]) -> [Vec<f64>; 2] {
    let mut found = [mean.to_vec(), std.to_vec()];
    for &(source, [factor, term]) in &intake.channels {
        if let (Some(&mean), Some(&std)) = (mean.get(source), std.get(source)) {
            found[0][source] = mean - term * std / factor;
            found[1][source] = std / factor;
        }
    }
    found
}

/// Whether images are prepared by such numbers: pixels of 0..1 have a mean in there, and no larger deviation.
fn plausible([mean, std]: &[Vec<f64>; 2]) -> bool {
    const SLACK: f64 = 1e-3;
    mean.iter().all(|mean| (-SLACK..=1.0 + SLACK).contains(mean))
        && std.iter().all(|&std| std > 0.0 && std <= 1.0 + SLACK)
}

/// Whether numbers for pixels of 0..255 cannot be meant for an input of another range: a mean as pixels have it, or their range itself.
fn tells([mean, std]: &[Vec<f64>; 2]) -> bool {
    mean.iter().all(|&mean| mean > 0.02) || std.iter().all(|&std| std > 0.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intake(lines: [[f64; 2]; 3], bytes: bool) -> Intake {
        let channels = lines.into_iter().enumerate().collect();
        Intake { channels, bytes, blue_first: false }
    }

    fn found(intake: &Intake, said: Option<&Preprocess>) -> [Vec<f32>; 2] {
        let usual = Preprocess::imagenet(8, 8);
        let (found, _) = prepared(intake, said.is_some(), said.unwrap_or(&usual)).unwrap();
        assert_eq!(found, Preprocess { mean: found.mean.clone(), std: found.std.clone(), ..usual });
        // Of six digits no rounding is left.
        [found.mean, found.std]
            .map(|values| values.iter().map(|value| (value * 1e5).round() / 1e5).collect())
    }

    #[test]
    fn the_range_of_the_input_follows_from_what_the_file_does_to_it() {
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let imagenet = [mean, std].map(|values| values.map(|value| value as f32).to_vec());
        let lines = |range: f64| [0, 1, 2].map(|c| [1.0 / (range * std[c]), -mean[c] / std[c]]);
        assert_eq!(found(&intake(lines(1.0), false), None), imagenet);
        assert_eq!(found(&intake(lines(255.0), false), None), imagenet);
        assert_eq!(found(&intake(lines(255.0), true), None), imagenet);
        let half = [vec![0.5; 3], vec![0.5; 3]];
        for [factor, term] in [[2.0, -1.0], [1.0 / 127.5, -1.0]] {
            assert_eq!(found(&intake([[factor, term]; 3], false), None), half);
        }
        let scaled = [1.0 / 255.0, 0.0];
        assert_eq!(found(&intake([scaled; 3], true), None), [vec![0.0; 3], vec![1.0; 3]]);
        // Caffe's mean, in the file's order of channels.
        let mut blue = intake([[255.0, -51.0], [255.0, -102.0], [255.0, -153.0]], false);
        blue.channels.iter_mut().zip([2, 1, 0]).for_each(|(channel, at)| channel.0 = at);
        let [mean_found, std_found] = found(&blue, None);
        assert_eq!((mean_found, std_found), (vec![0.6, 0.4, 0.2], vec![0.00392; 3]));
        // torchvision's `transform_input`, and a description that says what comes before.
        let transform = [0, 1, 2].map(|c| [std[c] / 0.5, (mean[c] - 0.5) / 0.5]);
        assert_eq!(found(&intake(transform, false), None), half);
        let said =
            Preprocess { mean: vec![0.0; 3], std: vec![1.0; 3], ..Preprocess::imagenet(8, 8) };
        assert_eq!(found(&intake(lines(1.0), false), Some(&said)), imagenet);
    }

    #[test]
    fn what_fits_no_pixels_is_refused_with_what_is_done() {
        for line in [[0.1, -300.0], [0.1, -0.1], [-1.0, 1.0], [2.0, 7.0]] {
            let usual = Preprocess::imagenet(8, 8);
            let error = prepared(&intake([line; 3], false), false, &usual).unwrap_err().to_string();
            let words = format!("{:.4}x{:+.4}", line[0], line[1]);
            assert!(error.contains(&words) && error.contains("export it without"), "{error}");
        }
    }
}
