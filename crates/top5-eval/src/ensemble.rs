//! Several networks as one: the weighted mean of their probabilities.
//!
//! With equal weights it is what Krizhevsky et al. (2012) and everyone since did; Trimps-Soushen (2016) gave a network
//! more weight than the others.

use std::fmt;

/// Why probabilities cannot be averaged.
#[derive(Clone, Debug, PartialEq)]
pub enum EnsembleError {
    /// There are no members.
    Empty,
    /// The members tell different numbers of classes apart.
    Classes {
        /// The first member's.
        expected: usize,
        /// Another one's.
        got: usize,
    },
    /// A weight is not a positive number.
    Weight {
        /// The member, from 0.
        member: usize,
        /// Its weight.
        weight: f64,
    },
}

impl fmt::Display for EnsembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "an ensemble has at least one member"),
            Self::Classes { expected, got } => {
                write!(
                    f,
                    "the ensemble's members have {expected} and {got} classes; they must agree"
                )
            }
            Self::Weight { member, weight } => {
                write!(
                    f,
                    "member {member} of the ensemble has the weight {weight}; expected more than 0"
                )
            }
        }
    }
}

impl std::error::Error for EnsembleError {}

/// The weighted mean of the members' probabilities, each one row with one value per class. The weights need not sum to 1.
pub fn average(members: &[(f64, &[f64])]) -> Result<Vec<f64>, EnsembleError> {
    let Some((_, first)) = members.first() else { return Err(EnsembleError::Empty) };
    let mut sum = vec![0.0; first.len()];
    let mut weights = 0.0;
    for (member, &(weight, probabilities)) in members.iter().enumerate() {
        if !(weight > 0.0 && weight.is_finite()) {
            return Err(EnsembleError::Weight { member, weight });
        }
        if probabilities.len() != sum.len() {
            return Err(EnsembleError::Classes { expected: sum.len(), got: probabilities.len() });
        }
        sum.iter_mut().zip(probabilities).for_each(|(sum, p)| *sum += weight * p);
        weights += weight;
    }
    sum.iter_mut().for_each(|sum| *sum /= weights);
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_is_weighted() {
        let mean = average(&[(1.0, &[1.0, 0.0]), (3.0, &[0.0, 1.0])]);
        assert_eq!(mean, Ok(vec![0.25, 0.75]));
        assert_eq!(average(&[(5.0, &[0.5, 0.5])]), Ok(vec![0.5, 0.5]));
    }

    #[test]
    fn members_that_do_not_fit_are_rejected() {
        assert_eq!(average(&[]), Err(EnsembleError::Empty));
        let error = average(&[(1.0, &[1.0][..]), (1.0, &[0.5, 0.5])]);
        assert_eq!(error, Err(EnsembleError::Classes { expected: 1, got: 2 }));
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = average(&[(weight, &[1.0])]).unwrap_err();
            assert!(matches!(error, EnsembleError::Weight { .. }), "{weight}: {error}");
        }
    }
}
