//! Names of tensors in other people's files, and what they are called here: tables of rules in `names/`, one per origin.
//!
//! A rule is a pattern and what replaces it. In a pattern, `#` stands for a number, `@` for a letter and `*` for any text.
//! The replacement takes what they stood for, in order: `*` and `#` as it was, `~` a number less one, `@` a letter as its
//! place in the alphabet from 0. Rules are tried in turn, and the first that matches the whole name is applied.

use std::sync::LazyLock;

/// No known name is longer, and matching takes more than linear time.
const LONGEST: usize = 256;

/// A pattern and its replacement.
type Rule = (&'static str, &'static str);

/// The names of one origin.
#[derive(Debug)]
pub(crate) struct Names {
    rules: Vec<Rule>,
}

/// All origins; the first leaves names as they are.
static ORIGINS: LazyLock<Vec<Names>> = LazyLock::new(|| {
    [
        "",
        include_str!("../names/pretrained-models.txt"),
        include_str!("../names/densenet.txt"),
        include_str!("../names/timm-vgg.txt"),
        include_str!("../names/transformers-resnet.txt"),
        include_str!("../names/pytorch-cifar.txt"),
        include_str!("../names/caffe-googlenet.txt"),
        include_str!("../names/caffe-vgg16.txt"),
        include_str!("../names/caffe-vgg19.txt"),
        include_str!("../names/caffe-resnet.txt"),
        include_str!("../names/caffe-senet.txt"),
        include_str!("../names/caffe-se-bn-inception.txt"),
    ]
    .into_iter()
    .map(Names::read)
    .collect()
});

/// All origins; the first leaves names as they are.
pub(crate) fn origins() -> &'static [Names] {
    &ORIGINS
}

impl Names {
    /// A line is a comment, or a pattern and its replacement.
    fn read(text: &'static str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let rule = |line: &'static str| line.trim().split_once(' ');
        let rules = lines.filter_map(rule).map(|(from, to)| (from, to.trim_start())).collect();
        Self { rules }
    }

    /// What a tensor of this name is called here.
    pub(crate) fn rename(&self, name: &str) -> String {
        let renamed = match name.len() {
            ..=LONGEST => self.rules.iter().find_map(|&rule| rewrite(name, rule)),
            _ => None,
        };
        renamed.unwrap_or_else(|| name.to_owned())
    }
}

/// Applies a rule; `None` when the pattern does not match the whole name, or a number less one is negative.
fn rewrite(name: &str, (pattern, replacement): Rule) -> Option<String> {
    let mut parts = Vec::new();
    if !matched(name, pattern, &mut parts) {
        return None;
    }
    let mut parts = parts.into_iter();
    let mut text = String::new();
    for c in replacement.chars() {
        match c {
            '#' | '*' => text.push_str(parts.next()?),
            '~' => text.push_str(&parts.next()?.parse::<u64>().ok()?.checked_sub(1)?.to_string()),
            '@' => text.push_str(&(parts.next()?.bytes().next()? - b'a').to_string()),
            _ => text.push(c),
        }
    }
    Some(text)
}

/// Whether the pattern matches, with what its wildcards stand for.
fn matched<'n>(name: &'n str, pattern: &str, parts: &mut Vec<&'n str>) -> bool {
    let Some(first) = pattern.chars().next() else { return name.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    let longest = match first {
        '*' => name.len(),
        '#' => name.bytes().take_while(u8::is_ascii_digit).count(),
        '@' => name.bytes().take(1).take_while(u8::is_ascii_lowercase).count(),
        _ => return name.strip_prefix(first).is_some_and(|name| matched(name, rest, parts)),
    };
    for end in (1..=longest).filter(|&end| name.is_char_boundary(end)) {
        parts.push(&name[..end]);
        if matched(&name[end..], rest, parts) {
            return true;
        }
        parts.pop();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that the origins make of one name, without those that leave it.
    fn renamed(name: &str) -> Vec<String> {
        origins().iter().map(|names| names.rename(name)).filter(|new| new != name).collect()
    }

    #[test]
    fn published_names_are_renamed() {
        for (theirs, ours) in [
            (
                "features.denseblock1.denselayer12.norm.2.running_var",
                "features.denseblock1.denselayer12.norm2.running_var",
            ),
            ("pre_logits.fc1.weight", "classifier.0.weight"),
            ("resnet.encoder.stages.2.layers.5.layer.1.normalization.bias", "layer3.5.bn2.bias"),
            (
                "resnet.encoder.stages.0.layers.0.shortcut.convolution.weight",
                "layer1.0.downsample.0.weight",
            ),
            ("bn1.running_var", "conv1.1.running_var"),
            ("layer3.1.bn2.weight", "conv4_x.1.residual_function.4.weight"),
            ("layer4.0.shortcut.1.bias", "conv5_x.0.shortcut.1.bias"),
            ("inception_4e/3x3_reduce.weight", "inception4e.branch2.0.conv.weight"),
            ("loss2/fc.bias", "aux2.fc1.bias"),
            ("loss3/classifier.bias", "fc.bias"),
            ("conv5_4.weight", "features.34.weight"),
            ("bn_conv1.running_mean", "bn1.running_mean"),
            ("res2a_branch1.weight", "layer1.0.downsample.0.weight"),
            ("bn2a_branch1.bias", "layer1.0.downsample.1.bias"),
            ("res5c_branch2c.weight", "layer4.2.conv3.weight"),
            ("bn4b22_branch2b.weight", "layer3.22.bn2.weight"),
            ("fc1000.bias", "fc.bias"),
            ("conv1_3/3x3/bn.running_var", "layer0.bn3.running_var"),
            ("conv4_36_1x1_reduce.weight", "layer3.35.conv1.weight"),
            ("conv2_1_1x1_proj/bn.bias", "layer1.0.downsample.1.bias"),
            ("conv5_3_1x1_up.bias", "layer4.2.se_module.fc2.bias"),
            ("inception_3c/double3x3b/bn.weight", "inception3c.branch3.2.bn.weight"),
            ("inception_5b_1x1_down.weight", "inception5b.se.fc1.weight"),
        ] {
            assert!(renamed(theirs).contains(&ours.to_owned()), "{theirs}: {:?}", renamed(theirs));
        }
    }

    #[test]
    fn other_names_stay() {
        let long = "conv2_1_3x3.".repeat(100);
        for name in
            ["res", "res.weight", "resé_branch.w", "res0a_branch2a.w", "bn2_branch1.w", "", &long]
        {
            assert_eq!(renamed(name), [""; 0], "{name}");
        }
    }

    #[test]
    fn every_rule_takes_what_its_pattern_gives() {
        for names in origins() {
            for (from, to) in &names.rules {
                let wild = |text: &str| text.chars().filter(|c| "#*@~".contains(*c)).count();
                assert!(wild(to) == wild(from) && !to.contains(' '), "{from} {to}");
            }
        }
        assert_eq!(origins().iter().filter(|names| names.rules.is_empty()).count(), 1);
    }
}
