//! Backward from a node, by every rule, and the switches of poolings.

use super::report::Report;
use super::{images, weights};
use crate::cases::Case;
use crate::fill;
use crate::reference::ReferenceDevice;
use top5_graph::{
    Device, EngineError, Forward, Network, NodeId, Purpose, Retain, Rule, SessionOptions, Tensor,
};

/// Elements of all activations of a large network.
const LARGE: usize = 20_000;

/// What one session computes: forward, twice backward, and the switches of all nodes.
struct Seen {
    forward: Forward,
    signals: [Vec<Tensor>; 2],
    switches: Vec<Option<Vec<u32>>>,
}

/// All rules, by name.
fn rules() -> [(&'static str, Rule); 3] {
    [("gradient", Rule::gradient()), ("guided", Rule::guided()), ("DeconvNet", Rule::deconvnet())]
}

/// From the logits to every node by every rule, and from every node (of a large network, from some) to the image by each
/// rule in turn.
pub(super) fn check(report: &mut Report, case: &Case, device: &dyn Device) {
    let network = device.network(&case.graph, weights(case), Retain::Tensors);
    let reference = ReferenceDevice.network(&case.graph, weights(case), Retain::Tensors);
    let (Some(network), Some(reference)) =
        (report.ok("network", network), report.ok("network", reference))
    else {
        return;
    };
    let all: Vec<NodeId> = case.graph.nodes().iter().map(|node| node.id).collect();
    let logits = case.graph.logits().id;
    let from_logits = rules().map(|(name, rule)| (name, rule, logits, all.clone()));
    let every = if case.graph.activations() > LARGE { 5 } else { 1 };
    let from_each = all.iter().step_by(every).enumerate().map(|(i, &from)| {
        let (name, rule) = rules()[i % 3];
        (name, rule, from, vec![all[0]])
    });
    for (name, rule, from, to) in from_logits.into_iter().chain(from_each) {
        let what = format!("{name} from {}", case.graph.node(from).name);
        let purpose = Purpose::explanation(from, to.clone(), rule);
        let got = report.ok(&what, run(case, network.as_ref(), from, &purpose));
        let want = report.ok(&what, run(case, reference.as_ref(), from, &purpose));
        let (Some(got), Some(want)) = (got, want) else { continue };
        let tolerance = report.tolerance;
        report.close(&what, &got.forward.logits, &want.forward.logits, tolerance.forward, 0.0);
        report.require(got.switches == want.switches, format!("{what}: switches differ"));
        for (got, want) in got.signals.iter().zip(&want.signals) {
            report.require(got.len() == to.len(), format!("{what}: {} signals", got.len()));
            for ((&id, got), want) in to.iter().zip(got).zip(want) {
                let what = format!("{what} to {}", case.graph.node(id).name);
                report.close(&what, got, want, tolerance.gradient, 0.0);
            }
        }
    }
}

fn run(
    case: &Case,
    network: &dyn Network,
    from: NodeId,
    purpose: &Purpose,
) -> Result<Seen, EngineError> {
    let graph = &case.graph;
    let options =
        SessionOptions { purpose: purpose.clone(), ..SessionOptions::inference(case.batch) };
    let mut session = network.session(graph, &options)?;
    // What an earlier and larger batch left behind must not show.
    session.forward(images(case, "before", case.batch).data())?;
    let n = case.batch.saturating_sub(1).max(1);
    let forward = session.forward(images(case, "input", n).data())?;
    let shape = [vec![n], graph.node(from).shape().dims()].concat();
    let seed = |name: &str| {
        let values = fill::signed(name, shape.iter().product());
        Tensor::new(shape.clone(), values).expect("as many values as the shape says")
    };
    let signals = [session.backward(&seed("first signal"))?, session.backward(&seed("second"))?];
    // Whatever is no maximum pooling has none.
    let switches = graph.nodes().iter().map(|node| session.switches(node.id).ok()).collect();
    Ok(Seen { forward, signals, switches })
}
