//! `summary.csv`: the epochs of a run, for programs that read timm's.

use top5::train::Row;

/// The epochs as a table, with timm's columns.
pub(super) fn csv(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let Row { epoch, train_loss, train_top1, eval_loss, eval_top1, eval_top5, lr, .. } = row;
        // Empty where there are no validation images.
        let [eval_loss, eval_top1, eval_top5] = [eval_loss, eval_top1, eval_top5]
            .map(|figure| figure.map_or(String::new(), |figure| figure.to_string()));
        format!("{epoch},{train_loss},{train_top1},{eval_loss},{eval_top1},{eval_top5},{lr}\n")
    };
    let header = "epoch,train_loss,train_top1,eval_loss,eval_top1,eval_top5,lr\n".to_owned();
    header + &rows.iter().map(line).collect::<String>()
}
