//! Modules as one script: each becomes a function that gives what it exports. It reads the few forms of `import` and `export` that
//! the page's modules have.

/// The modules as one script: name and text of each. What `entry` does is done last.
pub(crate) fn bundle(modules: &[(&str, &str)], entry: &str) -> String {
    let mut out = String::from("\"use strict\";\nconst modules = {};\n");
    let mut done = Vec::new();
    let names = modules.iter().map(|(name, _)| *name).filter(|name| *name != entry);
    names.chain([entry]).for_each(|name| add(modules, name, &mut done, &mut out));
    out
}

/// Adds a module after those that it imports at its top; those it imports later are there by then.
fn add<'m>(
    modules: &[(&'m str, &'m str)],
    name: &'m str,
    done: &mut Vec<&'m str>,
    out: &mut String,
) {
    if done.contains(&name) {
        return;
    }
    done.push(name);
    let Some((_, text)) = modules.iter().find(|(known, _)| *known == name) else { return };
    let (mut body, mut exports) = (String::new(), Vec::new());
    let mut rest = *text;
    while let Some(line) = rest.split_inclusive('\n').next() {
        if line.starts_with("import {")
            && let Some((names, after)) = rest["import ".len()..].split_once(" from \"./")
            && let Some((from, after)) = after.split_once("\";\n")
        {
            add(modules, from, done, out);
            body += &format!("const {} = modules[\"{from}\"];\n", names.replace('\n', " "));
            rest = after;
            continue;
        }
        rest = &rest[line.len()..];
        match line.strip_prefix("export ") {
            Some(line) => {
                exports.extend(declared(line));
                body += line;
            }
            None => body += line,
        }
    }
    let body = body.replace("import(\"./", "later(\"");
    let exports = exports.join(", ");
    out.push_str(&format!(
        "modules[\"{name}\"] = (() => {{\nconst later = async (name) => modules[name];\n{body}return {{ {exports} }};\n}})();\n"
    ));
}

/// The name that a declaration declares.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$'));
    words.find(|word| !["async", "function", "const", "class", ""].contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_import() {
        let a = "import { b,\n  c } from \"./b.js\";\nconst view = () => import(\"./later.js\");\nb(c, view);\n";
        let b = "export const c = 1;\n\nexport async function b() {\n  return c;\n}\n";
        let script =
            bundle(&[("a.js", a), ("b.js", b), ("later.js", "export const d = 2;\n")], "a.js");
        let at = |text: &str| script.find(text).unwrap();
        assert!(at("modules[\"b.js\"] =") < at("modules[\"a.js\"] ="));
        assert!(at("modules[\"later.js\"] =") < at("modules[\"a.js\"] ="));
        assert!(script.contains("const { b,   c } = modules[\"b.js\"];\n"), "{script}");
        assert!(script.contains("return { c, b };") && script.contains("later(\"later.js\")"));
        assert!(!script.contains("import") && !script.contains("export"), "{script}");
    }
}
