//! The names of a recipe's keys, and which of them somebody meant who wrote another word.

use toml::de::{DeTable, DeValue};
use top5_graph::edit_distance;

/// Every key of a recipe. A test compares them with what is read.
pub(super) const KEYS: [&str; 50] = [
    "network",
    "classes",
    "data",
    "weights",
    "weights_key",
    "weights_sha256",
    "freeze",
    "head_lr",
    "layer_decay",
    "validation",
    "validation_data",
    "early_stopping",
    "seed",
    "init",
    "epochs",
    "batch_size",
    "accumulate",
    "sync_bn",
    "image_size",
    "precision",
    "lr",
    "warmup_epochs",
    "optimizer",
    "momentum",
    "dampening",
    "nesterov",
    "alpha",
    "centered",
    "beta1",
    "beta2",
    "eps",
    "trust_coefficient",
    "weight_decay",
    "no_decay",
    "clip_norm",
    "clip_value",
    "max_filter_rms",
    "ema",
    "ema_warmup",
    "ema_after",
    "ema_buffers",
    "label_smoothing",
    "checkpoint_steps",
    "groups",
    "schedule",
    "augment",
    "mixup",
    "cutmix",
    "preprocess",
    "about",
];

/// What other programs call the same.
const SYNONYMS: [(&str, &str); 35] = [
    ("model", "network"),
    ("arch", "network"),
    ("num_classes", "classes"),
    ("dataset", "data"),
    ("data_dir", "data"),
    ("pretrained", "weights"),
    ("val_split", "validation"),
    ("patience", "early_stopping"),
    ("num_epochs", "epochs"),
    ("batch", "batch_size"),
    ("grad_accum_steps", "accumulate"),
    ("gradient_accumulation_steps", "accumulate"),
    ("accumulate_grad_batches", "accumulate"),
    ("accumulation", "accumulate"),
    ("sync_batchnorm", "sync_bn"),
    ("img_size", "image_size"),
    ("input_size", "image_size"),
    ("amp", "precision"),
    ("dtype", "precision"),
    ("learning_rate", "lr"),
    ("warmup", "warmup_epochs"),
    ("opt", "optimizer"),
    ("betas", "beta1"),
    ("opt_eps", "eps"),
    ("wd", "weight_decay"),
    ("decay", "weight_decay"),
    ("clip_grad", "clip_norm"),
    ("grad_clip", "clip_norm"),
    ("max_norm", "clip_norm"),
    ("model_ema_decay", "ema"),
    ("smoothing", "label_smoothing"),
    ("sched", "schedule"),
    ("scheduler", "schedule"),
    ("lr_schedule", "schedule"),
    ("augmentation", "augment"),
];

/// The key that is called otherwise elsewhere, or the one that is written most alike.
pub(super) fn nearest(word: &str) -> &'static str {
    let word = word.to_lowercase().replace('-', "_");
    let synonym = SYNONYMS.iter().find(|(other, _)| *other == word);
    let alike = || KEYS.into_iter().min_by_key(|key| edit_distance(&word, key)).unwrap_or("");
    synonym.map_or_else(alike, |(_, key)| key)
}

/// Where in `text` a key of a recipe stands, or the key of this name within the table that it holds.
pub(super) fn start(text: &str, table: Option<&str>, key: &str) -> Option<usize> {
    let whole = DeTable::parse(text).ok()?;
    match table {
        None => whole.get_ref().keys().find(|own| own.get_ref() == key).map(|own| own.span().start),
        Some(table) => within(whole.get_ref().get(table)?.get_ref(), key),
    }
}

/// Where the first key of this name stands in a value's tables.
fn within(value: &DeValue<'_>, key: &str) -> Option<usize> {
    let entries = value.as_table()?.iter();
    entries
        .filter_map(|(own, below)| match own.get_ref() == key {
            true => Some(own.span().start),
            false => within(below.get_ref(), key),
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recipe;

    #[test]
    fn keys_are_those_that_are_read() {
        let error = toml::from_str::<Recipe>("no_such_key = 1").unwrap_err().to_string();
        let words: Vec<&str> = error.split('`').skip(1).step_by(2).collect();
        let read: Vec<&str> = words.into_iter().filter(|word| *word != "no_such_key").collect();
        let (mut read, mut listed) = (read, KEYS.to_vec());
        read.sort_unstable();
        listed.sort_unstable();
        assert_eq!(read, listed);
        assert!(SYNONYMS.iter().all(|(word, key)| KEYS.contains(key) && !KEYS.contains(word)));
    }

    #[test]
    fn slips_and_words_of_others_are_understood() {
        for (word, key) in [
            ("momentun", "momentum"),
            ("Weight-Decay", "weight_decay"),
            ("wieght_decay", "weight_decay"),
            ("learning_rate", "lr"),
            ("batchsize", "batch_size"),
            ("epoch", "epochs"),
            ("sched", "schedule"),
            ("val_split", "validation"),
        ] {
            assert_eq!(nearest(word), key, "{word}");
        }
    }
}
