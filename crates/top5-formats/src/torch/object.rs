//! What a pickle of tensors is made of: values, and the objects that they refer to by number.

use super::globals::{Global, Kind, Stranger};
use std::borrow::Cow;

/// No tensor here has more dimensions.
pub(super) const MAX_RANK: usize = 8;

/// A value on the machine's stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// `None`, a boolean, a float, bytes: nothing that a tensor is made of.
    Plain,
    Int(i64),
    Str(&'a str),
    Global(Global),
    /// A class or function that nothing is known of.
    Stranger(Stranger<'a>),
    /// Index into the arena.
    Object(usize),
}

/// What the arena holds.
#[derive(Debug)]
pub(super) enum Object<'a> {
    /// A tuple or a list.
    Sequence(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Storage(StorageRef<'a>),
    Tensor(TensorRef<'a>),
    /// A tensor that is not read, and why.
    Unread(&'static str),
    /// A set, or anything made of a [`Global::Inert`] or of a class that nothing is known of. Whatever is put into it is gone.
    Inert,
}

/// A storage, named; its bytes are elsewhere.
#[derive(Clone, Debug)]
pub(super) struct StorageRef<'a> {
    pub(super) kind: Kind,
    pub(super) key: Cow<'a, str>,
    /// Number of elements.
    pub(super) len: usize,
    /// The element where a view of the storage begins, from which tensors count; 0 but in files before PyTorch 0.4.
    pub(super) start: usize,
}

/// A view of a storage. `shape` and `stride` have the same length.
#[derive(Clone, Debug)]
pub(super) struct TensorRef<'a> {
    pub(super) storage: StorageRef<'a>,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

impl TensorRef<'_> {
    /// Whether it has more elements than its storage, some of them again and again.
    pub(super) fn is_expanded(&self) -> bool {
        let count = self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        self.stride.contains(&0) && count.is_none_or(|count| count > self.storage.len)
    }
}

impl<'a> Object<'a> {
    /// The items of a tuple or list.
    pub(super) fn items(&self) -> Option<&[Value<'a>]> {
        match self {
            Self::Sequence(items) => Some(items),
            Self::Dict(_) | Self::Storage(_) | Self::Tensor(_) | Self::Unread(_) | Self::Inert => {
                None
            }
        }
    }

    /// The pairs of a dict.
    pub(super) fn pairs(&self) -> Option<&[(Value<'a>, Value<'a>)]> {
        match self {
            Self::Dict(pairs) => Some(pairs),
            Self::Sequence(_)
            | Self::Storage(_)
            | Self::Tensor(_)
            | Self::Unread(_)
            | Self::Inert => None,
        }
    }
}

/// The items of a tuple or list, or `None` for another value.
pub(super) fn sequence<'o, 'a>(
    objects: &'o [Object<'a>],
    value: Value<'a>,
) -> Option<&'o [Value<'a>]> {
    let Value::Object(id) = value else { return None };
    objects[id].items()
}
