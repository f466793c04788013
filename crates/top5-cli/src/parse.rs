//! From the command line to the arguments: every flag has its variable of the environment, and may be followed by a negative
//! number.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, Error, FromArgMatches};

use crate::cli::{Cli, Commands, OutputArgs};
use crate::output::Output;
use crate::printable;

/// The whole declaration, every flag with its variable of the environment.
pub(crate) fn command() -> Command {
    Cli::command().mut_subcommands(with_variables)
}

/// The command, and those below it, with a variable for each flag.
fn with_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| match arg.get_long() {
        Some(long) => {
            let variable = format!("TOP5_{}", long.to_uppercase().replace('-', "_"));
            let arg = arg.env(variable).hide_env(true);
            let takes_value = arg.get_action().takes_values();
            if takes_value { arg.allow_negative_numbers(true) } else { arg }
        }
        None => arg,
    });
    command.mut_subcommands(with_variables)
}

/// Reads the command line. Help and wrong usage end the program here, the latter with exit code 2.
pub(crate) fn parse() -> (Commands, Output) {
    let given = join_negative(std::env::args_os());
    let matches = command().try_get_matches_from(&given).unwrap_or_else(|error| {
        // A file's name may hold what a terminal would act on: then the same message, about the name as it is printed.
        let harmless = given.iter().map(|argument| match argument.to_str() {
            Some(text) => OsString::from(&*printable::path(text)),
            None => argument.clone(),
        });
        brief(plain(command().try_get_matches_from(harmless).err().unwrap_or(error))).exit()
    });
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| brief(error).exit());
    let OutputArgs { json, quiet, verbose, force } = cli.output;
    (cli.command, Output { json, quiet, verbose, force, mute: false })
}

/// The same error, without what a terminal would act on and the middle of a value that would fill the screen.
fn brief(error: Error) -> Error {
    let text = error.render().to_string();
    let brief = printable::shortened(&printable::text(&text));
    match brief == text {
        true => error,
        false => Error::raw(error.kind(), brief.trim_start_matches("error: ")),
    }
}

/// The same error, with what was expected in the place of what the parsers of numbers say of it.
fn plain(error: Error) -> Error {
    if error.kind() != ErrorKind::ValueValidation {
        return error;
    }
    let text = error.render().to_string();
    let message = text.strip_prefix("error: ").unwrap_or(&text);
    let (first, rest) = message.split_once('\n').unwrap_or((message, ""));
    let Some((before, reason)) = first.rsplit_once(": ") else { return error };
    expected(reason).map_or(error, |expected| {
        let message = format!("{before}: expected {expected}\n{rest}");
        Error::raw(ErrorKind::ValueValidation, message)
    })
}

/// What is expected of a number that its parser refuses for this reason.
fn expected(reason: &str) -> Option<String> {
    Some(match reason {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "a whole number".to_owned()
        }
        "number too large to fit in target type" => "a smaller number".to_owned(),
        "invalid float literal" | "cannot parse float from empty string" => "a number".to_owned(),
        // As clap writes Rust's ranges: `0 is not in 1..=1024`.
        _ => {
            let (_, range) = reason.split_once(" is not in ")?;
            match range.split_once("..")? {
                (least, "18446744073709551615") => format!("a whole number from {least} on"),
                (least, most) => {
                    format!("a whole number from {least} to {}", most.trim_start_matches('='))
                }
            }
        }
    })
}

/// Writes a negative value after a flag as `--flag=-1e-3`. No flag is a number, so that what looks like one is a value, and it
/// is the flag that says why it cannot be it.
fn join_negative(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let is_negative = |text: &OsString| {
        let text = text.to_string_lossy();
        let number = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        text.strip_prefix('-').is_some_and(|rest| number(rest) || rest == "inf" || rest == "nan")
    };
    let is_flag = |text: &OsString| {
        let text = text.to_string_lossy();
        text.len() > 2 && text.starts_with("--") && !text.contains('=')
    };
    let mut joined: Vec<OsString> = Vec::new();
    // Behind `--` there are no flags.
    let mut ended = false;
    for argument in arguments {
        ended |= argument == "--";
        match joined.last_mut() {
            Some(flag) if !ended && is_flag(flag) && is_negative(&argument) => {
                flag.push("=");
                flag.push(argument);
            }
            Some(_) | None => joined.push(argument),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declaration_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn wrong_numbers_are_told_without_the_words_of_parsers() {
        for (line, expected) in [
            ("bench lenet -j 0", "expected a whole number from 1 to 1024"),
            ("bench lenet -j 1.5", "expected a whole number"),
            ("predict a.png --max-pixels 0", "expected a whole number from 1 on"),
            ("show lenet --classes 99999999999999999999", "expected a smaller number"),
            ("predict a.png --crop-pct 1e400", "expected a finite number"),
            ("predict a.png --mean 0.5,x,0.5", "expected a finite number"),
            ("train lenet --epochs=", "expected a whole number"),
        ] {
            let given = format!("top5 {line}");
            let error = command().try_get_matches_from(given.split(' ')).unwrap_err();
            let error = plain(error);
            let text = error.to_string();
            assert!(text.lines().next().unwrap().ends_with(expected), "{text}");
            assert!(text.contains("--help") && error.exit_code() == 2, "{text}");
        }
        let error = command().try_get_matches_from(["top5", "bench", "-b", "x"]).unwrap_err();
        assert_eq!(plain(error).to_string().matches("expected").count(), 1);
    }

    #[test]
    fn values_of_any_length_are_told_in_short() {
        let long = "x".repeat(100_000);
        for line in [
            "explain VALUE a b",
            "kernels VALUE",
            "completions VALUE",
            "predict a.png --interpolation VALUE",
        ] {
            let given = format!("top5 {line}").replace("VALUE", &long);
            let error = command().try_get_matches_from(given.split(' ')).unwrap_err();
            let text = brief(plain(error)).to_string();
            assert!(text.len() < 1500 && text.contains("--help"), "{} {line}: {text}", text.len());
            assert_eq!(text.matches("error:").count(), 1, "{text}");
        }
        let given = ["top5", "train", "lenet", "--set", &format!("\u{1b}[31m{long}")];
        let matches = command().try_get_matches_from(given).unwrap();
        let text = brief(Cli::from_arg_matches(&matches).unwrap_err()).to_string();
        assert!(text.len() < 500 && !text.contains('\u{1b}'), "{text}");
        let short = command().try_get_matches_from(["top5", "bench", "-b", "x"]).unwrap_err();
        let text = short.to_string();
        assert_eq!(brief(short).to_string(), text);
    }

    #[test]
    fn negative_values_belong_to_their_flag() {
        let line = "top5 train --lr -1e-3 -b -2 -- --set -1 --json -x --mean=0 -1,2";
        let joined = join_negative(line.split(' ').map(OsString::from));
        assert_eq!(
            joined,
            [
                "top5",
                "train",
                "--lr=-1e-3",
                "-b",
                "-2",
                "--",
                "--set",
                "-1",
                "--json",
                "-x",
                "--mean=0",
                "-1,2"
            ]
        );
    }
}
