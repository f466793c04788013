//! What a report shows of the images themselves: thumbnails of those that it names, and twins.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use top5::data::{Dataset, Filter, Image, resize};
use top5::eval::twins::{Pair, between, prints, within};
use top5::explain::picture::{data_uri, encode};

use super::data::Choice;
use super::result::{Details, LISTED, Outcome, Twin, Twins};
use crate::output::Output;
use crate::progress::Progress;

/// Longest side of a thumbnail.
const SIDE: usize = 96;

/// What is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) thumbnails: bool,
    pub(crate) twins: bool,
    /// Threads that read images.
    pub(crate) threads: usize,
}

/// The address of a thumbnail by part and name.
pub(crate) type Thumbnails = BTreeMap<(String, String), String>;

/// Opens the judged images again where that is wanted: adds twins to the details, and returns thumbnails of what these name.
pub(crate) fn look(
    outcome: &Outcome,
    details: &mut Details,
    data: &Choice,
    wanted: Wanted,
    output: Output,
) -> Result<Thumbnails> {
    let mut thumbnails = Thumbnails::new();
    if !(wanted.thumbnails || wanted.twins) {
        return Ok(thumbnails);
    }
    let origin = &outcome.header.origin;
    let (part, before) = data.again(origin)?;
    let judged = (origin.split.as_str(), part.dataset.as_ref());
    let before: Vec<(&str, &dyn Dataset)> =
        before.iter().map(|(name, dataset)| (*name, dataset.as_ref())).collect();
    if wanted.twins {
        let threads = wanted.threads;
        details.twins = Some(twins(judged, &before, threads, &outcome.header.classes, output));
    }
    if wanted.thumbnails {
        let suspects = details.suspects.iter().map(|one| (judged.0, &one.image));
        let pairs = details.twins.iter().flat_map(|twins| &twins.pairs);
        let pairs = pairs.flat_map(|pair| [(judged.0, &pair.image), (&*pair.of, &pair.twin)]);
        let key = |(of, name): (&str, &String)| (of.to_owned(), name.clone());
        let named = suspects.chain(pairs).map(key);
        thumbnails.extend(named.map(|key| (key, String::new())));
        for (of, dataset) in [judged].into_iter().chain(before) {
            for index in 0..dataset.len() {
                let key = (of.to_owned(), dataset.sample_name(index));
                if let Some(address) = thumbnails.get_mut(&key) {
                    *address = data_uri(&thumbnail(&dataset.sample(index)?.image)?);
                }
            }
        }
    }
    Ok(thumbnails)
}

fn twins(
    (split, judged): (&str, &dyn Dataset),
    before: &[(&str, &dyn Dataset)],
    threads: usize,
    classes: &[String],
    output: Output,
) -> Twins {
    let all = judged.len() + before.iter().map(|(_, dataset)| dataset.len()).sum::<usize>();
    let (progress, done) = (Progress::new(output, "looking for twins", all), AtomicUsize::new(0));
    let step = || progress.set(done.fetch_add(1, Ordering::Relaxed) + 1, String::new);
    let ours = prints(judged, threads, &step);
    let mut found = Vec::new();
    let mut add = |pairs: Vec<Pair>, of: &str, others: &dyn Dataset| {
        for Pair { image, twin } in pairs {
            let labels = [judged.label(image), others.label(twin)];
            let [class, twin_class] = labels.map(|label| classes[label as usize].clone());
            let (image, twin) = (judged.sample_name(image), others.sample_name(twin));
            let of = of.to_owned();
            found.push((labels[0] == labels[1], Twin { image, class, twin, twin_class, of }));
        }
    };
    for &(of, dataset) in before {
        add(between(&ours, &prints(dataset, threads, &step)), of, dataset);
    }
    add(within(&ours), split, judged);
    // Stable: otherwise in the order of the images.
    found.sort_by_key(|(same, _)| *same);
    let number = found.len();
    Twins { found: number, pairs: found.into_iter().take(LISTED).map(|(_, twin)| twin).collect() }
}

/// A picture of an image, no longer than a thumbnail is, as a PNG file.
pub(crate) fn thumbnail(image: &Image) -> Result<Vec<u8>> {
    let (height, width) = (image.height, image.width);
    let longer = height.max(width).max(1);
    let small = match longer > SIDE {
        true => {
            let [height, width] = [height, width].map(|side| (side * SIDE / longer).max(1));
            resize(image, height, width, Filter::Bilinear)
        }
        false => image.clone(),
    };
    Ok(encode(&small, &[])?)
}
