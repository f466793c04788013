//! From the command line to the arguments: every flag has its variable of the environment, and may be followed by a negative
//! number.

use std::ffi::OsString;

use clap::{Command, CommandFactory, FromArgMatches};

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
        command().try_get_matches_from(harmless).err().unwrap_or(error).exit()
    });
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let OutputArgs { json, quiet, verbose, force } = cli.output;
    (cli.command, Output { json, quiet, verbose, force, mute: false })
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
