//! The layer table.

use crate::graph::Graph;
use crate::shape::Shape;

/// One layer of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerRow {
    /// The layer's name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// Its attributes.
    pub label: String,
    /// Names of the layers that it reads.
    pub inputs: Vec<String>,
    /// Shape of its output, for one sample.
    pub output: Shape,
    /// Learned parameters.
    pub params: usize,
    /// Multiply-accumulates of one sample.
    pub macs: u64,
    /// Receptive field, `[height, width]`.
    pub receptive_field: [usize; 2],
}

/// The rows of the layer table, in the order of the graph.
pub fn rows(graph: &Graph) -> Vec<LayerRow> {
    let fields = graph.receptive_fields();
    graph
        .nodes()
        .iter()
        .zip(fields)
        .map(|(node, field)| LayerRow {
            name: node.name.clone(),
            kind: node.spec.kind,
            label: node.spec.label.clone(),
            inputs: node.inputs.iter().map(|&id| graph.node(id).name.clone()).collect(),
            output: node.shape(),
            params: node.spec.param_count(),
            macs: node.spec.macs,
            receptive_field: field.size,
        })
        .collect()
}

const HEADER: [&str; 7] = ["layer", "kind", "attributes", "output", "parameters", "MACs", "sees"];
const RIGHT: [bool; 7] = [false, false, false, true, true, true, true];

/// The table as aligned text, with a line of totals.
pub fn table(graph: &Graph) -> String {
    let cells = cells(graph);
    let mut widths = HEADER.map(|title| title.chars().count());
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 7]| {
        let mut text = String::new();
        for ((cell, &width), right) in row.iter().zip(&widths).zip(RIGHT) {
            let fill = " ".repeat(width - cell.chars().count());
            let (before, after) = if right { (fill.as_str(), "") } else { ("", fill.as_str()) };
            text += &format!("{before}{cell}{after}  ");
        }
        text.trim_end().to_owned() + "\n"
    };
    let rule = "─".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1)) + "\n";
    let (last, body) = cells.split_last().expect("there is always the line of totals");
    let header = line(&HEADER.map(str::to_owned));
    header + &rule + &body.iter().map(line).collect::<String>() + &rule + &line(last)
}

/// The table as Markdown.
pub fn markdown(graph: &Graph) -> String {
    let line = |row: &[String; 7]| format!("| {} |\n", row.join(" | "));
    let rule = RIGHT.map(|right| if right { "---:" } else { "---" }.to_owned());
    line(&HEADER.map(str::to_owned))
        + &line(&rule)
        + &cells(graph).iter().map(line).collect::<String>()
}

fn cells(graph: &Graph) -> Vec<[String; 7]> {
    let mut cells: Vec<[String; 7]> = rows(graph)
        .into_iter()
        .map(|row| {
            let [h, w] = row.receptive_field;
            [
                row.name,
                row.kind.to_owned(),
                row.label,
                row.output.to_string(),
                if row.params == 0 { String::new() } else { grouped(row.params as u64) },
                if row.macs == 0 { String::new() } else { grouped(row.macs) },
                format!("{h}×{w}"),
            ]
        })
        .collect();
    let total = String::new;
    cells.push([
        graph.name().to_owned(),
        total(),
        total(),
        graph.logits().shape().to_string(),
        grouped(graph.param_count() as u64),
        grouped(graph.inference().macs()),
        total(),
    ]);
    cells
}

/// `1234567` as `1,234,567`.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn table_holds_every_layer_and_the_totals() {
        let graph = net("tiny", [1, 8, 8], |x| x.conv(2, 3).relu().flatten().linear(10)).unwrap();
        let text = table(&graph);
        assert_eq!(text.lines().count(), 5 + 5 - 1);
        assert!(text.lines().last().unwrap().starts_with("tiny"));
        assert!(text.contains("2×6×6"));
        assert_eq!(markdown(&graph).lines().count(), 2 + 5 + 1);
    }
}
