//! What an epoch came to in a sentence, for those who listen rather than look: no columns, no signs, every number with its unit.

use crate::log::EpochRow;

/// The sentence of the last of these epochs, of a run of so many, with what became of it beside the best before. None where
/// there is no epoch yet.
pub fn sentence(rows: &[EpochRow], epochs: usize) -> Option<String> {
    let (row, before) = rows.split_last()?;
    let learnt = format!("of the training images, {:.1} percent", row.train_top1);
    let (Some(top1), Some(top5)) = (row.eval_top1, row.eval_top5) else {
        return Some(format!("Epoch {} of {epochs}: {learnt} are classified right.", row.epoch));
    };
    let of = if row.ema { " by the average of the weights" } else { "" };
    let said = format!(
        "Epoch {} of {epochs}: {top1:.1} percent of the validation images are classified right{of}, {top5:.1} percent within \
         five guesses; {learnt}",
        row.epoch
    );
    let known = before.iter().filter_map(|row| Some((row.epoch, row.eval_top1?)));
    let compared = match known.max_by(|a, b| a.1.total_cmp(&b.1)) {
        None => String::new(),
        Some((_, best)) if top1 > best => {
            format!(". That is the best so far, by {:.1} points", top1 - best)
        }
        Some((epoch, best)) if top1 < best => {
            let lost = best - top1;
            format!(". That is {lost:.1} points less than in epoch {epoch}, the best so far")
        }
        Some((epoch, _)) => format!(". That is as good as epoch {epoch}, the best so far"),
    };
    Some(format!("{said}{compared}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_compare_with_the_best_before() {
        let row = |epoch: usize, eval_top1: Option<f64>| EpochRow {
            epoch,
            step: epoch,
            train_loss: 0.5,
            train_top1: 80.0,
            train_top5: None,
            eval_loss: Some(0.5),
            eval_top1,
            eval_top5: Some(99.0),
            ema: false,
            lr: 0.1,
        };
        assert_eq!(sentence(&[], 3), None);
        let rows =
            [(1, 90.0), (2, 91.25), (3, 91.0), (4, 91.25)].map(|(n, top1)| row(n, Some(top1)));
        let said = |n: usize| sentence(&rows[..n], 4).unwrap();
        assert_eq!(
            said(1),
            "Epoch 1 of 4: 90.0 percent of the validation images are classified right, 99.0 percent within five guesses; of \
             the training images, 80.0 percent."
        );
        assert_eq!(
            sentence(&[row(1, None)], 4).unwrap(),
            "Epoch 1 of 4: of the training images, 80.0 percent are classified right."
        );
        assert!(said(2).ends_with("That is the best so far, by 1.2 points."), "{}", said(2));
        assert!(
            said(3).ends_with("0.2 points less than in epoch 2, the best so far."),
            "{}",
            said(3)
        );
        assert!(said(4).ends_with("as good as epoch 2, the best so far."), "{}", said(4));
    }
}
