//! `top5 man`: the manual pages, made from the declaration of the arguments.

use anyhow::Result;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::exit::{Stop, TABLE};
use crate::parse;

/// The page of the program, or of one of its commands.
pub(crate) fn page(name: Option<&str>) -> Result<String> {
    let mut program = parse::command();
    program.build();
    let pages = pages(&program);
    let command = match name {
        None => program.clone(),
        Some(name) => match pages.iter().find(|(of, _)| of == name) {
            Some((_, command)) => (*command).clone().name(format!("top5-{name}")),
            None => {
                let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
                let message =
                    format!("there is no command {name:?}; there are {}", names.join(", "));
                return Err(Stop::Usage(message).into());
            }
        },
    };
    let examples = command.get_before_help().map(ToString::to_string);
    let bare = command.before_help(None).after_help(None);
    let bare_has_commands = bare.has_subcommands();
    let manual = Man::new(bare);
    let mut page = Vec::new();
    manual.render_title(&mut page)?;
    manual.render_name_section(&mut page)?;
    manual.render_synopsis_section(&mut page)?;
    manual.render_description_section(&mut page)?;
    manual.render_options_section(&mut page)?;
    if bare_has_commands {
        manual.render_subcommands_section(&mut page)?;
    }
    if let Some(examples) = examples {
        literal("EXAMPLES", &examples).to_writer(&mut page)?;
    }
    literal("EXIT STATUS", TABLE).to_writer(&mut page)?;
    let mut rest = Roff::default();
    rest.control("SH", ["ENVIRONMENT"]);
    rest.text([
        roman("Each flag that the command line leaves out is taken from a variable, as "),
        bold("TOP5_BATCH_SIZE"),
        roman(" for "),
        bold("--batch-size"),
        roman(", where it is set."),
    ]);
    rest.to_writer(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// The commands with the names of their pages: `train`, `data-check`.
fn pages(program: &Command) -> Vec<(String, &Command)> {
    let own = |command: &&Command| command.get_name() != "help";
    let of = |command: &'_ Command| command.get_name().to_owned();
    let mut pages = Vec::new();
    for command in program.get_subcommands().filter(own) {
        pages.push((of(command), command));
        let below = command.get_subcommands().filter(own);
        pages.extend(below.map(|below| (format!("{}-{}", of(command), of(below)), below)));
    }
    pages
}

/// A section of lines that stay as they are, without their heading.
fn literal(title: &str, text: &str) -> Roff {
    let mut section = Roff::default();
    section.control("SH", [title]).control("nf", []);
    for line in text.lines().skip(1) {
        section.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    section.control("fi", []);
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_flags() {
        let program = page(None).unwrap();
        let declared = parse::command();
        for (name, command) in pages(&declared) {
            let (top, below) = name.split_once('-').unwrap_or((&name, ""));
            assert!(program.contains(&format!("top5\\-{top}")), "{name}: {program}");
            let page = page(Some(&name)).unwrap();
            assert!(below.is_empty() || self::page(Some(top)).unwrap().contains(below), "{name}");
            for section in [".SH NAME", ".SH SYNOPSIS", "EXIT STATUS", ".SH ENVIRONMENT"] {
                assert!(page.contains(section), "{name}: {section}");
            }
            for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
                let flag = flag.replace('-', "\\-");
                assert!(page.contains(&flag), "{name}: {flag}: {page}");
            }
        }
        assert!(page(Some("train")).unwrap().contains("train lenet"));
        assert!(page(Some("trai")).unwrap_err().to_string().contains("train"));
    }
}
