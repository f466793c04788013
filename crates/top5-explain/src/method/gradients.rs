//! Methods that read the signal at the image: plain, times the image, over a path, over noise.

use top5_graph::random::{Stream, hash};
use top5_graph::{Rule, Tensor, counted};

use super::explainer::Explainer;
use super::{Explanation, Method, Target};
use crate::error::ExplainError;
use crate::signal::Path;

pub(super) fn plain(
    explainer: &mut Explainer,
    method: &Method,
    image: &[f32],
    target: Target,
) -> Result<Explanation, ExplainError> {
    let rule = method.rule().expect("a method of signals has a rule");
    let signal = signal(explainer, rule, image, target)?;
    explainer.of_signal(signal, target.against.is_some())
}

/// The signal of one image, `[1, c, h, w]`.
pub(super) fn signal(
    explainer: &mut Explainer,
    rule: Rule,
    image: &[f32],
    target: Target,
) -> Result<Tensor, ExplainError> {
    let path = Path::whole(explainer.graph(), rule);
    let projector = explainer.projector(&path)?;
    projector.forward(image)?;
    Ok(projector.backward(&[target.start()])?.remove(0))
}

pub(super) fn times_input(
    explainer: &mut Explainer,
    image: &[f32],
    target: Target,
) -> Result<Explanation, ExplainError> {
    let mut signal = signal(explainer, Rule::gradient(), image, target)?;
    signal.data_mut().iter_mut().zip(image).for_each(|(signal, value)| *signal *= value);
    explainer.of_signal(signal, true)
}

/// By the midpoint rule from a baseline of zero, the mean of the training images where they are standardised.
pub(super) fn integrated(
    explainer: &mut Explainer,
    image: &[f32],
    target: Target,
    steps: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Explanation, ExplainError> {
    let at = |step: usize, out: &mut [f32]| {
        let share = (step as f64 + 0.5) / steps as f64;
        out.iter_mut().zip(image).for_each(|(o, &v)| *o = (share * f64::from(v)) as f32);
    };
    let mut mean = mean_gradient(explainer, image.len(), target, steps, &at, progress)?;
    mean.data_mut().iter_mut().zip(image).for_each(|(mean, value)| *mean *= value);
    let sum: f64 = mean.data().iter().map(|&share| f64::from(share)).sum();
    let path = Path::whole(explainer.graph(), Rule::gradient());
    let mut score = |image: &[f32]| {
        explainer.next(1);
        let (logits, _) = explainer.projector(&path)?.forward(image)?;
        Ok::<_, ExplainError>(target.score(logits.data()))
    };
    let difference = score(image)? - score(&vec![0.0; image.len()])?;
    let notes = vec![format!(
        "The shares add up to {sum:.4e}, by {}; the score less that of the gray baseline is {difference:.4e}.",
        counted(steps, "point")
    )];
    Ok(Explanation { notes, ..explainer.of_signal(mean, true)? })
}

/// The noise of copy `i` is the stream `smoothgrad`'s substream `i`, one normal draw per element.
pub(super) fn smooth(
    explainer: &mut Explainer,
    image: &[f32],
    target: Target,
    (samples, level, seed): (usize, f32, u64),
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Explanation, ExplainError> {
    let least = image.iter().copied().fold(f32::INFINITY, f32::min);
    let most = image.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sigma = level * (most - least);
    let noise = Stream::new(seed, hash("smoothgrad"));
    let at = |sample: usize, out: &mut [f32]| {
        let mut noise = noise.substream(sample as u64);
        out.iter_mut().zip(image).for_each(|(o, &v)| *o = v + sigma * noise.normal());
    };
    let mean = mean_gradient(explainer, image.len(), target, samples, &at, progress)?;
    explainer.of_signal(mean, target.against.is_some())
}

/// The mean of the target's derivative over `count` images that `at` writes, summed in their order in double precision.
fn mean_gradient(
    explainer: &mut Explainer,
    size: usize,
    target: Target,
    count: usize,
    at: &dyn Fn(usize, &mut [f32]),
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Tensor, ExplainError> {
    let path = Path::whole(explainer.graph(), Rule::gradient());
    let [c, h, w] = explainer.graph().input();
    let mut sums = vec![0.0f64; size];
    let (mut images, mut first) = (Vec::new(), 0);
    while first < count {
        let n = explainer.next(count - first);
        let projector = explainer.projector(&path)?;
        images.resize(n * size, 0.0);
        for (i, image) in images.chunks_exact_mut(size).enumerate() {
            at(first + i, image);
        }
        projector.forward(&images)?;
        let signals = projector.backward(&[target.start()])?.remove(0);
        for signal in signals.data().chunks_exact(size) {
            sums.iter_mut().zip(signal).for_each(|(sum, &v)| *sum += f64::from(v));
        }
        first += n;
        progress(first, count);
    }
    let mean = sums.into_iter().map(|sum| (sum / count as f64) as f32).collect();
    Ok(Tensor::new([1, c, h, w], mean).expect("as many values as the image"))
}
