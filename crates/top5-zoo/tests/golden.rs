//! The layer table of every network, as it was when somebody last read it. `cargo xtask bless` rewrites the files.

use std::path::Path;
use top5_graph::table;
use top5_zoo::networks;

#[test]
fn layer_tables_are_the_golden_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bless = std::env::var_os("UPDATE_EXPECT").is_some();
    for network in networks() {
        let now = table(&network.graph().unwrap());
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
