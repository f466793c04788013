//! A network: its parameters, packed once for each form that a session needs.
//!
//! Which form a weight is packed in depends on the kernel, and the kernel on the size of the maps. So a network keeps
//! packed forms by what tells them apart ([`Content::key`]), makes one when the first session asks for it, and lends it to
//! all that ask for the same.

use crate::device::CpuDevice;
use crate::packed::{Content, PackedParam, PackedParams};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use top5_graph::{EngineError, Graph, Retain, Weights};
use top5_kernels::{Arena, Block, Threads};

/// A network on the CPU. Clones are one network.
#[derive(Clone)]
pub struct CpuNetwork {
    device: CpuDevice,
    graph: Arc<Graph>,
    retain: Retain,
    parameters: Arc<Mutex<Parameters>>,
}

/// The parameters in every form that they are in.
#[derive(Default)]
struct Parameters {
    /// Tensors that are kept, or not packed yet.
    plain: Weights,
    packed: BTreeMap<String, Packed>,
}

/// A packed form.
struct Packed {
    content: Content,
    blocks: Arc<Arena>,
}

impl CpuNetwork {
    pub(crate) fn new(
        device: &CpuDevice,
        graph: &Graph,
        weights: Weights,
        retain: Retain,
    ) -> Result<Self, EngineError> {
        weights.check(graph)?;
        let parameters = Parameters { plain: weights, packed: BTreeMap::new() };
        Ok(Self {
            device: device.clone(),
            graph: Arc::new(graph.clone()),
            retain,
            parameters: Arc::new(Mutex::new(parameters)),
        })
    }

    /// The device that it is on.
    pub(crate) fn device(&self) -> &CpuDevice {
        &self.device
    }

    /// The graph that the weights are of.
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Replaces the weights, in every form that they are in.
    pub(crate) fn load(&self, weights: Weights) -> Result<(), EngineError> {
        weights.check(&self.graph)?;
        self.parameters().load(self.device.threads(), weights, self.retain);
        Ok(())
    }

    fn parameters(&self) -> MutexGuard<'_, Parameters> {
        // Nothing is left half-done: what is packed is put in place whole.
        self.parameters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Packs what a plan needs and is not there, and frees the tensors that it was packed from.
    pub(crate) fn pack(&self, plan: &PackedParams) -> Result<Vec<String>, EngineError> {
        let mut parameters = self.parameters();
        let keys: Vec<String> = plan.list.iter().map(|param| param.content.key()).collect();
        let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            if !parameters.packed.contains_key(key) {
                missing.insert(key, at);
            }
        }
        // How many forms are still to be packed from each tensor.
        let mut uses: BTreeMap<String, usize> = BTreeMap::new();
        for &at in missing.values() {
            for name in plan.list[at].content.tensors() {
                if parameters.plain.tensor(&name).is_none() {
                    return Err(EngineError::Unpacked { parameter: name });
                }
                *uses.entry(name).or_default() += 1;
            }
        }
        // What grows least first, while most is still plain.
        let mut missing: Vec<(&str, usize)> = missing.into_iter().collect();
        missing.sort_by_key(|&(_, at)| growth(&plan.list[at], &parameters.plain));
        for (key, at) in missing {
            let content = plan.list[at].content.clone();
            let mut blocks = Arena::new(plan.list[at].range.len());
            let names = content.tensors();
            names.iter().for_each(|name| *uses.entry(name.clone()).or_default() -= 1);
            let last = |name: &&String| self.retain == Retain::Nothing && uses[*name] == 0;
            // Of a matrix the first tensor is its own.
            if names.first().as_ref().is_some_and(last) {
                content.consume(self.device.threads(), &mut parameters.plain, &mut blocks);
            } else {
                content.pack(self.device.threads(), &parameters.plain, &mut blocks);
            }
            names.iter().filter(last).for_each(|name| drop(parameters.plain.remove(name)));
            let packed = Packed { content, blocks: Arc::new(blocks) };
            parameters.packed.insert(key.to_owned(), packed);
        }
        Ok(keys)
    }

    /// The memory of these forms, as it is now.
    pub(crate) fn lend(&self, keys: &[String]) -> Vec<Arc<Arena>> {
        let parameters = self.parameters();
        keys.iter().map(|key| Arc::clone(&parameters.packed[key].blocks)).collect()
    }
}

/// Bytes by which packing a parameter's tensors grows them.
fn growth(param: &PackedParam, plain: &Weights) -> isize {
    let tensors = param.content.tensors();
    let own = tensors.first().and_then(|name| plain.tensor(name));
    let plain = own.map_or(0, |tensor| size_of_val(tensor.data()));
    (param.range.len() * size_of::<Block>()) as isize - plain as isize
}

impl Parameters {
    /// Packs all forms anew. Memory that no session is using is written in place.
    fn load(&mut self, threads: &Threads, weights: Weights, retain: Retain) {
        let mut packed_names = Vec::new();
        for Packed { content, blocks } in self.packed.values_mut() {
            match Arc::get_mut(blocks) {
                Some(blocks) => content.pack(threads, &weights, blocks),
                None => {
                    let mut anew = Arena::new(blocks.len());
                    content.pack(threads, &weights, &mut anew);
                    *blocks = Arc::new(anew);
                }
            }
            packed_names.extend(content.tensors());
        }
        self.plain = weights;
        if retain == Retain::Nothing {
            packed_names.iter().for_each(|name| drop(self.plain.remove(name)));
        }
    }
}
