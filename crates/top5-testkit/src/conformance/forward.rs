//! Networks and sessions: all batch sizes, kept activations, forms of one network, replacement under load.

use super::report::{Report, identical};
use super::{Make, Tolerance, images, weights};
use crate::cases::Case;
use crate::oracle;
use crate::reference::ReferenceDevice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use top5_graph::{
    Device, EngineError, Graph, Network, NodeId, Retain, Session, SessionOptions, Tensor, Weights,
    k, net,
};

/// A session that keeps these activations.
fn keeping(
    network: &dyn Network,
    batch: usize,
    keep: &[NodeId],
) -> Result<Box<dyn Session>, EngineError> {
    let options = SessionOptions { keep: keep.to_vec(), ..SessionOptions::inference(batch) };
    network.session(network.graph(), &options)
}

/// Inference with all batch sizes, and with every activation kept.
pub(super) fn check(report: &mut Report, case: &Case, device: &dyn Device) {
    for retain in [Retain::Tensors, Retain::Nothing] {
        let network = device.network(&case.graph, weights(case), retain);
        let Some(network) = report.ok("network", network) else { return };
        let reference = ReferenceDevice.network(&case.graph, weights(case), retain);
        let Some(reference) = report.ok("network", reference) else { return };
        check_batches(report, case, network.as_ref(), reference.as_ref(), "");
        if retain == Retain::Tensors {
            check_kept(report, case, network.as_ref(), reference.as_ref());
        }
    }
}

/// Logits of every batch size, twice.
pub(super) fn check_batches(
    report: &mut Report,
    case: &Case,
    network: &dyn Network,
    reference: &dyn Network,
    when: &str,
) {
    let tolerance = report.tolerance.forward;
    let sessions = [network, network, reference].map(|network| keeping(network, case.batch, &[]));
    let [got, again, want] = sessions.map(|session| report.ok("session", session));
    let (Some(mut session), Some(mut other), Some(mut reference)) = (got, again, want) else {
        return;
    };
    report.require(session.batch() == case.batch, "the session has another batch");
    for n in (1..=case.batch).rev() {
        let images = images(case, "input", n);
        let what = format!("{when}logits of {n}");
        let want = report.ok(&what, reference.forward(images.data()));
        let got = report.ok(&what, session.forward(images.data()));
        let again = report.ok(&what, session.forward(images.data()));
        let other = report.ok(&what, other.forward(images.data()));
        let (Some(want), Some(got), Some(again), Some(other)) = (want, got, again, other) else {
            continue;
        };
        report.close(&what, &got.logits, &want.logits, tolerance, 0.0);
        let same = identical(&got.logits, &again.logits);
        report.require(same, format!("{what} differ when run again"));
        let same = identical(&got.logits, &other.logits);
        report.require(same, format!("{what} differ in another session"));
    }
}

fn check_kept(report: &mut Report, case: &Case, network: &dyn Network, reference: &dyn Network) {
    let tolerance = report.tolerance.forward;
    let ids: Vec<NodeId> = case.graph.nodes().iter().map(|node| node.id).collect();
    let twice = [&ids[..], &ids[..1]].concat();
    let each = ids.iter().map(|&id| vec![id]);
    let n = case.batch.div_ceil(2);
    let images = images(case, "kept", n);
    for keep in each.chain([twice]) {
        let name = |id: NodeId| case.graph.node(id).name.clone();
        let what = match keep[..] {
            [id] => format!("keeping {}", name(id)),
            _ => "keeping all".to_owned(),
        };
        let run =
            |network: &dyn Network| keeping(network, case.batch, &keep)?.forward(images.data());
        let want = report.ok(&what, run(reference));
        let got = report.ok(&what, run(network));
        let (Some(want), Some(got)) = (want, got) else { continue };
        report.close(&format!("{what}, logits"), &got.logits, &want.logits, tolerance, 0.0);
        report.require(got.kept.len() == keep.len(), format!("{what}: {} kept", got.kept.len()));
        for ((&id, got), want) in keep.iter().zip(&got.kept).zip(&want.kept) {
            report.close(&format!("{what}, {}", name(id)), got, want, tolerance, 0.0);
        }
    }
}

/// A network with a fully connected layer on a map.
fn flat() -> Graph {
    let graph = net("forms", [3, 9, 9], |x| {
        let x = x.conv(20, k(3).pad(1)).relu().max_pool(k(2).stride(2));
        x.flatten().linear(19).relu().dropout(0.5).linear(4)
    });
    graph.unwrap_or_else(|error| panic!("{error}"))
}

/// Sessions of one network at several sizes, and in its dense form.
pub(super) fn check_forms(make: &Make<'_>, tolerance: Tolerance) -> Vec<String> {
    let mut report = Report::new("forms", tolerance);
    let pooled = net("pooled", [3, 9, 9], |x| {
        let x = x.conv_bn(18, k(3).pad(1)).relu();
        x.global_avg_pool().linear(5).output("aux", 0.3);
        x.conv(17, 1).relu().global_avg_pool().linear(5)
    });
    let pooled = pooled.unwrap_or_else(|error| panic!("{error}"));
    let sized = |size| pooled.with_input([3, size, 9]).unwrap_or_else(|error| panic!("{error}"));
    let dense = |size| flat().dense([3, size, 12]).unwrap_or_else(|error| panic!("{error}"));
    let device = make();
    for (graph, forms) in [
        (pooled.clone(), vec![pooled.clone(), pooled.inference(), sized(9), sized(14), sized(5)]),
        (flat(), vec![flat(), dense(9), dense(13), flat().without_dropout()]),
    ] {
        let weights = oracle::weights_for(&graph);
        let network = device.network(&graph, weights.clone(), Retain::Tensors);
        let reference = ReferenceDevice.network(&graph, weights, Retain::Tensors);
        let (Some(network), Some(reference)) =
            (report.ok("network", network), report.ok("network", reference))
        else {
            continue;
        };
        let mut sessions = Vec::new();
        for form in &forms {
            let options = SessionOptions::inference(2);
            let session = report.ok("session", network.session(form, &options));
            let reference = report.ok("session", reference.session(form, &options));
            sessions.extend(session.zip(reference));
        }
        for (session, reference) in &mut sessions {
            let shape = [&[2], &session.graph().input()[..]].concat();
            let images = oracle::image("input", &shape);
            let what = format!("{}, images of {shape:?}", graph.name());
            let got = report.ok(&what, session.forward(images.data()));
            let want = report.ok(&what, reference.forward(images.data()));
            if let (Some(got), Some(want)) = (got, want) {
                report.close(&what, &got.logits, &want.logits, tolerance.forward, 0.0);
            }
        }
    }
    report.failures
}

/// New weights reach the sessions that exist, wrong ones change nothing, and a session that is busy meanwhile sees one or
/// the other.
pub(super) fn check_replacement(make: &Make<'_>, tolerance: Tolerance) -> Vec<String> {
    let mut report = Report::new("replacement", tolerance);
    let (device, graph) = (make(), flat());
    let shape = [&[2], &graph.input()[..]].concat();
    let images = oracle::image("input", &shape);
    let old = oracle::weights_for(&graph);
    let new = oracle::weights_renamed(&graph, &|name| format!("new {name}"));
    for retain in [Retain::Tensors, Retain::Nothing] {
        let network = report.ok("network", device.network(&graph, old.clone(), retain));
        let Some(network) = network else { continue };
        let options = SessionOptions::inference(2);
        let session = report.ok("session", network.session(&graph, &options));
        let Some(mut session) = session else { continue };
        let mut logits = |report: &mut Report, what: &str| -> Option<Tensor> {
            report.ok(what, session.forward(images.data())).map(|forward| forward.logits)
        };
        let first = logits(&mut report, "old weights");
        for wrong in super::errors::damaged(&old) {
            report.refused("wrong weights", network.load(wrong), |error| {
                matches!(error, EngineError::Weights(_))
            });
        }
        let same = logits(&mut report, "after an error");
        report.ok("load", network.load(new.clone()));
        let second = logits(&mut report, "new weights");
        let (Some(first), Some(same), Some(second)) = (first, same, second) else { continue };
        report.require(identical(&first, &same), "an error changes weights");
        report.require(!identical(&first, &second), "a session has old weights after a load");
        let want = ReferenceDevice
            .network(&graph, new.clone(), retain)
            .and_then(|network| network.session(&graph, &options)?.forward(images.data()));
        if let Some(want) = report.ok("reference", want) {
            report.close("new weights", &second, &want.logits, tolerance.forward, 0.0);
        }
        under_load(&mut report, network.as_ref(), [&old, &new], [&first, &second], &images);
    }
    report.failures
}

/// Two sessions on two threads while the weights are replaced over and over.
fn under_load(
    report: &mut Report,
    network: &dyn Network,
    weights: [&Weights; 2],
    logits: [&Tensor; 2],
    images: &Tensor,
) {
    let done = AtomicBool::new(false);
    let run = || -> Result<usize, EngineError> {
        let mut session = network.session(network.graph(), &SessionOptions::inference(2))?;
        let mut wrong = 0;
        while !done.load(Ordering::Relaxed) {
            let got = session.forward(images.data())?.logits;
            wrong += usize::from(!logits.iter().any(|logits| identical(logits, &got)));
        }
        Ok(wrong)
    };
    let results = thread::scope(|scope| {
        let threads = [scope.spawn(run), scope.spawn(run)];
        for i in 0..40 {
            report.ok("load", network.load(weights[i % 2].clone()));
        }
        done.store(true, Ordering::Relaxed);
        threads.map(|thread| thread.join().expect("sessions do not panic"))
    });
    for result in results {
        if let Some(wrong) = report.ok("a session on another thread", result) {
            let message = format!("{wrong} results are of neither the old nor the new weights");
            report.require(wrong == 0, message);
        }
    }
}
