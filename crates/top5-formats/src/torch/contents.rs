//! What a checkpoint holds: the dicts of tensors in it, wherever they lie, and which of them are the network's weights.

use super::globals::Stranger;
use super::object::{Object, Value};
use super::pickle::Pickle;
use super::{malformed, refused};
use crate::Group;
use crate::error::{FormatError, quoted};
use crate::pick::{self, AVERAGED_MODEL, NO_AVERAGE, Pick};
use std::collections::BTreeSet;
use std::fmt;

use top5_graph::counted;

/// Keys under which training scripts put the state dict, the likeliest first.
const KNOWN: [&str; 8] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "params",
];
/// Parts of keys under which there are tensors that are no weights: states of optimisers, schedules and scalers.
const NO_WEIGHTS: [&str; 4] = ["optim", "sched", "scaler", "momentum"];
/// How deep a dict of tensors may lie, so that the paths of all together stay short.
const DEEPEST: usize = 8;
/// Each parameter of an optimiser may have one.
const MAX_GROUPS: usize = 1 << 14;
const OPTIMISER: &str =
    "it holds what an optimiser keeps, and no weights: give the checkpoint of the model";
/// Groups that an error or a caller is told of.
const LISTED: usize = 16;

/// A dict of tensors.
struct Found<'p, 'a> {
    path: Vec<String>,
    items: Items<'p, 'a>,
    tensors: usize,
}

/// A list of tensors, which have no names there: the averages of some trainings (`shadow_params`), `list(model.parameters())`.
struct Nameless {
    path: String,
    tensors: usize,
}

impl fmt::Display for Nameless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place =
            if self.path.is_empty() { String::new() } else { format!(" (`{}`)", self.path) };
        write!(f, "a list of {}{place} without names", counted(self.tensors, "tensor"))
    }
}

/// Keys and values of a dict.
pub(super) type Items<'p, 'a> = &'p [(Value<'a>, Value<'a>)];

impl Found<'_, '_> {
    fn holds(&self, words: &[&str]) -> bool {
        self.path.iter().any(|key| words.iter().any(|word| key.to_lowercase().contains(word)))
    }

    /// Whether it belongs to what training keeps beside the weights: by its key, or since an optimiser keeps it for the parameter
    /// of that number, under names that are no paths.
    fn is_no_weights(&self) -> bool {
        let number = |key: &String| key.bytes().all(|digit| digit.is_ascii_digit());
        let is_path =
            |(key, _): &(Value<'_>, Value<'_>)| matches!(key, Value::Str(key) if key.contains('.'));
        let of_parameter = match &self.path[..] {
            [.., state, last] => {
                state == "state" && number(last) && !self.items.iter().any(is_path)
            }
            _ => false,
        };
        of_parameter || self.holds(&NO_WEIGHTS)
    }

    fn is_average(&self) -> bool {
        let counted = |(key, _): &(Value<'_>, Value<'_>)| *key == Value::Str(AVERAGED_MODEL);
        self.path.iter().any(|key| pick::is_average(key)) || self.items.iter().any(counted)
    }

    /// Whether an average is among its tensors, by their names.
    fn holds_average(&self) -> bool {
        let named = |(key, _): &(Value<'_>, Value<'_>)| matches!(key, Value::Str(key) if pick::beginning(key).is_some());
        self.items.iter().any(named)
    }

    /// Its place among the usual keys; `None` for a key that is not one of them, and for the whole checkpoint.
    fn rank(&self) -> Option<usize> {
        let last = self.path.last()?;
        KNOWN.iter().position(|known| last == known)
    }
}

/// The items of the dict that `pick` asks for, and all groups of weights that there are.
pub(super) fn state_dict<'p, 'a>(
    pickle: &'p Pickle<'a>,
    pick: &Pick,
) -> Result<(Items<'p, 'a>, Vec<Group>), FormatError> {
    let (found, nameless) = find(pickle)?;
    let weights = |average: bool| {
        let all = found.iter().enumerate();
        all.filter(move |(_, group)| !group.is_no_weights() && group.is_average() == average)
    };
    let best = |average: bool| {
        let known = weights(average).filter(|(_, group)| group.rank().is_some());
        let known = known.min_by_key(|(_, group)| (group.path.len(), group.rank()));
        // Without a usual key, the one with the most tensors; of equal ones neither.
        let most = weights(average).map(|(_, group)| group.tensors).max();
        let mut largest = weights(average).filter(|(_, group)| Some(group.tensors) == most);
        known.or_else(|| largest.next().filter(|_| largest.next().is_none())).map(|(at, _)| at)
    };
    let taken = match pick {
        Pick::Weights => {
            best(false).or_else(|| weights(false).next().is_none().then(|| best(true))?)
        }
        Pick::Average => best(true).or_else(|| best(false).filter(|&at| found[at].holds_average())),
        Pick::Key(key) => {
            let meant = found.iter().position(|group| group.path.join(".") == *key);
            meant.or_else(|| best(false))
        }
    };
    let groups: Vec<Group> = found
        .iter()
        .enumerate()
        .filter(|(_, group)| !group.is_no_weights())
        .map(|(at, group)| Group {
            path: group.path.join("."),
            tensors: group.tensors,
            average: group.is_average(),
            taken: Some(at) == taken,
        })
        .collect();
    match taken {
        Some(at) => Ok((found[at].items, groups)),
        None if found.iter().all(Found::is_no_weights) => {
            let why = match (pickle.stranger, nameless.first()) {
                (Some(class), None) => of_class(class),
                _ if !found.is_empty() => OPTIMISER.to_owned(),
                (_, nameless) => no_dict(pickle, nameless),
            };
            Err(refused(why))
        }
        None => {
            let lists = nameless.iter().filter(|_| *pick == Pick::Average);
            let lists: Vec<String> = lists.map(|found| format!(", {found}")).collect();
            let all = format!("{}{}", list(&groups), lists.concat());
            Err(refused(format!("{}; it holds {all}", complaint(pick))))
        }
    }
}

/// What is to be said of an object of this class.
pub(super) fn of_class(class: Stranger<'_>) -> String {
    format!(
        "an object of {class}, which is not read: if that is the model, save `model.state_dict()`"
    )
}

/// Why a checkpoint without a dict of tensors is none of weights.
fn no_dict(pickle: &Pickle<'_>, nameless: Option<&Nameless>) -> String {
    if let Some(found) = nameless {
        return format!("it holds {found}: save `model.state_dict()`, where each has its name");
    }
    let keys = match pickle.root {
        Value::Object(id) => pickle.object(id).pairs().unwrap_or_default(),
        Value::Plain | Value::Int(_) | Value::Str(_) | Value::Global(_) | Value::Stranger(_) => &[],
    };
    if keys.iter().any(|(key, _)| matches!(key, Value::Str(key) if *key == "param_groups")) {
        return OPTIMISER.to_owned();
    }
    "the checkpoint holds no tensors in a dict; NumPy's arrays are none: make them with `torch.from_numpy`".to_owned()
}

fn complaint(pick: &Pick) -> &'static str {
    match pick {
        Pick::Weights => {
            "it is not clear which of its tensors are the network's weights (`top5 convert FILE OUT.safetensors --weights-key KEY` \
             takes those to which KEY leads)"
        }
        Pick::Key(_) => {
            "it is not clear which of its tensors are meant (KEY of --weights-key leads to a dict, as listed here, or is a beginning \
             of names)"
        }
        Pick::Average => NO_AVERAGE,
    }
}

fn list(groups: &[Group]) -> String {
    let mut texts: Vec<String> = groups.iter().take(LISTED).map(Group::to_string).collect();
    if groups.len() > LISTED {
        texts.push(format!("{} more", groups.len() - LISTED));
    }
    texts.join(", ")
}

/// A value, and the key that leads to it from another.
struct Step<'a> {
    from: Option<(usize, Value<'a>)>,
    value: Value<'a>,
    depth: usize,
}

/// All dicts of tensors, those nearest to the root first, and some of the lists.
fn find<'p, 'a>(
    pickle: &'p Pickle<'a>,
) -> Result<(Vec<Found<'p, 'a>>, Vec<Nameless>), FormatError> {
    let (mut found, mut nameless) = (Vec::new(), Vec::new());
    // A dict may contain itself.
    let mut seen = BTreeSet::new();
    let mut steps = vec![Step { from: None, value: pickle.root, depth: 0 }];
    let mut next = 0;
    while let Some(&Step { value, depth, .. }) = steps.get(next) {
        let at = next;
        next += 1;
        let Value::Object(id) = value else { continue };
        let mut visit = |key: Value<'a>, value: Value<'a>| {
            if let (Value::Object(id), ..DEEPEST) = (value, depth)
                && seen.insert(id)
            {
                steps.push(Step { from: Some((at, key)), value, depth: depth + 1 });
            }
        };
        match pickle.object(id) {
            Object::Dict(items) => {
                items.iter().for_each(|&(key, value)| visit(key, value));
                let named = items.iter().filter(|(key, _)| matches!(key, Value::Str(_)));
                let tensors = named.filter(|&&(_, value)| is_tensor(pickle, value)).count();
                if tensors > 0 {
                    found.push(Found { path: path(&steps, at), items, tensors });
                }
            }
            Object::Sequence(items) => {
                let numbered = items.iter().enumerate();
                numbered.for_each(|(at, &value)| visit(Value::Int(at as i64), value));
                let tensors = items.iter().filter(|&&value| is_tensor(pickle, value)).count();
                if tensors > 0 && nameless.len() < LISTED {
                    nameless.push(Nameless { path: path(&steps, at).join("."), tensors });
                }
            }
            Object::Storage(_) | Object::Tensor(_) | Object::Unread(_) | Object::Inert => {}
        }
        if found.len() > MAX_GROUPS {
            return Err(refused(format!("it has more than {MAX_GROUPS} dicts of tensors")));
        }
    }
    if found.is_empty() && !matches!(pickle.root, Value::Object(_)) {
        return Err(malformed("its content is not a dict of tensors"));
    }
    Ok((found, nameless))
}

/// The keys from the root to a step.
fn path(steps: &[Step<'_>], mut at: usize) -> Vec<String> {
    let mut path = Vec::new();
    while let Some((from, key)) = steps[at].from {
        path.push(match key {
            Value::Str(key) => short(key),
            Value::Int(key) => key.to_string(),
            Value::Plain | Value::Global(_) | Value::Stranger(_) | Value::Object(_) => {
                "?".to_owned()
            }
        });
        at = from;
    }
    path.reverse();
    path
}

fn short(key: &str) -> String {
    let text = quoted(key);
    text.trim_matches('`').to_owned()
}

fn is_tensor(pickle: &Pickle<'_>, value: Value<'_>) -> bool {
    let Value::Object(id) = value else { return false };
    matches!(pickle.object(id), Object::Tensor(_) | Object::Unread(_))
}
