//! The ranks of a run as its loop sees them: what happens to one of them happens to all, so that none waits for another in vain.
//! A run without ranks is a group of one, which exchanges nothing.

use std::collections::BTreeMap;
use std::thread::Scope;

use top5_data::DataError;
use top5_eval::{Report, percent};
use top5_formats::safetensors;
use top5_graph::{Graph, Reducer, Weights};

use crate::failure::FitError;
use crate::ranks::{RankError, Ranks};
use crate::reduction::Reduction;
use crate::state::State;

/// The ranks, and the reduction of gradients over them.
pub(crate) struct Group<'a> {
    with: Option<(&'a dyn Ranks, Reduction<'a>)>,
    /// Whether all ranks know that they failed, and that the last step can be kept.
    keeps: bool,
}

impl<'a> Group<'a> {
    /// The only process.
    pub(crate) fn alone() -> Self {
        Self { with: None, keeps: false }
    }

    /// One of several, with batch normalisation over all of them or each on its own.
    pub(crate) fn of<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        ranks: &'a dyn Ranks,
        synchronises: bool,
    ) -> Result<Self, FitError> {
        let reduction = Reduction::start(scope, ranks, synchronises)?;
        Ok(Self { with: Some((ranks, reduction)), keeps: false })
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.with.is_none()
    }

    /// What the engine hands its gradients to; where it `holds`, they are not added over the ranks yet.
    pub(crate) fn reducer(&mut self, holds: bool) -> Option<&mut dyn Reducer> {
        let (_, reduction) = self.with.as_mut()?;
        reduction.hold(holds);
        Some(reduction)
    }

    /// Goes on with `mine` where no rank has failed and none was asked to stop, with `numbers` added over all of them.
    pub(crate) fn together<T>(
        &mut self,
        mine: Result<T, FitError>,
        numbers: &mut [f64],
    ) -> Result<T, FitError> {
        let Some((ranks, _)) = &self.with else { return mine };
        let stops = mine.as_ref().is_err_and(FitError::is_stop);
        let fails = mine.is_err() && !stops;
        let loses = fails && !mine.as_ref().is_err_and(FitError::leaves_state);
        let mut sums = [stops, fails, loses].map(|is| f64::from(u8::from(is))).to_vec();
        sums.extend_from_slice(numbers);
        ranks.add(&mut sums)?;
        numbers.copy_from_slice(&sums[3..]);
        let [stops, others, loses] = [0, 1, 2].map(|i| sums[i] > 0.0);
        self.keeps = !loses;
        match mine {
            Err(error) if fails => Err(error),
            Ok(_) | Err(_) if others => Err(FitError::Elsewhere),
            Ok(_) | Err(_) if stops => Err(FitError::Data(DataError::Stopped)),
            mine => mine,
        }
    }

    /// Whether a run that ends with this error keeps its last step: all ranks must know of the error.
    pub(crate) fn keeps_state(&self, error: &FitError) -> bool {
        match self.with {
            None => error.leaves_state(),
            Some(_) => self.keeps && (error.leaves_state() || matches!(error, FitError::Elsewhere)),
        }
    }

    /// The counts of all ranks' reports; the lists are each one's own.
    pub(crate) fn report(&mut self, mine: Result<Report, FitError>) -> Result<Report, FitError> {
        let counts = |report: &Report| {
            let loss = if report.images > 0 { report.loss * report.images as f64 } else { 0.0 };
            let [images, top1, top5] = [report.images, report.top1, report.top5].map(|n| n as f64);
            [images, top1, top5, loss]
        };
        let mut sums = mine.as_ref().map_or([0.0; 4], counts);
        let report = self.together(mine, &mut sums)?;
        if self.is_alone() {
            return Ok(report);
        }
        let [images, top1, top5] = [sums[0], sums[1], sums[2]].map(|n| n as usize);
        Ok(Report {
            images,
            top1,
            top5,
            top1_percent: percent(top1, images),
            top5_percent: percent(top5, images),
            loss: sums[3] / sums[0],
            ..report
        })
    }

    /// The state that rank 0 has.
    pub(crate) fn state(&self, state: State) -> Result<State, FitError> {
        let Some((ranks, _)) = &self.with else { return Ok(state) };
        let mut json =
            serde_json::to_vec(&state).expect("finite numbers and texts have a JSON form");
        ranks.broadcast(&mut json)?;
        let weights = self.weights(state.weights)?;
        let optimizer = self.weights(state.optimizer)?;
        let foreign = |error: serde_json::Error| RankError::Lost { why: error.to_string() };
        let state: State = serde_json::from_slice(&json).map_err(foreign)?;
        Ok(State { weights, optimizer, ..state })
    }

    /// The tensors that rank 0 has.
    pub(crate) fn weights(&self, weights: Weights) -> Result<Weights, FitError> {
        let Some((ranks, _)) = &self.with else { return Ok(weights) };
        let mut bytes = match ranks.rank() {
            0 => safetensors::write(&weights, &BTreeMap::new()),
            _ => Vec::new(),
        };
        ranks.broadcast(&mut bytes)?;
        if ranks.rank() == 0 {
            return Ok(weights);
        }
        let read = safetensors::read(&bytes);
        Ok(read.map_err(|error| RankError::Lost { why: error.to_string() })?.weights)
    }

    /// The parameters and buffers of rank 0. The learned ones must be this rank's own, too; running statistics are of each
    /// rank's own images.
    pub(crate) fn model(&mut self, own: Weights, graph: &Graph) -> Result<Weights, FitError> {
        if self.is_alone() {
            return Ok(own);
        }
        let bits = |weights: &Weights, name: &str| -> Vec<u32> {
            let values = weights.tensor(name).map_or(&[][..], |tensor| tensor.data());
            values.iter().map(|value| value.to_bits()).collect()
        };
        let first = self.weights(own.clone())?;
        let mut learned = graph.params().filter(|(_, param)| param.learned).map(|(name, _)| name);
        let apart = match learned.find(|name| bits(&own, name) != bits(&first, name)) {
            Some(tensor) => Err(FitError::Ranks(RankError::Apart { tensor })),
            None => Ok(()),
        };
        self.together(apart, &mut [])?;
        Ok(first)
    }
}
