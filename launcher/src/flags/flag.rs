//! What a flag is: one row of the table.

/// The programs that take flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `gristmill serve`, `text-generation-launcher`.
    Serve,
    /// `gristmill router`, `text-generation-router`.
    Router,
    /// `gristmill shard`, `text-generation-server serve`.
    Shard,
    /// `gristmill download`, `text-generation-server download-weights`.
    Download,
}

/// The values a flag takes, and with that how it is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Present or absent; in the environment exactly `true` or `false`.
    Switch,
    /// A value, `true` or `false`.
    Bool,
    /// Any text.
    Text,
    /// Any text; the flag may be repeated.
    Texts,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A TCP port.
    U16,
    /// A count that the wire carries in 32 bits.
    U32,
    /// A count of seconds or bytes.
    U64,
    /// A count.
    Usize,
    /// Counts separated by commas.
    Usizes,
    /// A finite number.
    F32,
}

/// What this version does with a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The flag has its effect.
    Used,
    /// The purpose holds without it: accepted, and one log line gives this reason.
    Met(&'static str),
    /// Used, and one log line names this better flag.
    Deprecated(&'static str),
    /// Its effect would be missing: an error that gives this reason.
    Refused(&'static str),
    /// A later version brings it: any value but these is an error.
    NotYet {
        /// The values that ask for nothing.
        unless: &'static [&'static str],
    },
}

/// One flag of one or more programs.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// The long name, without the dashes.
    pub name: &'static str,
    /// The programs that take it.
    pub programs: &'static [Program],
    /// What it takes.
    pub kind: Kind,
    /// One sentence for `--help`.
    pub doc: &'static str,
    /// The one-letter name.
    pub short: Option<char>,
    /// The value when neither the command line nor the environment gives one.
    pub default: Option<&'static str>,
    /// What this version does with it.
    pub class: Class,
    /// Given by place, not by name.
    pub positional: bool,
    /// The value is shown in no log and no help text.
    pub secret: bool,
    environment: bool,
}

impl Flag {
    /// A used flag without default and one-letter name.
    pub(super) const fn new(
        name: &'static str,
        kind: Kind,
        programs: &'static [Program],
        doc: &'static str,
    ) -> Self {
        let (short, default, class) = (None, None, Class::Used);
        Self {
            name,
            programs,
            kind,
            doc,
            short,
            default,
            class,
            positional: false,
            secret: false,
            environment: true,
        }
    }

    pub(super) const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    pub(super) const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    pub(super) const fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    pub(super) const fn positional(mut self) -> Self {
        self.positional = true;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    pub(super) const fn without_environment(mut self) -> Self {
        self.environment = false;
        self
    }

    /// True when `program` takes this flag.
    pub fn is_of(&self, program: Program) -> bool {
        self.programs.contains(&program)
    }

    /// The environment variable of this flag: its name in SCREAMING_SNAKE_CASE. As in TGI only the launcher and
    /// the router have them.
    pub fn variable(&self, program: Program) -> Option<String> {
        let reads = self.environment && matches!(program, Program::Serve | Program::Router);
        reads.then(|| self.name.replace('-', "_").to_uppercase())
    }
}
