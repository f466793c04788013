//! The shape of the code in figures: how long its functions are, which files of a crate use each other in a circle, and
//! the counts that `cargo xtask counts` prints. Read from the text, so a path made by a macro is not seen.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, is_word};

/// A function outside tests.
pub(crate) struct Function<'a> {
    pub(crate) source: &'a Source,
    /// Line of its `fn`, from 1.
    pub(crate) line: usize,
    pub(crate) name: String,
    /// From the line of its `fn` to that of its closing brace, both counted.
    pub(crate) lines: usize,
}

/// Every function with a body outside tests, in order.
pub(crate) fn functions(source: &Source) -> Vec<Function<'_>> {
    let lines: Vec<_> = source.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| !line.in_test) {
        let Some(name) = function_name(line.code) else { continue };
        let start = line.code.find("fn ").unwrap_or(0);
        let (mut depth, mut open) = (0_i32, false);
        // Brackets of the signature count too, so that a `;` in an array type ends nothing.
        'body: for (n, line) in lines[at..].iter().enumerate() {
            let code = if n == 0 { &line.code[start..] } else { line.code };
            for c in code.chars() {
                match c {
                    '{' if depth == 0 => (depth, open) = (1, true),
                    '{' | '(' | '[' => depth += 1,
                    '}' | ')' | ']' => depth -= 1,
                    ';' if depth == 0 => break 'body,
                    _ => {}
                }
                if open && depth == 0 {
                    found.push(Function { source, line: at + 1, name, lines: n + 1 });
                    break 'body;
                }
            }
        }
    }
    found
}

/// The name behind the `fn` of a line of code.
fn function_name(code: &str) -> Option<String> {
    let (before, after) = code.split_once("fn ")?;
    let begins = before.chars().next_back().is_none_or(|c| !is_word(c));
    let name: String = after.chars().take_while(|&c| is_word(c)).collect();
    (begins && !name.is_empty()).then_some(name)
}

/// Files of one crate's `src` that use each other, directly or through others: the groups of more than one.
pub(crate) fn circles(sources: &[&Source]) -> Vec<Vec<String>> {
    let modules: BTreeMap<String, &Source> =
        sources.iter().filter_map(|source| Some((module_of(&source.path)?, *source))).collect();
    let reexports = modules.get("").map(|root| reexports(root)).unwrap_or_default();
    let edges: BTreeMap<&str, BTreeSet<String>> = modules
        .iter()
        .map(|(name, source)| (name.as_str(), uses(name, source, &modules, &reexports)))
        .collect();
    let reached = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = vec![from];
        while let Some(module) = next.pop() {
            for target in edges.get(module).into_iter().flatten() {
                if seen.insert(target.as_str()) {
                    next.push(target);
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|&module| (module, reached(module))).collect();
    let mut groups = BTreeSet::new();
    for (&module, targets) in &reach {
        let circle: Vec<String> = targets
            .iter()
            .filter(|&&other| reach[other].contains(module))
            .map(|&other| modules[other].path.clone())
            .collect();
        if circle.len() > 1 {
            groups.insert(circle);
        }
    }
    groups.into_iter().collect()
}

/// `conv::strip` of `crates/top5-kernels/src/conv/strip.rs`; the root is the empty name.
fn module_of(path: &str) -> Option<String> {
    let inside = path.split_once("/src/")?.1.strip_suffix(".rs")?;
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    let is_root = matches!(inside, "lib" | "main");
    Some(if is_root { String::new() } else { inside.replace('/', "::") })
}

/// What the root names again: the item's name, and the path behind `crate::`.
fn reexports(root: &Source) -> BTreeMap<String, String> {
    let code: String = root.lines().map(|line| line.code.to_owned() + "\n").collect();
    let mut names = BTreeMap::new();
    for statement in code.split(';').filter_map(|part| part.split_once("pub use ")) {
        for path in expand(statement.1) {
            let path = path.strip_prefix("crate::").unwrap_or(&path).to_owned();
            if let Some(name) = path.rsplit("::").next() {
                names.insert(name.to_owned(), path.clone());
            }
        }
    }
    names
}

/// The paths of a use tree: `a::{b, c::{d}}` is `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((stem, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(&tree).trim();
        return if path.is_empty() { Vec::new() } else { vec![path.replace(' ', "")] };
    };
    let (mut depth, mut piece, mut paths) = (1, String::new(), Vec::new());
    for c in rest.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            paths.extend(expand(&piece).into_iter().map(|path| format!("{}{path}", stem.trim())));
            piece.clear();
            if depth == 0 {
                break;
            }
        } else {
            piece.push(c);
        }
    }
    paths
}

/// The modules that a file uses by `crate::` and `super::` outside tests.
fn uses(
    module: &str,
    source: &Source,
    modules: &BTreeMap<String, &Source>,
    reexports: &BTreeMap<String, String>,
) -> BTreeSet<String> {
    let mut code = String::new();
    for line in source.lines().filter(|line| !line.in_test) {
        code.push_str(line.code);
        code.push('\n');
    }
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut paths: Vec<String> = Vec::new();
    for (stem, base) in [("crate::", ""), ("super::", parent)] {
        for (at, _) in code.match_indices(stem) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| is_word(c) || c == ':' || c == '$') {
                continue;
            }
            let tree = statement(&code[at + stem.len()..]);
            paths.extend(
                expand(tree)
                    .into_iter()
                    .map(|path| if base.is_empty() { path } else { format!("{base}::{path}") }),
            );
        }
    }
    let target = |path: &String| {
        let first = path.split("::").next().unwrap_or_default();
        let path = reexports.get(first).filter(|_| !modules.contains_key(first)).unwrap_or(path);
        let mut stem = path.as_str();
        loop {
            if modules.contains_key(stem) {
                return Some(stem.to_owned());
            }
            stem = stem.rsplit_once("::")?.0;
        }
    };
    paths.iter().filter_map(target).filter(|target| target != module).collect()
}

/// The path or use tree at the start of `code`.
fn statement(code: &str) -> &str {
    let mut depth = 0;
    let end = code.find(|c: char| {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            _ if depth == 0 => return !(is_word(c) || c == ':'),
            _ => {}
        }
        false
    });
    &code[..end.unwrap_or(code.len())]
}

/// The figures of the whole workspace, one a line.
pub(crate) fn counts(sources: &[Source]) -> String {
    let mut lines = Vec::new();
    let production: usize =
        sources.iter().map(|source| source.lines().filter(|line| !line.in_test).count()).sum();
    let all: usize = sources.iter().map(|source| source.lines().count()).sum();
    lines.push(format!("files {}, lines {all}, without tests {production}", sources.len()));
    let mut functions: Vec<Function<'_>> = sources.iter().flat_map(functions).collect();
    functions.sort_by_key(|function| std::cmp::Reverse(function.lines));
    let median = functions.get(functions.len() / 2).map_or(0, |function| function.lines);
    lines.push(format!("functions {}, median {median} lines; the longest:", functions.len()));
    for Function { source, line, name, lines: length } in functions.iter().take(5) {
        lines.push(format!("  {length:>4}  {name}, {}:{line}", source.path));
    }
    let knows = |source: &&Source| {
        let words = ["Conv2d", "ConvGeom", "ConvShape"];
        // The algorithms themselves may know what they compute.
        let apart = ["top5-zoo", "top5-testkit", "top5-kernels"].contains(&source.crate_name());
        !apart
            && source.lines().any(|line| {
                !line.in_test && words.iter().any(|word| contains_word(line.code, word))
            })
    };
    let convolution: Vec<&str> =
        sources.iter().filter(knows).map(|source| source.path.as_str()).collect();
    lines.push(format!(
        "files that know a 2-D convolution outside tests, zoo and kernels: {}",
        convolution.len()
    ));
    lines.extend(convolution.iter().map(|path| format!("  {path}")));
    let unsafe_blocks: usize =
        count(sources, |line| line.trim_end().ends_with("unsafe {") || line.contains("unsafe { "));
    let safety: usize =
        sources.iter().map(|source| source.text.matches("// SAFETY:").count()).sum();
    lines.push(format!("unsafe blocks {unsafe_blocks}, SAFETY lines {safety}"));
    let crates: BTreeSet<&str> = sources.iter().map(Source::crate_name).collect();
    for name in crates {
        let own: Vec<&Source> = sources
            .iter()
            .filter(|source| source.crate_name() == name && source.path.contains("/src/"))
            .collect();
        for circle in circles(&own) {
            lines.push(format!("circle in {name}, {} files: {}", circle.len(), circle.join(" ")));
        }
    }
    lines.join("\n")
}

fn count(sources: &[Source], counts: impl Fn(&str) -> bool) -> usize {
    sources.iter().map(|source| source.lines().filter(|line| counts(line.code)).count()).sum()
}

fn contains_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        ![before, after].into_iter().flatten().any(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_counted_from_its_fn_to_its_brace() {
        let text = "fn a(x: [u8; 2]) -> u8\nwhere\n    T: B,\n{\n    if c { d }\n}\ntrait T {\n    fn e(&self);\n    fn f() { }\n}\n#[cfg(test)]\nmod tests {\n    fn g() {}\n}\n";
        let source = Source::new("crates/a/src/b.rs", text);
        let found: Vec<(String, usize, usize)> =
            functions(&source).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(found, [("a".to_owned(), 1, 6), ("f".to_owned(), 9, 1)]);
    }

    #[test]
    fn a_use_tree_is_expanded() {
        assert_eq!(expand("a::{b, c::{d, e as f}}"), ["a::b", "a::c::d", "a::c::e"]);
        assert_eq!(expand("a::b as c"), ["a::b"]);
    }

    fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(name, text)| Source::new(&format!("crates/a/src/{name}"), text))
            .collect();
        circles(&sources.iter().collect::<Vec<_>>())
    }

    #[test]
    fn files_that_use_each_other_are_a_circle() {
        let [a, b] = ["crates/a/src/a.rs", "crates/a/src/b.rs"];
        let direct = [("a.rs", "use crate::b::X;"), ("b.rs", "fn f() { crate::a::g() }")];
        assert_eq!(circles_of(&direct), [[a, b]]);
        let one_way = [("a.rs", "use crate::b::X;"), ("b.rs", "// crate::a")];
        assert!(circles_of(&one_way).is_empty());
        let in_tests = [("a.rs", "use crate::b::X;"), ("b.rs", "#[cfg(test)]\nuse crate::a::g;")];
        assert!(circles_of(&in_tests).is_empty());
    }

    #[test]
    fn a_circle_through_the_root_and_through_super_is_seen() {
        let through_root = [
            ("lib.rs", "mod a;\nmod b;\npub use a::{X, Y};\n"),
            ("a.rs", "use crate::b::Z;"),
            ("b.rs", "use crate::{Y, b};"),
        ];
        assert_eq!(circles_of(&through_root), [["crates/a/src/a.rs", "crates/a/src/b.rs"]]);
        let parent_and_child =
            [("a.rs", "mod c;\nuse crate::a::c::X;"), ("a/c.rs", "use super::Y;")];
        assert_eq!(circles_of(&parent_and_child), [["crates/a/src/a.rs", "crates/a/src/a/c.rs"]]);
    }
}
