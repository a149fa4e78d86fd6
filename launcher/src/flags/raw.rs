//! Parsed arguments that nobody has made sense of yet.

use std::any::Any;
use std::fmt;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::flag::{Class, Flag, Kind, Program};
use super::table;
use crate::error::Error;

/// The arguments of one program, by the names of the table. The debug form lists them all, without secrets.
pub struct Raw {
    program: Program,
    matches: ArgMatches,
}

impl Raw {
    pub(super) fn new(program: Program, matches: ArgMatches) -> Self {
        Self { program, matches }
    }

    /// The program these arguments are for.
    pub fn program(&self) -> Program {
        self.program
    }

    /// The value of flag `name`, its default included.
    pub fn get<T: Any + Clone + Send + Sync>(&self, name: &str) -> Option<T> {
        self.matches.get_one::<T>(name).cloned()
    }

    /// The value of flag `name`, which the table gives a default or requires.
    ///
    /// # Errors
    /// The flag has no value.
    pub fn need<T: Any + Clone + Send + Sync>(&self, name: &str) -> Result<T, Error> {
        self.get(name).ok_or_else(|| Error::ArgumentValidation(format!("`{name}` must be set")))
    }

    /// True when the switch `name` is on.
    pub fn switch(&self, name: &str) -> bool {
        self.matches.get_flag(name)
    }

    /// The values of the repeatable flag `name`.
    pub fn texts(&self, name: &str) -> Vec<String> {
        self.matches.get_many::<String>(name).unwrap_or_default().cloned().collect()
    }

    /// True when the user asks for `flag`, on the command line or in the environment.
    fn asks(&self, flag: &Flag) -> bool {
        let source = self.matches.value_source(flag.name);
        let given = matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable));
        given && (flag.kind != Kind::Switch || self.switch(flag.name))
    }

    /// The flags the user asks for.
    fn asked(&self) -> impl Iterator<Item = &'static Flag> {
        table::of(self.program).filter(|flag| self.asks(flag))
    }

    /// Every value of `flag` as the user or the default wrote it.
    fn written(&self, flag: &Flag) -> Vec<String> {
        let values = self.matches.get_raw(flag.name).unwrap_or_default();
        values.map(|value| value.to_string_lossy().into_owned()).collect()
    }

    /// Refuses a zero for any of the counts `names`.
    ///
    /// # Errors
    /// Names the first that is zero.
    pub fn check_positive(&self, names: &[&str]) -> Result<(), Error> {
        match names.iter().find(|name| self.get(name) == Some(0_usize)) {
            Some(name) => Err(Error::ArgumentValidation(format!("`{}` must be > 0", name.replace('-', "_")))),
            None => Ok(()),
        }
    }

    /// Refuses flags that this version cannot give an effect.
    ///
    /// # Errors
    /// `NotYet` or `Refused` with the name of the first such flag.
    pub fn check_classes(&self) -> Result<(), Error> {
        for flag in self.asked() {
            let written = self.written(flag).join(",");
            match flag.class {
                Class::Refused(reason) => return Err(Error::Refused(reason.to_owned())),
                Class::NotYet { unless } if !unless.contains(&written.as_str()) => {
                    return Err(not_yet(flag, &written));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// One line for each flag that is accepted without effect, or that has a better name.
    pub fn notes(&self) -> Vec<String> {
        let note = |flag: &'static Flag| match flag.class {
            Class::Met(reason) => Some(format!("`--{}` has no effect: {reason}", flag.name)),
            Class::Deprecated(better) => Some(format!("`--{}` is deprecated: use `{better}`", flag.name)),
            _ => None,
        };
        self.asked().filter_map(note).collect()
    }

    /// The arguments to hand to a child that runs `program`: every used flag that both take, that has a value and is
    /// not in `except`. Secrets are left to the environment, where other users cannot read them.
    pub fn shared_with(&self, program: Program, except: &[&str]) -> Vec<String> {
        let shared = |flag: &&Flag| {
            let takes = table::find(program, flag.name).is_some_and(|theirs| !theirs.positional);
            takes && flag.class == Class::Used && !flag.secret && !except.contains(&flag.name)
        };
        table::of(self.program).filter(shared).flat_map(|flag| self.arguments(flag)).collect()
    }

    fn arguments(&self, flag: &Flag) -> Vec<String> {
        match flag.kind {
            Kind::Switch if self.switch(flag.name) => vec![format!("--{}", flag.name)],
            Kind::Switch => vec![],
            _ => self.written(flag).iter().map(|value| format!("--{}={value}", flag.name)).collect(),
        }
    }

    fn shown(&self, flag: &Flag) -> String {
        match (flag.kind, self.written(flag).as_slice()) {
            (Kind::Switch, _) => self.switch(flag.name).to_string(),
            (Kind::Texts | Kind::Usizes, values) => format!("[{}]", values.join(", ")),
            (_, []) => "None".to_owned(),
            (_, _) if flag.secret => "***".to_owned(),
            (Kind::Text | Kind::Choice(_), values) => format!("{:?}", values.concat()),
            (_, values) => values.concat(),
        }
    }
}

fn not_yet(flag: &Flag, written: &str) -> Error {
    let value = if flag.kind == Kind::Switch { String::new() } else { format!(" {written}") };
    Error::NotYet(format!("--{}{value} is not yet supported by this version", flag.name))
}

impl fmt::Debug for Raw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut arguments = formatter.debug_struct("Args");
        for flag in table::of(self.program) {
            arguments.field(&flag.name.replace('-', "_"), &format_args!("{}", self.shown(flag)));
        }
        arguments.finish()
    }
}
