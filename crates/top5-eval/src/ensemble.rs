//! Several networks as one: the weighted mean of their probabilities, or of their logits.
//!
//! With equal weights it is what Krizhevsky et al. (2012) and everyone since did; Trimps-Soushen (2016) gave a network
//! more weight than the others.

use std::fmt;
use std::ops::RangeInclusive;

use crate::metric::softmax;
use crate::predictions::{Origin, Predictions};
use crate::protocol::Average;
use top5_graph::counted;

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
    /// The members answered about different images.
    Images {
        /// The member that differs from the first, from 0.
        member: usize,
        /// In what they differ.
        what: String,
    },
    /// Of an image every class is impossible to some member, so that there is no mean of their logits.
    Impossible {
        /// What it is called.
        image: String,
    },
    /// A weight is none of [`WEIGHTS`].
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
            Self::Images { member, what } => write!(
                f,
                "member {member} of the ensemble answered about other images than member 0: {what}; evaluate all on the \
                 same part of the same data"
            ),
            Self::Impossible { image } => write!(
                f,
                "of {image} each class is held to be impossible by some member: the mean of such logits says nothing; average \
                 probabilities"
            ),
            Self::Weight { member, weight } => {
                write!(
                    f,
                    "member {member} of the ensemble has the weight {weight:e}; expected 1e-9 to 1e9"
                )
            }
        }
    }
}

impl std::error::Error for EnsembleError {}

/// What a member's weight may be: sums of such weights, and of probabilities with them, lose nothing.
pub const WEIGHTS: RangeInclusive<f64> = 1e-9..=1e9;

/// The weighted mean of the members' probabilities, each one row with one value per class. The weights need not sum to 1.
pub fn average(members: &[(f64, &[f64])]) -> Result<Vec<f64>, EnsembleError> {
    let Some((_, first)) = members.first() else { return Err(EnsembleError::Empty) };
    let mut sum = vec![0.0; first.len()];
    let mut weights = 0.0;
    for (member, &(weight, probabilities)) in members.iter().enumerate() {
        if !WEIGHTS.contains(&weight) {
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

/// The members' answers as one, each member with its weight. The origin is the first one's, but for what others differ in. Fails where they are not about
/// the same images in the same order.
pub fn fuse(
    members: &[(f64, &Predictions)],
    average_of: Average,
) -> Result<Predictions, EnsembleError> {
    check(&members.iter().map(|(_, member)| *member).collect::<Vec<_>>())?;
    let Some((_, first)) = members.first() else { return Err(EnsembleError::Empty) };
    let mut fused = Predictions::new(first.header.origin.clone(), first.header.classes.clone());
    let all = |is: fn(&Origin, &Origin) -> bool| {
        members.iter().all(|(_, member)| is(&member.header.origin, &first.header.origin))
    };
    let origin = &mut fused.header.origin;
    origin.preprocess =
        origin.preprocess.take().filter(|_| all(|a, b| a.preprocess == b.preprocess));
    origin.protocol = origin.protocol.take().filter(|_| all(|a, b| a.protocol == b.protocol));
    fused.header.unread.clone_from(&first.header.unread);
    fused.header.pixels.clone_from(&first.header.pixels);
    fused.header.subset = members.iter().any(|(_, member)| member.header.subset);
    fused.header.shard = first.header.shard;
    for image in 0..first.len() {
        let row = |member: &Predictions| -> Vec<f64> {
            match average_of {
                Average::Probabilities => member.probabilities(image),
                Average::Logits => member.row(image).iter().copied().map(f64::from).collect(),
            }
        };
        let rows: Vec<(f64, Vec<f64>)> =
            members.iter().map(|(weight, member)| (*weight, row(member))).collect();
        let rows: Vec<(f64, &[f64])> = rows.iter().map(|(weight, row)| (*weight, &**row)).collect();
        let mean = average(&rows)?;
        let mean = if average_of == Average::Logits { softmax(&mean) } else { mean };
        if mean.iter().any(|p| p.is_nan()) {
            let image = first.header.images[image].clone();
            return Err(EnsembleError::Impossible { image });
        }
        fused.push(first.header.images[image].clone(), first.labels[image], &mean);
    }
    Ok(fused)
}

/// Fails unless all members answered about the same images in the same order, in the same classes.
fn check(members: &[&Predictions]) -> Result<(), EnsembleError> {
    let Some(first) = members.first() else { return Err(EnsembleError::Empty) };
    for (member, other) in members.iter().enumerate().skip(1) {
        let [a, b] = [first, other].map(|member| &member.header);
        if other.classes() != first.classes() {
            let (expected, got) = (first.classes(), other.classes());
            return Err(EnsembleError::Classes { expected, got });
        }
        let what = if a.origin.fingerprint != b.origin.fingerprint {
            let same = (&a.origin.data, &a.origin.split) == (&b.origin.data, &b.origin.split);
            // Of one name, and yet not the same.
            let how = if same { ", divided by another seed or changed since" } else { "" };
            format!(
                "{} ({}) and {} ({}){how}",
                a.origin.data, a.origin.split, b.origin.data, b.origin.split
            )
        } else if a.images == b.images && !first.is_about_images_of(other) {
            "of the same names, with other pixels or classes".to_owned()
        } else if a.images != b.images {
            format!(
                "{} and {}, of which not all are the same",
                first.len(),
                counted(other.len(), "image")
            )
        } else if a.classes != b.classes {
            "the names of the classes".to_owned()
        } else {
            continue;
        };
        return Err(EnsembleError::Images { member, what });
    }
    Ok(())
}

/// Weights, which sum to one, at which the weighted mean of the members' probabilities gives the right classes the greatest
/// likelihood. They must be fitted on other images than those that a result is reported on.
pub fn fit(members: &[&Predictions]) -> Result<Vec<f64>, EnsembleError> {
    check(members)?;
    let right = |image: usize| -> Vec<f64> {
        let label = members[0].labels[image] as usize;
        members.iter().map(|member| member.probabilities(image)[label]).collect()
    };
    let right: Vec<Vec<f64>> = (0..members[0].len()).map(right).collect();
    let weights = crate::mixture::weights(&right, members.len());
    // No member vanishes: a weight must be positive.
    Ok(weights.into_iter().map(|weight| weight.max(*WEIGHTS.start())).collect())
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
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e308, 1e-310] {
            let error = average(&[(weight, &[1.0])]).unwrap_err();
            assert!(matches!(error, EnsembleError::Weight { .. }), "{weight}: {error}");
        }
    }

    fn member(rows: &[[f64; 2]], labels: &[u32]) -> Predictions {
        let origin = crate::predictions::Origin {
            network: "tiny".to_owned(),
            weights: String::new(),
            ensemble: None,
            data: "noise".to_owned(),
            split: "test".to_owned(),
            division: None,
            fingerprint: "0".to_owned(),
            preprocess: Some(top5_data::Preprocess::digits()),
            protocol: Some(crate::Protocol::own()),
            terms: crate::Terms::default(),
        };
        let mut member = Predictions::new(origin, vec!["a".to_owned(), "b".to_owned()]);
        for (image, (row, &label)) in rows.iter().zip(labels).enumerate() {
            member.push(image.to_string(), label, row);
        }
        member
    }

    #[test]
    fn answers_are_fused_by_probabilities_or_logits() {
        let (a, b) = (member(&[[0.9, 0.1]], &[0]), member(&[[0.5, 0.5]], &[0]));
        let of = |average| fuse(&[(1.0, &a), (3.0, &b)], average).unwrap().probabilities(0)[0];
        assert!((of(Average::Probabilities) - 0.6).abs() < 1e-6);
        // The logits differ by ln 9 and 0: their mean by ln 9 / 4.
        let odds = 9f64.powf(0.25);
        assert!((of(Average::Logits) - odds / (1.0 + odds)).abs() < 1e-6);
    }

    #[test]
    fn members_that_exclude_each_other_have_no_mean_of_logits() {
        let (a, b) = (member(&[[1.0, 0.0]], &[0]), member(&[[0.0, 1.0]], &[0]));
        let error = fuse(&[(1.0, &a), (1.0, &b)], Average::Logits).unwrap_err();
        assert_eq!(error, EnsembleError::Impossible { image: "0".to_owned() });
        let mean = fuse(&[(1.0, &a), (1.0, &b)], Average::Probabilities).unwrap();
        assert_eq!(mean.probabilities(0), [0.5, 0.5]);
    }

    #[test]
    fn origin_holds_what_all_members_share() {
        let a = member(&[[0.9, 0.1]], &[0]);
        let mut b = a.clone();
        let of =
            |b: &Predictions| fuse(&[(1.0, &a), (1.0, b)], Average::Logits).unwrap().header.origin;
        assert_eq!(of(&b), a.header.origin);
        b.header.origin.protocol = crate::named("mirror", [28, 28]);
        let fused = of(&b);
        assert_eq!((fused.protocol, fused.preprocess), (None, a.header.origin.preprocess.clone()));
    }

    #[test]
    fn answers_about_other_images_are_not_fused() {
        let (a, b) = (member(&[[0.9, 0.1]], &[0]), member(&[[0.9, 0.1]], &[1]));
        let error = fuse(&[(1.0, &a), (1.0, &b)], Average::Logits).unwrap_err();
        assert!(matches!(error, EnsembleError::Images { member: 1, .. }), "{error}");
        let mut c = a.clone();
        c.header.origin.fingerprint = "1".to_owned();
        let error = fuse(&[(1.0, &a), (1.0, &c)], Average::Logits).unwrap_err().to_string();
        assert!(error.contains("noise (test), divided by another seed"), "{error}");
        assert!(matches!(fit(&[&a, &c]), Err(EnsembleError::Images { .. })));
        assert_eq!(fit(&[]), Err(EnsembleError::Empty));
    }

    #[test]
    fn better_member_gets_more_weight() {
        let labels = [0, 1, 0, 1];
        let good = member(&[[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.9, 0.1]], &labels);
        let poor = member(&[[0.5, 0.5], [0.6, 0.4], [0.4, 0.6], [0.3, 0.7]], &labels);
        let weights = fit(&[&good, &poor]).unwrap();
        assert!(weights[0] > 0.5 && (weights.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        let nll = |w: f64| -> f64 {
            let fused = fuse(&[(w, &good), (1.0 - w, &poor)], Average::Probabilities).unwrap();
            (0..4).map(|i| -fused.probabilities(i)[labels[i] as usize].ln()).sum()
        };
        let best = nll(weights[0]);
        assert!([-0.05, 0.05].iter().all(|d| best <= nll(weights[0] + d) + 1e-9), "{weights:?}");
    }
}
