//! The comparison of tensors, by the L2 norm of the difference or by its largest element.
//!
//! Both fail on a NaN, on an infinity and on a different length, in whichever of the two slices it is.

use std::fmt::Debug;

/// Values that convert to f64 without loss.
pub trait Real: Copy + Into<f64> + Debug {}

impl<T: Copy + Into<f64> + Debug> Real for T {}

/// `‖got − want‖ / ‖want‖`, or `‖got‖` where `want` is zero; an error for a length that differs or a value that is
/// not finite.
pub fn relative_l2<A: Real, B: Real>(got: &[A], want: &[B]) -> Result<f64, String> {
    let difference = norm(differences(got, want)?.into_iter());
    let scale = norm(want.iter().map(|&w| w.into()));
    Ok(if scale == 0.0 { difference } else { difference / scale })
}

/// Checks that the relative L2 distance of `got` and `want` is at most `tolerance`; the message of the error names the
/// worst element.
pub fn close<A: Real, B: Real>(got: &[A], want: &[B], tolerance: f64) -> Result<(), String> {
    let distance = relative_l2(got, want)?;
    if distance <= tolerance {
        return Ok(());
    }
    Err(format!("relative L2 {distance:.3e} > {tolerance:.1e}; {}", worst(got, want)?))
}

/// Checks that every element of `got` is within `tolerance` of `want`'s, absolutely.
pub fn close_abs<A: Real, B: Real>(got: &[A], want: &[B], tolerance: f64) -> Result<(), String> {
    let largest = differences(got, want)?.into_iter().fold(0.0, |m: f64, d| m.max(d.abs()));
    if largest <= tolerance {
        return Ok(());
    }
    Err(format!("difference {largest:.3e} > {tolerance:.1e}; {}", worst(got, want)?))
}

/// Panics with `what` in front of the message when [`close`] fails.
#[track_caller]
pub fn assert_close<A: Real, B: Real>(what: &str, got: &[A], want: &[B], tolerance: f64) {
    if let Err(message) = close(got, want, tolerance) {
        panic!("{what}: {message}");
    }
}

/// Panics with `what` in front of the message when [`close_abs`] fails.
#[track_caller]
pub fn assert_close_abs<A: Real, B: Real>(what: &str, got: &[A], want: &[B], tolerance: f64) {
    if let Err(message) = close_abs(got, want, tolerance) {
        panic!("{what}: {message}");
    }
}

/// The Euclidean norm, scaled by the largest element so that no square overflows or vanishes.
fn norm(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(0.0, |m: f64, v| m.max(v.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    largest * values.map(|v| (v / largest).powi(2)).sum::<f64>().sqrt()
}

/// `got − want`, all finite.
fn differences<A: Real, B: Real>(got: &[A], want: &[B]) -> Result<Vec<f64>, String> {
    if got.len() != want.len() {
        return Err(format!("{} elements, expected {}", got.len(), want.len()));
    }
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        if !(g.into().is_finite() && w.into().is_finite()) {
            return Err(format!("element {i} of {} is {g:?}, expected {w:?}", got.len()));
        }
    }
    Ok(got.iter().zip(want).map(|(&g, &w)| g.into() - w.into()).collect())
}

fn worst<A: Real, B: Real>(got: &[A], want: &[B]) -> Result<String, String> {
    let differences = differences(got, want)?;
    let worst = differences.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
    Ok(worst.map_or_else(String::new, |(i, _)| {
        format!("worst at {i} of {}: {:?}, expected {:?}", got.len(), got[i], want[i])
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<f32> {
        (0..96).map(|i| ((i * 37 % 96) as f32 - 40.0) / 17.0).collect()
    }

    #[test]
    fn equal_slices_and_the_bound_itself_are_accepted() {
        assert_eq!(close(&sample(), &sample(), 0.0), Ok(()));
        assert_eq!(close(&[1.5], &[1.0], 0.5), Ok(()));
        assert_eq!(close_abs(&[1.5, 0.0], &[1.0, 0.0], 0.5), Ok(()));
        assert_eq!(close::<f32, f32>(&[], &[], 0.0), Ok(()));
    }

    #[test]
    fn faults_are_rejected() {
        let want = sample();
        let changed = |change: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
            want.iter().enumerate().map(|(i, &w)| change(i, w)).collect()
        };
        let one = |value: f32| changed(&move |i, w| if i == 50 { value } else { w });
        let faults = [
            ("zeros", changed(&|_, _| 0.0)),
            ("sign", changed(&|_, w| -w)),
            ("twice", changed(&|_, w| 2.0 * w)),
            ("1.001 times", changed(&|_, w| 1.001 * w)),
            ("one element", one(want[50] + 0.01)),
            ("NaN", one(f32::NAN)),
            ("infinity", one(f32::INFINITY)),
            ("swapped channels", [&want[32..64], &want[..32], &want[64..]].concat()),
            ("shifted by one", [&want[1..], &want[..1]].concat()),
            ("short", want[..95].to_vec()),
            ("long", [&want[..], &want[..1]].concat()),
        ];
        for (name, got) in &faults {
            assert!(close(got, &want, 1e-4).is_err(), "{name}");
            assert!(close_abs(got, &want, 1e-4).is_err(), "{name}");
        }
    }

    #[test]
    fn not_finite_is_rejected_even_where_it_was_expected() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(close(&[bad], &[bad], f64::INFINITY).is_err());
            assert!(close(&[1.0], &[bad], f64::INFINITY).is_err());
            assert!(close_abs(&[bad], &[bad], f64::INFINITY).is_err());
        }
    }

    #[test]
    fn zero_is_compared_absolutely() {
        assert!(close(&[1e-3, 0.0], &[0.0, 0.0], 1e-4).is_err());
        assert_eq!(close(&[1e-5, 0.0], &[0.0, 0.0], 1e-4), Ok(()));
    }

    #[test]
    fn tiny_and_huge_values_are_compared() {
        assert!(close(&[1e-300], &[2e-300], 0.1).is_err());
        assert!(close(&[1e300], &[2e300], 0.1).is_err());
    }

    #[test]
    fn message_names_the_worst_element() {
        let message = close(&[1.0, 2.0, 9.0], &[1.0, 2.5, 3.0], 0.1).unwrap_err();
        assert!(message.contains("worst at 2 of 3: 9.0, expected 3.0"), "{message}");
        let message = close(&[1.0, f64::NAN], &[1.0, 2.0], 0.1).unwrap_err();
        assert!(message.contains("element 1 of 2 is NaN"), "{message}");
    }
}
