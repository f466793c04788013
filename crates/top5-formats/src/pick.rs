//! Which of the tensors in a file are meant, where it holds more than those of one network: by the keys that lead to them in a PyTorch
//! checkpoint, or by what their names begin with in any file.

use std::collections::{BTreeMap, BTreeSet};

use top5_graph::Weights;

use crate::error::{FormatError, quoted};
use crate::loaded::Group;
use crate::several::below;
use crate::translate::{DEEPEST, clean_names};

/// Which of the groups of tensors in a checkpoint is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pick {
    /// The weights that training ended with.
    #[default]
    Weights,
    /// Their average over the last steps (EMA).
    Average,
    /// Those in the dict to which these keys lead (`student`, `models.0`); where there is none, the weights, in which
    /// [`below`] finds the names that begin so.
    Key(String),
}

/// Words of keys and names that stand for an average of the weights over the steps of training.
const AVERAGES: [&str; 3] = ["ema", "swa", "averaged"];
/// The counter that `torch.optim.swa_utils.AveragedModel` keeps beside the average.
pub(crate) const AVERAGED_MODEL: &str = "n_averaged";

/// Whether a key says that what it leads to is an average of weights.
pub(crate) fn is_average(key: &str) -> bool {
    key.to_lowercase().split(['_', '-', ' ']).any(|word| AVERAGES.contains(&word))
}

/// The beginning of a tensor's name, without the dot that ends it, that says that it belongs to an average.
pub(crate) fn beginning(name: &str) -> Option<&str> {
    let ends = name.match_indices('.').take(DEEPEST).map(|(at, _)| at);
    ends.map(|at| &name[..at]).find(|start| is_average(start.rsplit('.').next().unwrap_or(start)))
}

/// The tensors of `weights` that `pick` asks for, which were read from the groups of a file, and what to say of it.
///
/// # Errors
///
/// [`FormatError::Refused`] where there are none.
pub fn picked(
    weights: Weights,
    groups: &[Group],
    pick: &Pick,
) -> Result<(Weights, Option<String>), FormatError> {
    let taken = groups.iter().find(|group| group.taken);
    let of_key = |key: &String| taken.is_some_and(|group| group.path == *key);
    let names = clean_names(weights.iter().map(|(name, _)| name));
    let mut averages: BTreeMap<&str, usize> = BTreeMap::new();
    let averaged = names.iter().filter_map(|(_, name)| beginning(name));
    averaged.for_each(|start| *averages.entry(start).or_default() += 1);
    let listed: Vec<String> = averages.keys().take(LISTED).map(|start| quoted(start)).collect();
    let listed = listed.join(", ");
    match pick {
        Pick::Key(key) if !of_key(key) => below(weights, key).map(|weights| (weights, None)),
        Pick::Average if taken.is_none_or(|group| !group.average) => {
            let mut starts = averages.keys();
            let (Some(start), None) = (starts.next(), starts.next()) else {
                let what = match averages.len() {
                    0 => NO_AVERAGE.to_owned(),
                    _ => format!(
                        "it holds several averages, below {listed}: --weights-key takes one"
                    ),
                };
                return Err(FormatError::refused("weights", what));
            };
            let note = format!("took the average of weights, whose names begin with {listed}");
            Ok((below(weights, start)?, Some(note)))
        }
        // All that is there may be an average.
        Pick::Weights
            if !averages.is_empty() && 2 * averages.values().sum::<usize>() <= names.len() =>
        {
            let kept = names.iter().filter(|(_, name)| beginning(name).is_none());
            let kept: BTreeSet<String> = kept.map(|(old, _)| old.clone()).collect();
            let note =
                format!("took the weights; their average is below {listed}: take it with --ema");
            Ok((weights.into_iter().filter(|(name, _)| kept.contains(name)).collect(), Some(note)))
        }
        Pick::Key(_) | Pick::Average | Pick::Weights => Ok((weights, None)),
    }
}

/// Beginnings that are listed.
const LISTED: usize = 8;
/// What to say where there is no average of the weights.
pub(crate) const NO_AVERAGE: &str = "there is no average of the weights (EMA) in it, neither as a dict nor below a beginning of names \
     that says so, as `ema_model` does (--weights-key takes tensors by what their names begin with)";

#[cfg(test)]
mod tests {
    use super::*;
    use top5_graph::Tensor;

    fn file(names: &[&str]) -> Weights {
        let values = names.iter().zip(0u8..);
        values
            .map(|(name, i)| ((*name).to_owned(), Tensor::new([1], vec![f32::from(i)]).unwrap()))
            .collect()
    }

    #[test]
    fn averages_are_told_by_what_names_begin_with() {
        for (names, average, weights) in [
            (
                vec!["model.a", "model.b", "ema_model.a", "ema_model.b"],
                vec!["a", "b"],
                vec!["model.a", "model.b"],
            ),
            (vec!["a", "module.swa_model.module.a"], vec!["a"], vec!["a"]),
            (vec!["net.EMA.a", "net.online.a"], vec!["a"], vec!["net.online.a"]),
            // Nothing but an average.
            (vec!["ema.a", "ema.b"], vec!["a", "b"], vec!["ema.a", "ema.b"]),
        ] {
            let names_of = |pick| {
                let (picked, note) = picked(file(&names), &[], &pick).unwrap();
                let found: Vec<String> = picked.iter().map(|(name, _)| name.to_owned()).collect();
                (found, note.is_some())
            };
            assert_eq!(
                names_of(Pick::Average),
                (average.into_iter().map(str::to_owned).collect(), true)
            );
            let told = weights.len() < names.len();
            assert_eq!(
                names_of(Pick::Weights),
                (weights.into_iter().map(str::to_owned).collect(), told)
            );
        }
        for (names, words) in [
            (vec!["schema.a", "emanate.b", "ema"], "no average"),
            (vec!["ema.a", "swa.a", "a", "b"], "several averages, below `ema`, `swa`"),
        ] {
            let error = picked(file(&names), &[], &Pick::Average).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
