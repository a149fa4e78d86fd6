//! The command lines, made from the table.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::flag::{Flag, Kind, Program};
use super::raw::Raw;
use super::table;

/// What a command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Run a program with these arguments.
    Run(Raw),
    /// A subcommand of TGI that a later version brings.
    NotYet(&'static str),
}

/// A subcommand: its name, and its program when this version has it.
type Verb = (&'static str, Option<Program>);

const GRISTMILL: &[Verb] = &[
    ("serve", Some(Program::Serve)),
    ("router", Some(Program::Router)),
    ("shard", Some(Program::Shard)),
    ("download", Some(Program::Download)),
];
const SERVER: &[Verb] =
    &[("serve", Some(Program::Shard)), ("download-weights", Some(Program::Download)), ("quantize", None)];
const PRINT_SCHEMA: &str = "print-schema";

/// Reads a command line. Its first word is the name of the program: TGI's three names select TGI's programs, any
/// other name the subcommands of `gristmill`.
///
/// # Errors
/// `--help`, `--version` and whatever does not parse.
pub fn parse(line: &[OsString]) -> Result<Invocation, clap::Error> {
    let name = line.first().map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str);
    match name {
        Some("text-generation-launcher") => one("text-generation-launcher", Program::Serve, line),
        Some("text-generation-router") => one("text-generation-router", Program::Router, line),
        Some("text-generation-server") => several("text-generation-server", SERVER, line),
        _ => several("gristmill", GRISTMILL, line),
    }
}

fn one(name: &'static str, program: Program, line: &[OsString]) -> Result<Invocation, clap::Error> {
    let command = command(name, program).version(env!("CARGO_PKG_VERSION"));
    Ok(invocation(program, command.try_get_matches_from(line)?))
}

fn several(name: &'static str, verbs: &'static [Verb], line: &[OsString]) -> Result<Invocation, clap::Error> {
    let command = Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .about("Serves large language models with the interfaces of Text Generation Inference")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(verbs.iter().map(|&verb| subcommand(verb)));
    let chosen = command.try_get_matches_from(line)?.remove_subcommand();
    let verb = chosen.as_ref().and_then(|(chosen, _)| verbs.iter().find(|(name, _)| name == chosen));
    Ok(match (verb, chosen) {
        (Some(&(_, Some(program))), Some((_, matches))) => invocation(program, matches),
        (verb, _) => Invocation::NotYet(verb.map_or(name, |(name, _)| name)),
    })
}

fn invocation(program: Program, matches: ArgMatches) -> Invocation {
    match matches.subcommand_name() {
        Some(_) => Invocation::NotYet(PRINT_SCHEMA),
        None => Invocation::Run(Raw::new(program, matches)),
    }
}

fn subcommand((name, program): Verb) -> Command {
    match program {
        Some(program) => command(name, program),
        None => Command::new(name)
            .about("Not yet supported by this version")
            .disable_help_flag(true)
            .arg(Arg::new("arguments").num_args(0..).allow_hyphen_values(true).trailing_var_arg(true)),
    }
}

fn command(name: &'static str, program: Program) -> Command {
    let about = match program {
        Program::Serve => {
            "Starts a model server: fetches the model, starts the shard and the router, watches them"
        }
        Program::Router => "Answers HTTP requests and schedules them on the shards",
        Program::Shard => "Runs the model and answers generate.v3 on a Unix socket",
        Program::Download => "Fetches a model into the hub cache",
    };
    let command = Command::new(name).about(about).args(table::of(program).map(|flag| arg(flag, program)));
    match program {
        Program::Router => {
            command.subcommand(Command::new(PRINT_SCHEMA).about("Not yet supported by this version"))
        }
        _ => command,
    }
}

fn arg(flag: &'static Flag, program: Program) -> Arg {
    let value_name = flag.name.replace('-', "_").to_uppercase();
    let arg = Arg::new(flag.name).help(flag.doc).value_name(value_name).hide_env_values(flag.secret);
    let arg = if flag.positional { arg.required(true) } else { arg.long(flag.name) };
    let arg = match flag.short {
        Some(letter) => arg.short(letter),
        None => arg,
    };
    let arg = match flag.variable(program) {
        Some(variable) => arg.env(variable),
        None => arg,
    };
    let arg = match flag.default {
        Some(value) => arg.default_value(value),
        None => arg,
    };
    typed(arg, flag.kind)
}

fn typed(arg: Arg, kind: Kind) -> Arg {
    match kind {
        Kind::Switch => arg.action(ArgAction::SetTrue),
        Kind::Bool => arg.value_parser(value_parser!(bool)),
        Kind::Text => arg.value_parser(value_parser!(String)),
        Kind::Texts => arg.value_parser(value_parser!(String)).action(ArgAction::Append),
        Kind::Choice(words) => arg.value_parser(PossibleValuesParser::new(words)).ignore_case(true),
        Kind::U16 => arg.value_parser(value_parser!(u16)),
        Kind::U32 => arg.value_parser(value_parser!(u32)),
        Kind::U64 => arg.value_parser(value_parser!(u64)),
        Kind::Usize => arg.value_parser(value_parser!(usize)),
        Kind::Usizes => arg.value_parser(value_parser!(usize)).value_delimiter(','),
        Kind::F32 => arg.value_parser(finite).allow_negative_numbers(true),
    }
}

fn finite(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(number) if number.is_finite() => Ok(number),
        Ok(_) => Err("not a finite number".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_sound() {
        for program in [Program::Serve, Program::Router, Program::Shard, Program::Download] {
            command("program", program).debug_assert();
        }
    }

    #[test]
    fn variables_are_the_names_in_screaming_snake_case() {
        let variable = |program, name| table::find(program, name).and_then(|flag| flag.variable(program));
        assert_eq!(variable(Program::Serve, "max-input-tokens").as_deref(), Some("MAX_INPUT_TOKENS"));
        assert_eq!(
            variable(Program::Router, "master-shard-uds-path").as_deref(),
            Some("MASTER_SHARD_UDS_PATH")
        );
        assert_eq!(variable(Program::Serve, "env"), None);
        assert_eq!(variable(Program::Shard, "max-input-tokens"), None);
    }
}
