//! How a page builds a network: [`net`], the handle [`Var`], and scopes for names.
//!
//! Names are automatic and predictable, so that they can equal those of published weight files: in a plain scope a
//! layer is called after its kind and number (`conv1`, `bn1`, `conv2`, …), in a [`Var::sequential`] scope after its
//! index among all layers of the scope (`0`, `1`, …), as in PyTorch's `Sequential`; [`Var::named`] overrides both.
//!
//! A page has no error handling: the first error is kept with its source line, later calls do nothing, and [`net`]
//! returns it.

use crate::error::{GraphError, ShapeError};
use crate::graph::{Graph, Node, NodeId, Output};
use crate::op::Op;
use crate::ops::*;
use crate::param::Init;
use crate::shape::Shape;
use crate::spec::{Fans, Spec};
use crate::window::{Window, k};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Add as AddOperator;
use std::panic::Location;

/// Builds the network `name` for inputs of `[channels, height, width]`.
///
/// ```
/// use top5_graph::{k, net};
/// let tiny = net("tiny", [3, 32, 32], |x| {
///     let x = x.conv(16, k(3).pad(1)).relu().max_pool(k(2).stride(2));
///     x.flatten().linear(10)
/// })?;
/// assert_eq!(tiny.param_count(), 3 * 16 * 9 + 16 + 16 * 16 * 16 * 10 + 10);
/// # Ok::<(), top5_graph::GraphError>(())
/// ```
#[track_caller]
pub fn net(
    name: &str,
    input: [usize; 3],
    body: impl for<'g> FnOnce(Var<'g>) -> Var<'g>,
) -> Result<Graph, GraphError> {
    let builder = Builder { name: name.to_owned(), state: RefCell::new(State::default()) };
    let x = builder.append(Input { chw: input }.into(), Vec::new(), Location::caller());
    let logits = body(x).node;
    builder.finish(logits, Location::caller())
}

struct Builder {
    name: String,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    nodes: Vec<Node>,
    outputs: Vec<Output>,
    scopes: Vec<ScopeState>,
    root: ScopeState,
    error: Option<GraphError>,
    rule: Option<Rule>,
}

/// How weights and biases start, from the layer and the fans of its weight.
type Rule = Box<dyn Fn(&Spec, Fans) -> Option<(Init, f32)>>;

/// The names given so far in one scope.
#[derive(Default)]
struct ScopeState {
    prefix: String,
    sequential: bool,
    total: usize,
    counts: BTreeMap<&'static str, usize>,
}

impl ScopeState {
    fn next_name(&mut self, stem: &'static str) -> String {
        let index = self.total;
        self.total += 1;
        if self.sequential {
            return format!("{}{index}", self.prefix);
        }
        let count = self.counts.entry(stem).or_default();
        *count += 1;
        format!("{}{stem}{count}", self.prefix)
    }
}

impl State {
    fn scope(&mut self) -> &mut ScopeState {
        self.scopes.last_mut().unwrap_or(&mut self.root)
    }
}

impl Builder {
    /// Appends a node; after an error, only a handle is made.
    fn append(&self, op: Op, inputs: Vec<NodeId>, at: &'static Location<'static>) -> Var<'_> {
        let mut state = self.state.borrow_mut();
        let fallback = inputs.first().copied().unwrap_or(NodeId(0));
        if state.error.is_some() {
            return Var { builder: self, node: fallback };
        }
        let shapes: Vec<Shape> = inputs.iter().map(|id| state.nodes[id.0].shape()).collect();
        let define = op.define();
        let (fewest, most) = define.arity();
        let spec = if (fewest..=most).contains(&inputs.len()) {
            define.spec(&shapes)
        } else {
            Err(ShapeError::Attribute { what: "the number of inputs", expected: "within the op's" })
        };
        let spec = spec.and_then(|mut spec| {
            crate::size::volume(&spec.output.dims())?;
            if let (Some(rule), Some(fans)) = (&state.rule, spec.fans)
                && let Some((weight, bias)) = rule(&spec, fans)
            {
                start(&mut spec, &weight, bias);
            }
            Ok(spec)
        });
        match spec {
            Ok(spec) => {
                let id = NodeId(state.nodes.len());
                let name = if inputs.is_empty() {
                    spec.stem.to_owned()
                } else {
                    state.scope().next_name(spec.stem)
                };
                state.nodes.push(Node { id, name, op, inputs, spec, at });
                Var { builder: self, node: id }
            }
            Err(error) => {
                let kind = op.name();
                let node = state.scope().next_name(kind);
                state.error = Some(GraphError::new(&self.name, node, kind, error, at));
                if state.nodes.is_empty() {
                    // The page still runs, on an input of one element.
                    let op = Op::Input(Input { chw: [1, 1, 1] });
                    let spec = Spec::new("Input", "input", Shape::Map([1, 1, 1]));
                    let name = "input".to_owned();
                    state.nodes.push(Node { id: NodeId(0), name, op, inputs, spec, at });
                }
                Var { builder: self, node: fallback }
            }
        }
    }

    fn finish(self, logits: NodeId, at: &'static Location<'static>) -> Result<Graph, GraphError> {
        let State { nodes, outputs: auxiliary, error, .. } = self.state.into_inner();
        if let Some(error) = error {
            return Err(error);
        }
        let main = Output { name: "logits".to_owned(), node: logits, weight: 1.0 };
        let outputs: Vec<Output> = std::iter::once(main).chain(auxiliary).collect();
        let mut seen = BTreeSet::new();
        for node in &nodes {
            if !seen.insert(node.name.as_str()) {
                let (node, kind, at) = (node.name.clone(), node.spec.kind, node.at);
                let error = ShapeError::DuplicateName { name: node.clone() };
                return Err(GraphError::new(&self.name, node, kind, error, at));
            }
        }
        let mut seen = BTreeSet::new();
        for output in &outputs {
            if !seen.insert(output.name.as_str()) {
                let error = ShapeError::DuplicateName { name: output.name.clone() };
                let node = output.name.clone();
                return Err(GraphError::new(&self.name, node, "Output", error, at));
            }
        }
        Ok(Graph { name: self.name, nodes, outputs })
    }
}

/// A handle to a node of the network being built. Every method that names an op appends it and returns its handle.
#[derive(Clone, Copy)]
pub struct Var<'g> {
    builder: &'g Builder,
    node: NodeId,
}

/// While it lives, names carry its prefix. Bind it: `let _scope = x.scope("layer1.0");`.
#[must_use = "a scope ends when it is dropped: bind it to a variable"]
pub struct Scope<'g> {
    builder: &'g Builder,
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        self.builder.state.borrow_mut().scopes.pop();
    }
}

impl<'g> Var<'g> {
    /// Shape of the node's output, for one sample.
    pub fn shape(&self) -> Shape {
        self.builder.state.borrow().nodes[self.node.0].shape()
    }

    /// Channels of the node's output.
    pub fn channels(&self) -> usize {
        self.shape().channels()
    }

    /// Appends any op on this one input. All other methods are sugar over it.
    #[track_caller]
    pub fn apply(self, op: impl Into<Op>) -> Self {
        self.builder.append(op.into(), vec![self.node], Location::caller())
    }

    /// Opens a scope: names get the prefix `name.`, and layers are numbered per kind.
    pub fn scope(&self, name: impl AsRef<str>) -> Scope<'g> {
        self.open(name.as_ref(), false)
    }

    /// Opens a scope in which layers are numbered by their index, as in PyTorch's `Sequential`.
    pub fn sequential(&self, name: impl AsRef<str>) -> Scope<'g> {
        self.open(name.as_ref(), true)
    }

    fn open(&self, name: &str, sequential: bool) -> Scope<'g> {
        let mut state = self.builder.state.borrow_mut();
        let prefix = format!("{}{name}.", state.scope().prefix);
        state.scopes.push(ScopeState { prefix, sequential, ..ScopeState::default() });
        Scope { builder: self.builder }
    }

    /// Gives the node another name within the current scope.
    pub fn named(self, name: impl AsRef<str>) -> Self {
        let mut state = self.builder.state.borrow_mut();
        if state.error.is_none() {
            let name = format!("{}{}", state.scope().prefix, name.as_ref());
            state.nodes[self.node.0].name = name;
        }
        self
    }

    /// Lets the node's weight and bias start another way than PyTorch's default.
    pub fn init(self, weight: Init, bias: f32) -> Self {
        let mut state = self.builder.state.borrow_mut();
        if state.error.is_none() {
            start(&mut state.nodes[self.node.0].spec, &weight, bias);
        }
        drop(state);
        self
    }

    /// Lets weight and bias of every convolution, linear layer and subsampling from here on start as the rule says, given the
    /// layer and the fans of its weight; where it says nothing, PyTorch's default stays. [`Var::init`] goes before it for single
    /// layers.
    pub fn init_by(self, rule: impl Fn(&Spec, Fans) -> Option<(Init, f32)> + 'static) -> Self {
        self.builder.state.borrow_mut().rule = Some(Box::new(rule));
        self
    }

    /// Declares the node an auxiliary output whose loss counts `weight` times in training.
    pub fn output(self, name: &str, weight: f32) -> Self {
        let mut state = self.builder.state.borrow_mut();
        if state.error.is_none() {
            state.outputs.push(Output { name: name.to_owned(), node: self.node, weight });
        }
        drop(state);
        self
    }

    /// Convolution with a bias.
    #[track_caller]
    pub fn conv(self, out_channels: usize, window: impl Into<Window>) -> Self {
        self.apply(Conv2d::new(out_channels, window))
    }

    /// The unit used since 2015: convolution without a bias, then batch normalisation.
    #[track_caller]
    pub fn conv_bn(self, out_channels: usize, window: impl Into<Window>) -> Self {
        self.apply(Conv2d::new(out_channels, window).no_bias()).batch_norm()
    }

    /// Batch normalisation with PyTorch's constants.
    #[track_caller]
    pub fn batch_norm(self) -> Self {
        self.apply(BatchNorm2d::default())
    }

    /// Fully connected layer with a bias. A `c×1×1` map is flattened first.
    #[track_caller]
    pub fn linear(self, out_features: usize) -> Self {
        let x = if self.shape().size() == [1, 1] { self.flatten_silently() } else { self };
        x.apply(Linear { out_features, bias: true })
    }

    /// Flattens a `c×1×1` map without taking a number in a sequential scope.
    #[track_caller]
    fn flatten_silently(self) -> Self {
        if matches!(self.shape(), Shape::Flat(_)) {
            return self;
        }
        let total = self.builder.state.borrow_mut().scope().total;
        let x = self.flatten();
        let mut state = self.builder.state.borrow_mut();
        if state.error.is_none() {
            state.scope().total = total;
            let name = format!("{}.flatten", state.nodes[self.node.0].name);
            state.nodes[x.node.0].name = name;
        }
        x
    }

    /// `max(0, x)`
    #[track_caller]
    pub fn relu(self) -> Self {
        self.apply(Activation::Relu)
    }

    /// `1 / (1 + e^−x)`
    #[track_caller]
    pub fn sigmoid(self) -> Self {
        self.apply(Activation::Sigmoid)
    }

    /// `1.7159·tanh(2x/3)`
    #[track_caller]
    pub fn scaled_tanh(self) -> Self {
        self.apply(Activation::ScaledTanh)
    }

    /// Maximum over windows.
    #[track_caller]
    pub fn max_pool(self, window: impl Into<Window>) -> Self {
        self.apply(MaxPool2d { window: window.into() })
    }

    /// Mean over windows, padding counted (PyTorch's default).
    #[track_caller]
    pub fn avg_pool(self, window: impl Into<Window>) -> Self {
        self.apply(AvgPool2d { window: window.into(), count_include_pad: true })
    }

    /// Mean over windows, padding not counted.
    #[track_caller]
    pub fn avg_pool_no_pad(self, window: impl Into<Window>) -> Self {
        self.apply(AvgPool2d { window: window.into(), count_include_pad: false })
    }

    /// Mean over each map, to `c×1×1`.
    #[track_caller]
    pub fn global_avg_pool(self) -> Self {
        self.apply(GlobalAvgPool)
    }

    /// Mean pooling to this height and width, whatever those of the input: nothing when they are equal, windows of one size
    /// where they divide those of the input.
    #[track_caller]
    pub fn adaptive_avg_pool(self, output: [usize; 2]) -> Self {
        let input = self.shape().size();
        if input == output {
            return self;
        }
        if (0..2).any(|i| output[i] == 0 || !input[i].is_multiple_of(output[i])) {
            return self.apply(AdaptiveAvgPool2d { output });
        }
        let window = [0, 1].map(|i| input[i] / output[i]);
        self.avg_pool(k(window).stride(window))
    }

    /// Local response normalisation.
    #[track_caller]
    pub fn lrn(self, size: usize, alpha: f32, beta: f32, k: f32, over: AlphaOver) -> Self {
        self.apply(LocalResponseNorm { size, alpha, beta, k, over })
    }

    /// Dropout with probability `p` of a zero.
    #[track_caller]
    pub fn dropout(self, p: f32) -> Self {
        self.apply(Dropout { p })
    }

    /// The map as a vector.
    #[track_caller]
    pub fn flatten(self) -> Self {
        self.apply(Flatten)
    }

    /// Exponentials that sum to one.
    #[track_caller]
    pub fn softmax(self) -> Self {
        self.apply(Softmax)
    }

    /// Each channel times its factor.
    #[track_caller]
    pub fn scale(self, factors: Self) -> Self {
        self.builder.append(Scale.into(), vec![self.node, factors.node], Location::caller())
    }

    /// Times a constant.
    #[track_caller]
    pub fn times(self, factor: f32) -> Self {
        self.apply(MulConstant { factor })
    }

    /// Channels `start..start + len`.
    #[track_caller]
    pub fn slice(self, start: usize, len: usize) -> Self {
        self.apply(SliceChannels { start, len })
    }

    /// Zero channels before and after.
    #[track_caller]
    pub fn pad_channels(self, before: usize, after: usize) -> Self {
        self.apply(PadChannels { before, after })
    }

    /// Every `stride`-th row and column.
    #[track_caller]
    pub fn subsample(self, stride: usize) -> Self {
        self.apply(Subsample { stride })
    }
}

/// Lets a layer's weight and bias start so.
fn start(spec: &mut Spec, weight: &Init, bias: f32) {
    for param in spec.params.iter_mut().filter(|param| param.learned) {
        let is_weight = param.role == "weight";
        param.init = if is_weight { weight.clone() } else { Init::Constant(bias) };
    }
}

impl<'g> AddOperator for Var<'g> {
    type Output = Self;

    #[track_caller]
    fn add(self, other: Self) -> Self {
        self.builder.append(Add.into(), vec![self.node, other.node], Location::caller())
    }
}

/// Concatenation along the channels.
///
/// # Panics
/// If there are no parts: that is a mistake in the page, not in its input.
#[track_caller]
pub fn concat<'g>(parts: impl IntoIterator<Item = Var<'g>>) -> Var<'g> {
    let parts: Vec<Var<'g>> = parts.into_iter().collect();
    let first = parts.first().expect("a concatenation has parts");
    first.builder.append(Concat.into(), parts.iter().map(|x| x.node).collect(), Location::caller())
}

/// The sum of any number of maps of one shape, added from the first to the last.
///
/// # Panics
/// If there are no parts: that is a mistake in the page, not in its input.
#[track_caller]
pub fn sum<'g>(parts: impl IntoIterator<Item = Var<'g>>) -> Var<'g> {
    let parts: Vec<Var<'g>> = parts.into_iter().collect();
    let first = parts.first().expect("a sum has parts");
    first.builder.append(Add.into(), parts.iter().map(|x| x.node).collect(), Location::caller())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_scopes() {
        let graph = net("names", [3, 8, 8], |x| {
            let x = x.conv_bn(16, k(3).pad(1)).relu();
            let x = {
                let _scope = x.scope("layer1.0");
                let y = x.conv_bn(16, k(3).pad(1)).relu().conv_bn(16, k(3).pad(1));
                (y + x).relu()
            };
            let x = {
                let _features = x.sequential("features");
                x.conv(4, 1).relu().max_pool(k(2).stride(2)).conv(4, 1)
            };
            x.global_avg_pool().linear(10).named("fc")
        })
        .unwrap();
        let names: Vec<String> =
            graph.params().map(|(name, _)| name).filter(|n| n.ends_with("weight")).collect();
        assert_eq!(
            names,
            [
                "conv1.weight",
                "bn1.weight",
                "layer1.0.conv1.weight",
                "layer1.0.bn1.weight",
                "layer1.0.conv2.weight",
                "layer1.0.bn2.weight",
                "features.0.weight",
                "features.3.weight",
                "fc.weight",
            ]
        );
    }

    #[test]
    fn first_error_names_layer_expectation_and_line() {
        let line = line!() + 2;
        let error = net("bad", [3, 8, 8], |x| {
            x.conv(16, k(3)).max_pool(k(9)).conv(7, 3).linear(10) //
        })
        .unwrap_err();
        assert_eq!(error.kind, "MaxPool2d");
        assert_eq!(error.at.line(), line);
        let text = error.to_string();
        assert!(text.contains("window 9×9 does not fit 6×6"), "{text}");
        assert!(!text.contains(".rs"), "{text}");
        assert!(format!("{error:#}").contains("builder.rs:"), "{error:#}");
    }

    #[test]
    fn linear_on_a_map_asks_for_flatten() {
        let error = net("bad", [3, 8, 8], |x| x.linear(10)).unwrap_err();
        assert!(error.to_string().contains("flatten it first"));
    }

    #[test]
    fn absurd_sizes_are_errors_not_overflows() {
        for input in [[0, 8, 8], [usize::MAX, 8, 8], [1 << 30, 1 << 30, 1 << 30]] {
            assert!(net("bad", input, |x| x.conv(1, 1)).is_err());
        }
        assert!(net("bad", [3, 8, 8], |x| x.flatten().linear(usize::MAX)).is_err());
        assert!(net("bad", [3, 8, 8], |x| x.pad_channels(usize::MAX, 2)).is_err());
        assert!(net("bad", [3, 8, 8], |x| x.slice(usize::MAX, 2)).is_err());
    }

    #[test]
    fn a_rule_of_initialisation_sees_the_fans_of_weights_and_leaves_the_rest() {
        let graph = net("ruled", [4, 8, 8], |x| {
            let x = x.conv(6, k(3)).init_by(|layer, fans| {
                let he = (Init::kaiming_normal(fans.output), 0.5);
                (layer.label != "5 → 2").then_some(he)
            });
            let x = x.apply(Conv2d::new(8, k(3)).groups(2)).batch_norm();
            let x = x.flatten().linear(5).linear(2);
            x.init_by(|_, fans| Some((Init::xavier_uniform(fans.input, fans.output), 0.0)))
                .linear(3)
        })
        .unwrap();
        let init = |name: &str| graph.params().find(|(n, _)| n == name).unwrap().1.init.clone();
        assert_eq!(init("conv1.weight"), Init::pytorch(4 * 9));
        // As PyTorch has it, the fan of the output counts both groups.
        assert_eq!(init("conv2.weight"), Init::kaiming_normal(8 * 9));
        assert_eq!(init("conv2.bias"), Init::Constant(0.5));
        assert_eq!(init("bn1.weight"), Init::Constant(1.0));
        assert_eq!(init("fc1.weight"), Init::kaiming_normal(5));
        assert_eq!(init("fc2.bias"), Init::pytorch(5));
        assert_eq!(init("fc3.weight"), Init::xavier_uniform(2, 3));
    }

    #[test]
    fn one_name_for_two_layers_is_rejected() {
        let twice = net("bad", [3, 8, 8], |x| x.conv(3, 1).named("a").conv(3, 1).named("a"));
        assert!(matches!(*twice.unwrap_err().error, ShapeError::DuplicateName { .. }));
    }
}
