//! `summary.csv`: the epochs of a run, for programs that read timm's.

use top5::train::EpochRow;

/// The epochs as a table, with timm's columns and two more. An epoch that began with a version that did not count its top-5 has
/// an empty cell.
pub(super) fn csv(rows: &[EpochRow]) -> String {
    let line = |row: &EpochRow| {
        let EpochRow { epoch, train_loss, train_top1, train_top5, .. } = row;
        let EpochRow { eval_loss, eval_top1, eval_top5, lr, .. } = row;
        // Those of the validation are empty where there are no images for it.
        let [train_top5, eval_loss, eval_top1, eval_top5] =
            [train_top5, eval_loss, eval_top1, eval_top5]
                .map(|figure| figure.map_or(String::new(), |figure| figure.to_string()));
        format!(
            "{epoch},{train_loss},{train_top1},{train_top5},{eval_loss},{eval_top1},{eval_top5},{lr}\n"
        )
    };
    let header = "epoch,train_loss,train_top1,train_top5,eval_loss,eval_top1,eval_top5,lr\n";
    header.to_owned() + &rows.iter().map(line).collect::<String>()
}
