//! Tables of text, in the forms that people and programs read.

use crate::printable;

/// A column's title and whether its cells are numbers, which are set to the right.
pub(crate) type Column = (&'static str, bool);

/// Aligned columns, for a terminal.
pub(crate) fn aligned<const N: usize>(columns: [Column; N], rows: &[[String; N]]) -> String {
    let rows = rows.iter().map(|row| row.each_ref().map(|cell| printable::name(cell).into_owned()));
    let rows: Vec<[String; N]> = rows.collect();
    let width = |i: usize| {
        let cells = rows.iter().map(|row| row[i].chars().count());
        cells.chain([columns[i].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).zip(columns).map(|((cell, width), (_, number))| {
            let fill = " ".repeat(width - cell.chars().count());
            if number { fill + cell } else { cell.clone() + &fill }
        });
        let cells: Vec<String> = cells.collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    line(&columns.map(|(title, _)| title.to_owned())) + &rows.iter().map(line).collect::<String>()
}

/// A Markdown table.
pub(crate) fn markdown<const N: usize>(columns: [Column; N], rows: &[[String; N]]) -> String {
    let cell = |cell: &String| printable::name(cell).replace('|', "\\|");
    let line = |row: &[String; N]| format!("| {} |\n", row.each_ref().map(cell).join(" | "));
    let rule = columns.map(|(_, number)| if number { "---:" } else { "---" }.to_owned());
    line(&columns.map(|(title, _)| title.to_owned()))
        + &line(&rule)
        + &rows.iter().map(line).collect::<String>()
}

/// Comma-separated values (RFC 4180, with bare line feeds).
pub(crate) fn csv<const N: usize>(columns: [&str; N], rows: &[[String; N]]) -> String {
    let line = |cells: Vec<String>| cells.join(",") + "\n";
    line(columns.map(cell).to_vec())
        + &rows
            .iter()
            .map(|row| line(row.iter().map(|text| cell(text)).collect()))
            .collect::<String>()
}

/// A cell of comma-separated values, quoted where it must be.
pub(crate) fn cell(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// The records of comma-separated values (RFC 4180), each with the number of its first line. Empty lines are none.
pub(crate) fn records(text: &str) -> impl Iterator<Item = (usize, Vec<String>)> + '_ {
    let (mut rest, mut line) = (text.chars().peekable(), 1);
    std::iter::from_fn(move || {
        while rest
            .next_if(|c| matches!(c, '\r' | '\n'))
            .inspect(|&c| line += usize::from(c == '\n'))
            .is_some()
        {}
        rest.peek()?;
        let (first, mut cells, mut quoted) = (line, vec![String::new()], false);
        while let Some(c) = rest.next() {
            let cell = cells.last_mut().expect("there is a cell");
            line += usize::from(c == '\n');
            match c {
                '"' if quoted && rest.next_if_eq(&'"').is_some() => cell.push('"'),
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(String::new()),
                '\n' if !quoted => break,
                '\r' if !quoted => {}
                c => cell.push(c),
            }
        }
        Some((first, cells))
    })
}

/// A count as people read it: `44.4 k`, `138.4 M`, `15.5 G`.
pub(crate) fn short(count: u64) -> String {
    let scaled = |unit: f64| count as f64 / unit;
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{:.1} k", scaled(1e3)),
        1_000_000..1_000_000_000 => format!("{:.1} M", scaled(1e6)),
        _ => format!("{:.1} G", scaled(1e9)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["é".to_owned(), "1".to_owned()], ["abc".to_owned(), "10".to_owned()]];
        assert_eq!(aligned([("a", false), ("n", true)], &rows), "a     n\né     1\nabc  10\n");
    }

    #[test]
    fn cells_of_markdown_stay_on_their_line_and_in_their_column() {
        let table = markdown([("name", false)], &[["a|b\nc".to_owned()]]);
        assert_eq!(table, "| name |\n| --- |\n| a\\|b\\nc |\n");
    }

    #[test]
    fn cells_with_commas_and_quotes_are_quoted() {
        let rows = [["a,b".to_owned(), "say \"x\"".to_owned()]];
        assert_eq!(csv(["x", "y"], &rows), "x,y\n\"a,b\",\"say \"\"x\"\"\"\n");
    }

    #[test]
    fn records_are_those_of_the_standard() {
        let text = "a,\"b, \"\"c\"\"\"\r\n\n\"two\nlines\",\nx";
        let found: Vec<_> = records(text).collect();
        let cells = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
        let expected =
            [(1, cells(&["a", "b, \"c\""])), (3, cells(&["two\nlines", ""])), (5, cells(&["x"]))];
        assert_eq!(found, expected);
    }

    #[test]
    fn counts_are_shortened() {
        let texts = [999, 44_426, 138_357_544, 15_470_264_320].map(short);
        assert_eq!(texts, ["999", "44.4 k", "138.4 M", "15.5 G"]);
    }
}
