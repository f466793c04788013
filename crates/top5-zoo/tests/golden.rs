//! The layer table of every network, as it was when somebody last read it. `cargo xtask bless` rewrites the files.
//! A table that nobody would read to its end, that of ResNeXt's separate paths, is kept with its beginning and totals.

use std::path::Path;
use top5_graph::table;
use top5_zoo::networks;

/// More lines than any network without separate paths has.
const LINES: usize = 1100;

fn readable(table: String) -> String {
    let lines: Vec<&str> = table.lines().collect();
    if lines.len() <= LINES {
        return table;
    }
    let (head, tail) = (lines[..LINES / 4].join("\n"), lines[lines.len() - 1]);
    format!("{head}\n… {} lines …\n{tail}\n", lines.len() - LINES / 4 - 1)
}

#[test]
fn layer_tables_are_the_golden_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bless = std::env::var_os("UPDATE_EXPECT").is_some();
    for network in networks() {
        let now = readable(table(&network.graph().unwrap()));
        let path = folder.join(network.name).with_extension("txt");
        if bless {
            std::fs::write(&path, &now).unwrap();
            continue;
        }
        let golden = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask bless`", path.display()));
        let differ = golden.lines().zip(now.lines()).find(|(was, is)| was != is);
        assert!(
            golden == now,
            "{}: the table changed, first {differ:#?}; if that is meant, run `cargo xtask bless`",
            network.name
        );
    }
}
