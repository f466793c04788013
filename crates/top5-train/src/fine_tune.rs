//! Fine-tuning: which parameters learn, and how fast, where a run starts from weights that have learnt before.
//!
//! Frozen parameters keep every bit, in the average of the weights too. A batch normalisation whose weight and bias are both
//! frozen normalises by its running statistics, as at inference, and these stay: the engine trains a graph in which it is the
//! affine map that this comes to.

use std::collections::BTreeSet;

use top5_graph::{Affine, Family, Graph, Group, Node, Scales, Select, StateName, Tensor, Weights};

use crate::recipe::{Recipe, RecipeError};

/// What a recipe means for the parameters of one network.
#[derive(Clone, Debug)]
pub struct FineTuning {
    /// What the engine trains.
    graph: Graph,
    /// The normalisations that are affine maps there.
    fixed: Vec<Fixed>,
    /// Names of the frozen parameters, and of the running statistics that stay.
    frozen: BTreeSet<String>,
    /// Names of all tensors that are learned or follow.
    moving: usize,
    groups: Vec<Group>,
}

/// A batch normalisation that stays as it is.
#[derive(Clone, Debug)]
struct Fixed {
    name: String,
    eps: f32,
}

impl FineTuning {
    /// What `recipe` says of the parameters of `graph`. Fails where a pattern of `freeze` or `groups` names nothing, or nothing is
    /// left to learn.
    pub fn new(graph: &Graph, recipe: &Recipe) -> Result<Self, RecipeError> {
        let mut groups = recipe.update(recipe.lr, 1).groups;
        if let Some(factor) = recipe.head_lr {
            groups.extend(head(graph).map(|node| named(&node.name).lr(factor)));
        }
        if let Some(decay) = recipe.layer_decay {
            groups.extend(by_depth(graph, decay));
        }
        let freeze = recipe.freeze.iter().map(|pattern| ("freeze", pattern));
        let of_groups = recipe.groups.iter().map(|group| ("groups", &group.params));
        for (key, pattern) in freeze.chain(of_groups) {
            let select = Select::Pattern(pattern.clone());
            if frozen_by(graph, &[Group::of(select).frozen()]).is_empty() {
                return Err(unmatched(key, pattern, graph));
            }
        }
        let mut frozen = frozen_by(graph, &groups);
        let learned = graph.params().filter(|(_, param)| param.learned).count();
        if frozen.len() == learned {
            let message = format!(
                "freeze leaves nothing of {} to learn: leave its head, {}, out",
                graph.name(),
                head(graph).map(|node| node.name.as_str()).collect::<Vec<_>>().join(" and ")
            );
            return Err(RecipeError::Parameters { message });
        }
        let moving = learned - frozen.len();
        let fixed: Vec<Fixed> =
            graph.nodes().iter().filter_map(|node| fixed(node, &frozen)).collect();
        for Fixed { name, .. } in &fixed {
            frozen.extend(STATISTICS.map(|role| format!("{name}.{role}")));
        }
        let is_fixed = |name: &str| fixed.iter().any(|of| of.name == name);
        let graph = graph.with_fixed_norms(is_fixed);
        Ok(Self { graph, fixed, frozen, moving, groups })
    }

    /// The graph that the engine trains: with the network's own tensors but for the normalisations that stay.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What is otherwise for some parameters of [`Self::graph`].
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// How many tensors are learned, and how many of the network's stay, those of normalisations included.
    pub fn counts(&self) -> [usize; 2] {
        [self.moving, self.frozen.len()]
    }

    /// Whether a tensor of the network stays as it is.
    pub fn is_frozen(&self, name: &str) -> bool {
        self.frozen.contains(name)
    }

    /// The network's weights as [`Self::graph`] has them.
    pub fn inward(&self, weights: &Weights) -> Weights {
        let mut weights = weights.clone();
        for fixed in &self.fixed {
            fixed.enter(&mut weights);
        }
        weights
    }

    /// Weights of [`Self::graph`] as the network has them; what is frozen is as in `before`, the network's weights at any
    /// time of the run.
    pub(crate) fn outward(&self, mut weights: Weights, before: &Weights) -> Weights {
        for name in &self.frozen {
            if let Some(tensor) = before.tensor(name) {
                weights.insert(name.clone(), tensor.clone());
            }
        }
        weights
    }

    /// What the optimiser keeps, with its average of the weights as the network has them.
    pub(crate) fn outward_state(&self, state: Weights, before: &Weights) -> Weights {
        self.with_average(state, |average| self.outward(average, before))
    }

    /// The opposite of [`Self::outward_state`].
    pub(crate) fn inward_state(&self, state: Weights) -> Weights {
        self.with_average(state, |average| self.inward(&average))
    }

    fn with_average(&self, state: Weights, change: impl Fn(Weights) -> Weights) -> Weights {
        let average = StateName::Ema.select(&state).filter(|_| !self.frozen.is_empty());
        let Some(average) = average else { return state };
        let prefix = format!("{}/", StateName::Ema.name());
        let others = state.into_iter().filter(|(name, _)| !name.starts_with(&prefix));
        others.chain(StateName::Ema.label(change(average))).collect()
    }
}

/// The buffers of a batch normalisation.
const STATISTICS: [&str; 2] = ["running_mean", "running_var"];

/// The normalisation of this node, if its parameters are frozen.
fn fixed(node: &Node, frozen: &BTreeSet<String>) -> Option<Fixed> {
    let eps = node.spec.affine?.eps;
    let mut learned = node.spec.params.iter().filter(|param| param.learned);
    let stays = learned.all(|param| frozen.contains(&node.param_name(param)));
    stays.then(|| Fixed { name: node.name.clone(), eps })
}

impl Fixed {
    /// Puts the affine map in the place of the normalisation's tensors.
    fn enter(&self, weights: &mut Weights) {
        let name = |role: &str| format!("{}.{role}", self.name);
        let mut take = |role| weights.remove(&name(role)).map(Tensor::into_data);
        let tensors = (take("weight"), take("bias"), take("running_mean"), take("running_var"));
        let (Some(weight), Some(bias), Some(mean), Some(variance)) = tensors else { return };
        let affine = Affine { eps: self.eps };
        let lines =
            (0..weight.len()).map(|c| affine.line(weight[c], bias[c], mean[c], variance[c]));
        let (slopes, intercepts): (Vec<f32>, Vec<f32>) =
            lines.map(|[slope, intercept]| (slope as f32, intercept as f32)).unzip();
        let channels = slopes.len();
        let shape = vec![channels, 1, 1, 1];
        for (role, shape, values) in
            [("weight", shape, slopes), ("bias", vec![channels], intercepts)]
        {
            if let Some(tensor) = Tensor::new(shape, values) {
                weights.insert(name(role), tensor);
            }
        }
    }
}

/// The last layers with parameters before the logits and the auxiliary outputs: those whose shape the number of classes
/// decides.
pub fn head(graph: &Graph) -> impl Iterator<Item = &Node> {
    graph.outputs().iter().filter_map(|output| {
        let mut node = graph.node(output.node);
        while node.spec.params.iter().all(|param| !param.learned) {
            node = graph.node(*node.inputs.first()?);
        }
        Some(node)
    })
}

/// The parameters that these groups freeze.
fn frozen_by(graph: &Graph, groups: &[Group]) -> BTreeSet<String> {
    let scales = Scales::of_all(graph, groups).into_iter();
    scales.filter(|(_, scales)| scales.frozen).map(|(name, _)| name).collect()
}

/// A group of all parameters of the layer, or of those below this name.
fn named(name: &str) -> Group {
    Group::of(Select::Pattern(name.to_owned()))
}

/// Factors `decay^(steps from the last)` of the learning rate, one step per block or layer, as timm's `layer_decay`: a block
/// is what lies below the first number of a name (`layer1.0`, `features.3`), and a normalisation between blocks belongs to
/// the one before it.
fn by_depth(graph: &Graph, decay: f64) -> Vec<Group> {
    let mut blocks: Vec<Vec<String>> = Vec::new();
    let learns = |node: &&Node| node.spec.params.iter().any(|param| param.learned);
    let mut seen = BTreeSet::new();
    for node in graph.nodes().iter().filter(learns) {
        let block = block(&node.name).to_owned();
        if !seen.insert(block.clone()) {
            continue;
        }
        match blocks.last_mut() {
            Some(last) if node.spec.family == Family::Normalisation => last.push(block),
            Some(_) | None => blocks.push(vec![block]),
        }
    }
    let factors = (0..blocks.len()).rev().map(|steps| decay.powi(steps as i32));
    let groups = blocks.iter().zip(factors);
    groups
        .flat_map(|(names, factor)| names.iter().map(move |name| named(name).lr(factor)))
        .collect()
}

/// The name's beginning up to its first number, or its first part.
fn block(name: &str) -> &str {
    let ends = name.match_indices('.').map(|(at, _)| at).chain([name.len()]);
    let number = |end: &usize| {
        let part = name[..*end].rsplit('.').next().unwrap_or_default();
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let first = name.find('.').unwrap_or(name.len());
    &name[..ends.into_iter().find(number).unwrap_or(first)]
}

fn unmatched(key: &str, pattern: &str, graph: &Graph) -> RecipeError {
    let mut parts: Vec<&str> = Vec::new();
    for node in graph.nodes().iter().filter(|node| !node.spec.params.is_empty()) {
        let part = node.name.split('.').next().unwrap_or_default();
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    let message = format!(
        "{key}: {pattern:?} is no parameter, layer or stage of {}, which has {}; * stands for anything",
        graph.name(),
        parts.join(", ")
    );
    RecipeError::Parameters { message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ParamGroup, initialise};
    use top5_graph::net;

    fn graph() -> Graph {
        net("tiny", [1, 8, 8], |x| {
            let x = x.conv_bn(4, 3).relu().conv_bn(6, 3).relu();
            x.flatten().linear(3).named("head").relu().linear(5).named("fc")
        })
        .unwrap()
    }

    fn recipe() -> Recipe {
        Recipe::usual("tiny", "squares")
    }

    #[test]
    fn frozen_norms_become_what_they_are_at_inference() {
        let graph = graph();
        let freeze = vec!["conv1".to_owned(), "bn1".to_owned()];
        let tuning = FineTuning::new(&graph, &Recipe { freeze, ..recipe() }).unwrap();
        assert_eq!(tuning.counts(), [7, 5]);
        let mut weights = initialise(&graph, 1);
        let set = |weights: &mut Weights, name: &str, values: [f32; 4]| {
            weights.insert(name, Tensor::new([4], values.to_vec()).unwrap());
        };
        set(&mut weights, "bn1.weight", [2.0, 1.0, 3.0, 1.0]);
        set(&mut weights, "bn1.bias", [0.5; 4]);
        set(&mut weights, "bn1.running_mean", [1.0; 4]);
        set(&mut weights, "bn1.running_var", [4.0 - 1e-5; 4]);
        let inward = tuning.inward(&weights);
        inward.check(tuning.graph()).unwrap();
        // The variance as an f32 is up to 1.2e-7 away from 4 - 1e-5.
        let close = |name: &str, expected: [f32; 4]| {
            let got = inward.tensor(name).unwrap().data();
            let near = got.iter().zip(expected).all(|(got, want)| (got - want).abs() < 1e-7);
            assert!(near && got.len() == 4, "{name}: {got:?}, expected {expected:?}");
        };
        close("bn1.weight", [1.0, 0.5, 1.5, 0.5]);
        close("bn1.bias", [-0.5, 0.0, -1.0, 0.0]);
        assert_eq!(tuning.outward(inward, &weights), weights);
    }

    #[test]
    fn patterns_that_name_nothing_and_networks_that_cannot_learn_are_refused() {
        for (pattern, words) in [("layer1", ["layer1", "bn2"]), ("*", ["nothing", "fc"])] {
            let recipe = Recipe { freeze: vec![pattern.to_owned()], ..recipe() };
            let error = FineTuning::new(&graph(), &recipe).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
        let group = ParamGroup { params: "fcc".to_owned(), lr: 10.0, decay: 1.0, frozen: false };
        let recipe = Recipe { groups: vec![group], ..recipe() };
        let error = FineTuning::new(&graph(), &recipe).unwrap_err().to_string();
        assert!(error.contains("groups: \"fcc\""), "{error}");
    }

    #[test]
    fn rates_fall_with_the_distance_from_the_head() {
        let recipe = Recipe { layer_decay: Some(0.5), head_lr: Some(10.0), ..recipe() };
        let tuning = FineTuning::new(&graph(), &recipe).unwrap();
        let scales = top5_graph::Scales::of_all(&graph(), tuning.groups());
        let rate = |wanted: &str| scales.iter().find(|(name, _)| name == wanted).unwrap().1.lr;
        let rates =
            ["conv1.weight", "bn1.bias", "conv2.weight", "head.bias", "fc.weight"].map(rate);
        assert_eq!(rates, [0.125, 0.125, 0.25, 0.5, 10.0]);
    }

    #[test]
    fn blocks_end_at_the_first_number() {
        let names = ["layer1.0.downsample.0", "features.3", "conv1", "Mixed_5b.branch1x1.conv"];
        assert_eq!(names.map(block), ["layer1.0", "features.3", "conv1", "Mixed_5b"]);
    }
}
