//! Weights in several files: `model.safetensors.index.json` (and `pytorch_model.bin.index.json`) says which tensor lies in which.

use crate::error::{FormatError, MAX_NAME, quoted};
use crate::loaded::Loaded;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of the longest index that is read, and the most files that it may name.
const LONGEST: usize = 1 << 24;
const MOST: usize = 1 << 10;

/// What an index says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    files: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Json {
    weight_map: BTreeMap<String, String>,
}

fn malformed(what: impl Into<String>) -> FormatError {
    FormatError::malformed("index of weights", what)
}

/// Whether a name stands for a file in the same folder, and not for a hidden one.
pub(crate) fn is_plain(name: &str) -> bool {
    let length = 1..=MAX_NAME;
    length.contains(&name.len()) && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0'])
}

impl Index {
    /// Reads an index. Files are named without folders, since they lie beside it.
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() > LONGEST {
            return Err(malformed(format!("{} bytes, of at most {LONGEST}", bytes.len())));
        }
        let Json { weight_map } =
            serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        let files: BTreeSet<String> = weight_map.into_values().collect();
        for name in &files {
            if !is_plain(name) {
                return Err(malformed(format!("{} is no file beside it", quoted(name))));
            }
        }
        match files.len() {
            0 => Err(malformed("it names no file")),
            1..=MOST => Ok(Self { files }),
            many => Err(malformed(format!("it names {many} files, of at most {MOST}"))),
        }
    }

    /// The files, each once.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// The tensors of all files together, of which none may be there twice.
    pub fn join(files: impl IntoIterator<Item = Loaded>) -> Result<Loaded, FormatError> {
        let mut files = files.into_iter();
        let mut whole = files.next().ok_or_else(|| malformed("none of its files is there"))?;
        for file in files {
            whole.metadata.extend(file.metadata);
            whole.groups.extend(file.groups);
            whole.unread.extend(file.unread);
            for (name, tensor) in file.weights {
                if whole.weights.insert(name.clone(), tensor).is_some() {
                    return Err(malformed(format!("two files have tensor {}", quoted(&name))));
                }
            }
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{read_weights, safetensors};
    use top5_graph::{Tensor, Weights};

    fn file(names: &[&str]) -> Loaded {
        let tensors = names.iter().map(|name| ((*name).to_owned(), Tensor::zeros([2])));
        let weights: Weights = tensors.collect();
        read_weights(&safetensors::write(&weights, &BTreeMap::new())).unwrap()
    }

    #[test]
    fn files_are_joined_unless_they_have_one_tensor_twice() {
        let text =
            br#"{"metadata":{"total_size":16},"weight_map":{"a":"1.st","b":"2.st","c":"2.st"}}"#;
        let index = Index::read(text).unwrap();
        assert!(index.names().eq(["1.st", "2.st"]));
        let whole = Index::join([file(&["a"]), file(&["b", "c"])]).unwrap();
        assert_eq!(whole.weights.len(), 3);
        let twice = Index::join([file(&["a", "b"]), file(&["b", "c"])]).unwrap_err().to_string();
        assert!(twice.contains("two files have tensor `b`"), "{twice}");
        let none = Index::join([]).unwrap_err().to_string();
        assert!(none.contains("none of its files"), "{none}");
    }

    #[test]
    fn files_elsewhere_are_refused() {
        for (name, word) in [
            ("../x", "no file beside it"),
            ("/etc/passwd", "no file beside it"),
            ("c:\\\\x", "no file beside it"),
            (".hidden", "no file beside it"),
            ("", "no file beside it"),
        ] {
            let text = format!(r#"{{"weight_map":{{"a":"{name}"}}}}"#);
            let error = Index::read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(word), "{name}: {error}");
        }
        for (text, word) in [
            ("{}", "weight_map"),
            (r#"{"weight_map":{}}"#, "names no file"),
            (r#"{"weight_map":{"a":1}}"#, "string"),
        ] {
            let error = Index::read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
