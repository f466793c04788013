//! What an optimiser keeps from one step to the next, by name: `exp_avg/layer1.0.conv1.weight`.

use crate::graph::Graph;
use crate::weights::{Weights, WeightsError};
use std::collections::BTreeMap;

/// A tensor that is kept for every parameter. The names are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateName {
    /// The momentum.
    MomentumBuffer,
    /// The mean square of the gradient.
    SquareAvg,
    /// The mean gradient of a centred RMSProp.
    GradAvg,
    /// Adam's mean gradient.
    ExpAvg,
    /// Adam's mean square of the gradient.
    ExpAvgSq,
    /// The average of the weights, and of the running statistics.
    Ema,
}

/// A tensor that an optimiser keeps for every learned parameter, in the parameter's shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StateTensor {
    /// Its name.
    pub name: StateName,
    /// What each element is before the first step.
    pub init: f32,
}

impl StateName {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::MomentumBuffer,
        Self::SquareAvg,
        Self::GradAvg,
        Self::ExpAvg,
        Self::ExpAvgSq,
        Self::Ema,
    ];

    /// PyTorch's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MomentumBuffer => "momentum_buffer",
            Self::SquareAvg => "square_avg",
            Self::GradAvg => "grad_avg",
            Self::ExpAvg => "exp_avg",
            Self::ExpAvgSq => "exp_avg_sq",
            Self::Ema => "ema",
        }
    }

    /// Whether it is kept for running statistics, too.
    pub fn has_buffers(self) -> bool {
        self == Self::Ema
    }

    /// The name of this tensor of a parameter: `exp_avg/conv1.weight`.
    pub fn of(self, parameter: &str) -> String {
        format!("{}/{parameter}", self.name())
    }

    /// This tensor of all parameters, under their own names; `None` where there is none.
    pub fn select(self, state: &Weights) -> Option<Weights> {
        let own = |(name, tensor): (&str, &_)| {
            let (state, parameter) = name.split_once('/')?;
            let tensor: &crate::Tensor = tensor;
            (state == self.name()).then(|| (parameter.to_owned(), tensor.clone()))
        };
        let tensors: Weights = state.iter().filter_map(own).collect();
        (!tensors.is_empty()).then_some(tensors)
    }

    /// The same tensors under the names that they have in a state.
    pub fn label(self, tensors: Weights) -> impl Iterator<Item = (String, crate::Tensor)> {
        tensors.into_iter().map(move |(parameter, tensor)| (self.of(&parameter), tensor))
    }
}

/// Checks that `state` has, of each [`StateName`] that it names at all, one tensor per parameter of `graph`, and nothing else.
pub fn check_state(state: &Weights, graph: &Graph) -> Result<(), WeightsError> {
    let named = |wanted: &StateName| {
        let is =
            |(name, _): (&str, _)| name.split_once('/').is_some_and(|(s, _)| s == wanted.name());
        state.iter().any(is)
    };
    let params: Vec<_> = graph.params().collect();
    let mut wanted: BTreeMap<String, &[usize]> = BTreeMap::new();
    for state in StateName::ALL.into_iter().filter(named) {
        let kept = params.iter().filter(|(_, param)| param.learned || state.has_buffers());
        wanted.extend(kept.map(|(name, param)| (state.of(name), param.shape.as_slice())));
    }
    state.check_against(graph.name(), &wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Tensor, net};

    #[test]
    fn states_are_whole_or_refused() {
        let graph = net("tiny", [1, 4, 4], |x| x.conv_bn(2, 3).flatten().linear(3)).unwrap();
        let all = |state: StateName| -> Weights {
            let kept = graph.params().filter(|(_, param)| param.learned || state.has_buffers());
            let kept = kept.map(|(name, param)| (name, Tensor::zeros(param.shape.clone())));
            state.label(kept.collect()).collect()
        };
        assert_eq!(check_state(&Weights::new(), &graph), Ok(()));
        let both: Weights = all(StateName::ExpAvg).into_iter().chain(all(StateName::Ema)).collect();
        assert_eq!(check_state(&both, &graph), Ok(()));
        assert_eq!(StateName::Ema.select(&both).unwrap().check(&graph), Ok(()));
        assert_eq!(StateName::SquareAvg.select(&both), None);

        let mut missing = both.clone();
        missing.remove("ema/bn1.running_var");
        assert_eq!(check_state(&missing, &graph).unwrap_err().missing, ["ema/bn1.running_var"]);
        let mut foreign = both;
        foreign.insert("velocity/fc1.weight", Tensor::zeros([3, 8]));
        assert_eq!(check_state(&foreign, &graph).unwrap_err().unexpected, ["velocity/fc1.weight"]);
    }
}
