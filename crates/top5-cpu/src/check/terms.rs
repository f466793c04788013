//! Symbolic tensors: what a tensor is, without its numbers.
//!
//! An operation that moves no channels is opaque: `relu(x)` is a new name. Sums and moves of channels are known, so that the
//! same value has the same form however it was put together: a tensor is a list of runs of channels, each a sum of channels
//! of opaque results. Equal tensors have equal numbers.

use std::collections::HashMap;

/// The number of a tensor. Equal tensors have equal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tensor(usize);

/// Neighbouring channels: those of each of these opaque results from this channel on, added. Sorted; empty for zeros, `None`
/// for what was never written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Run {
    first: Option<Vec<(usize, usize)>>,
    count: usize,
}

impl Run {
    /// The part of it from this channel on.
    fn from(&self, at: usize) -> Option<Vec<(usize, usize)>> {
        let moved =
            |sum: &Vec<(usize, usize)>| sum.iter().map(|&(term, c)| (term, c + at)).collect();
        self.first.as_ref().map(moved)
    }
}

/// All tensors there are.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    opaque: HashMap<(String, Vec<Tensor>), usize>,
    names: Vec<(String, Vec<Tensor>)>,
    numbers: HashMap<Vec<Run>, Tensor>,
    tensors: Vec<Vec<Run>>,
}

impl Terms {
    fn tensor(&mut self, runs: Vec<Run>) -> Tensor {
        let mut joined: Vec<Run> = Vec::with_capacity(runs.len());
        for run in runs.into_iter().filter(|run| run.count > 0) {
            match joined.last_mut() {
                Some(last) if last.from(last.count) == run.first => last.count += run.count,
                Some(_) | None => joined.push(run),
            }
        }
        if let Some(&number) = self.numbers.get(&joined) {
            return number;
        }
        let number = Tensor(self.tensors.len());
        self.tensors.push(joined.clone());
        self.numbers.insert(joined, number);
        number
    }

    /// What an operation makes of its arguments: all channels of a new name.
    pub(crate) fn apply(&mut self, operation: String, args: &[Tensor], channels: usize) -> Tensor {
        let key = (operation, args.to_vec());
        let term = match self.opaque.get(&key) {
            Some(&term) => term,
            None => {
                self.names.push(key.clone());
                self.opaque.insert(key, self.names.len() - 1);
                self.names.len() - 1
            }
        };
        self.tensor(vec![Run { first: Some(vec![(term, 0)]), count: channels }])
    }

    pub(crate) fn zeros(&mut self, channels: usize) -> Tensor {
        self.tensor(vec![Run { first: Some(Vec::new()), count: channels }])
    }

    /// Memory that nothing was written to.
    pub(crate) fn unwritten(&mut self, channels: usize) -> Tensor {
        self.tensor(vec![Run { first: None, count: channels }])
    }

    pub(crate) fn channels(&self, tensor: Tensor) -> usize {
        self.tensors[tensor.0].iter().map(|run| run.count).sum()
    }

    /// Whether every channel was written.
    pub(crate) fn is_whole(&self, tensor: Tensor) -> bool {
        self.tensors[tensor.0].iter().all(|run| run.first.is_some())
    }

    /// Whether all channels are zeros or unwritten.
    pub(crate) fn is_blank(&self, tensor: Tensor) -> bool {
        self.tensors[tensor.0].iter().all(|run| run.first.as_ref().is_none_or(Vec::is_empty))
    }

    fn runs(&self, tensor: Tensor, from: usize, count: usize) -> Vec<Run> {
        let mut at = 0;
        let mut runs = Vec::new();
        for run in &self.tensors[tensor.0] {
            let [start, end] = [from.max(at), (from + count).min(at + run.count)];
            if start < end {
                runs.push(Run { first: run.from(start - at), count: end - start });
            }
            at += run.count;
        }
        runs
    }

    pub(crate) fn slice(&mut self, tensor: Tensor, from: usize, count: usize) -> Tensor {
        let runs = self.runs(tensor, from, count);
        self.tensor(runs)
    }

    pub(crate) fn concat(&mut self, parts: &[Tensor]) -> Tensor {
        let runs = parts.iter().flat_map(|part| self.tensors[part.0].clone()).collect();
        self.tensor(runs)
    }

    pub(crate) fn add(&mut self, a: Tensor, b: Tensor) -> Tensor {
        let mut cuts = vec![0];
        for tensor in [a, b] {
            let mut at = 0;
            for run in &self.tensors[tensor.0] {
                at += run.count;
                cuts.push(at);
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        let mut runs = Vec::new();
        for cut in cuts.windows(2) {
            let count = cut[1] - cut[0];
            let firsts = [a, b].map(|tensor| self.runs(tensor, cut[0], count).swap_remove(0).first);
            let first = match firsts {
                [Some(mut a), Some(b)] => {
                    a.extend(b);
                    a.sort_unstable();
                    Some(a)
                }
                [_, _] => None,
            };
            runs.push(Run { first, count });
        }
        self.tensor(runs)
    }

    /// For messages: the outermost operations.
    pub(crate) fn show(&self, tensor: Tensor) -> String {
        self.show_to(tensor, 3)
    }

    fn show_to(&self, tensor: Tensor, depth: usize) -> String {
        let term = |&(term, from): &(usize, usize)| {
            let (name, args) = &self.names[term];
            let args: Vec<String> = match depth {
                0 => args.iter().map(|_| "…".to_owned()).collect(),
                _ => args.iter().map(|&arg| self.show_to(arg, depth - 1)).collect(),
            };
            let from = if from == 0 { String::new() } else { format!("[{from}…]") };
            format!("{name}({}){from}", args.join(", "))
        };
        let run = |run: &Run| match &run.first {
            None => format!("{}×unwritten", run.count),
            Some(sum) if sum.is_empty() => format!("{}×0", run.count),
            Some(sum) => sum.iter().map(term).collect::<Vec<_>>().join(" + "),
        };
        self.tensors[tensor.0].iter().map(run).collect::<Vec<_>>().join(" | ")
    }
}
