//! Which parameters an update treats otherwise: by what they are in their layer, or by name.

use super::{OutOfBounds, rate, require};
use crate::graph::{Graph, Node};
use crate::param::Param;
use crate::spec::Family;

/// What is otherwise for the parameters that it selects. Where several groups select a parameter, their factors multiply.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Which parameters.
    pub select: Select,
    /// Factor of the learning rate.
    pub lr: f64,
    /// Factor of the weight decay; 0 for none.
    pub decay: f64,
    /// They are left as they are, and so is what the optimiser keeps of them.
    pub frozen: bool,
}

/// A set of parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// All of them.
    All,
    /// Weights and biases of normalisation layers.
    Norms,
    /// Biases of all layers.
    Biases,
    /// Those whose name, `layer1.0.conv1.weight`, is this pattern or lies below it, as `layer1.0` or `*.conv1`. `*` stands for
    /// any letters, dots as well.
    Pattern(String),
}

/// What applies to one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scales {
    /// Factor of the learning rate.
    pub lr: f64,
    /// Factor of the weight decay.
    pub decay: f64,
    /// It is left as it is.
    pub frozen: bool,
}

impl Group {
    /// All parameters, as they are.
    pub fn all() -> Self {
        Self::of(Select::All)
    }

    /// These parameters, as they are: to be changed by the methods below.
    pub fn of(select: Select) -> Self {
        Self { select, lr: 1.0, decay: 1.0, frozen: false }
    }

    /// With this factor of the learning rate.
    pub fn lr(self, lr: f64) -> Self {
        Self { lr, ..self }
    }

    /// With this factor of the weight decay.
    pub fn decay(self, decay: f64) -> Self {
        Self { decay, ..self }
    }

    /// Left as they are.
    pub fn frozen(self) -> Self {
        Self { frozen: true, ..self }
    }

    pub(super) fn check(&self) -> Result<(), OutOfBounds> {
        let sensible = rate(self.lr) && rate(self.decay);
        require(sensible, "groups", "given factors that are finite and not negative")
    }
}

impl Scales {
    /// What the groups say of each learned parameter of `graph`, in the graph's order.
    pub fn of_all(graph: &Graph, groups: &[Group]) -> Vec<(String, Self)> {
        let mut all = Vec::new();
        for node in graph.nodes() {
            for param in node.spec.params.iter().filter(|param| param.learned) {
                let name = node.param_name(param);
                let scales = Self::of(node, param, &name, groups);
                all.push((name, scales));
            }
        }
        all
    }

    fn of(node: &Node, param: &Param, name: &str, groups: &[Group]) -> Self {
        let plain = Self { lr: 1.0, decay: 1.0, frozen: false };
        let selected = groups.iter().filter(|group| group.select.holds(node, param, name));
        selected.fold(plain, |scales, group| Self {
            lr: scales.lr * group.lr,
            decay: scales.decay * group.decay,
            frozen: scales.frozen || group.frozen,
        })
    }
}

impl Select {
    fn holds(&self, node: &Node, param: &Param, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Norms => node.spec.family == Family::Normalisation,
            Self::Biases => param.role == "bias",
            Self::Pattern(pattern) => {
                // The name itself and what it lies below: `a.b.c`, `a.b`, `a`.
                let ends = name.match_indices('.').map(|(at, _)| at).chain([name.len()]);
                let mut names = ends.map(|end| &name[..end]);
                names.any(|name| matches(pattern.as_bytes(), name.as_bytes()))
            }
        }
    }
}

/// Whether `name` is what `pattern` says, `*` standing for anything. In time of the product of their lengths at most.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where the last star was, and the first byte of the name that it has not taken.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            (p, n) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net;

    fn selected(select: Select) -> Vec<String> {
        let graph =
            net("tiny", [1, 8, 8], |x| x.conv_bn(4, 3).relu().conv(4, 3).flatten().linear(3));
        let scales = Scales::of_all(&graph.unwrap(), &[Group::of(select).frozen()]);
        scales.into_iter().filter(|(_, scales)| scales.frozen).map(|(name, _)| name).collect()
    }

    #[test]
    fn roles_and_patterns_select() {
        assert_eq!(selected(Select::Norms), ["bn1.weight", "bn1.bias"]);
        assert_eq!(selected(Select::Biases), ["bn1.bias", "conv2.bias", "fc1.bias"]);
        let pattern = |pattern: &str| selected(Select::Pattern(pattern.to_owned()));
        assert_eq!(pattern("conv2"), ["conv2.weight", "conv2.bias"]);
        assert_eq!(pattern("conv"), [""; 0]);
        assert_eq!(pattern("conv*"), ["conv1.weight", "conv2.weight", "conv2.bias"]);
        assert_eq!(pattern("*.bias"), selected(Select::Biases));
        assert_eq!(pattern("fc1.weight"), ["fc1.weight"]);
        assert_eq!(pattern("*"), selected(Select::All));
    }

    #[test]
    fn factors_of_several_groups_multiply() {
        let graph = net("tiny", [4, 1, 1], |x| x.flatten().linear(3)).unwrap();
        let groups = [
            Group::all().lr(0.5).decay(0.5),
            Group::of(Select::Biases).decay(0.0),
            Group::of(Select::Pattern("fc1".to_owned())).lr(0.5),
        ];
        let scales = Scales::of_all(&graph, &groups);
        assert_eq!(scales[0].1, Scales { lr: 0.25, decay: 0.5, frozen: false });
        assert_eq!(scales[1].1, Scales { lr: 0.25, decay: 0.0, frozen: false });
    }

    #[test]
    fn stars_stand_for_anything_and_cost_little() {
        let is = |pattern: &str, name: &str| matches(pattern.as_bytes(), name.as_bytes());
        for (pattern, name) in [("", ""), ("*", ""), ("a*c", "abbc"), ("*b*", "abc"), ("a**", "a")]
        {
            assert!(is(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", ""), ("", "a"), ("a*c", "abcd"), ("*b", "abc")] {
            assert!(!is(pattern, name), "{pattern} {name}");
        }
        assert!(!is(&"*a".repeat(1000), &"a".repeat(999)));
    }
}
