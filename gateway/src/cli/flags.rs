//! The option table as command-line flags.
//!
//! Values are taken as text and judged by the configuration, together with those of the other layers: clap would stop
//! at the first mistake, and could not say which layer the next one is in.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint, value_parser};

use crate::config::environment::CONFIG_VARIABLE;
use crate::config::option::{Assignment, Setting, Written};
use crate::config::options;
use crate::config::problem::Origin;
use crate::config::raw::Layers;

const CONFIG: &str = "config";

/// Every option as a flag.
#[derive(Debug)]
pub struct EveryFlag(Flags);

/// The options about the directory as flags.
#[derive(Debug)]
pub struct DirectoryFlags(Flags);

/// A command's one option out of the table, as a flag beside `--config`.
macro_rules! one_flag {
    ($flags:ident, $name:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug)]
        pub struct $flags(Flags);

        impl $flags {
            /// What the command line, and the environment of this process, say.
            #[must_use]
            pub fn layers(self) -> Layers {
                self.0.layers()
            }
        }

        impl Args for $flags {
            fn augment_args(command: Command) -> Command {
                command.arg(config_flag()).args(options::named($name).map(flag))
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $flags {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok(Self(taken(options::named($name).into_iter(), matches)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

one_flag!(StateFlags, "state-dir", "Where the packet engine keeps what outlives the process.");
one_flag!(AdminFlags, "admin", "Where a running gateway is asked.");

#[derive(Debug)]
struct Flags {
    file: Option<PathBuf>,
    assignments: Vec<Assignment>,
}

impl EveryFlag {
    /// What the command line, and the environment of this process, say.
    #[must_use]
    pub fn layers(self) -> Layers {
        self.0.layers()
    }
}

impl DirectoryFlags {
    /// What the command line, and the environment of this process, say.
    #[must_use]
    pub fn layers(self) -> Layers {
        self.0.layers()
    }
}

impl Flags {
    fn layers(self) -> Layers {
        Layers { flags: self.assignments, environment: std::env::vars_os().collect(), file: self.file }
    }
}

impl Args for EveryFlag {
    fn augment_args(command: Command) -> Command {
        let command = command.arg(config_flag());
        options::GROUPS
            .iter()
            .fold(command, |command, group| command.next_help_heading(group.title).args(group.options.iter().map(flag)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl Args for DirectoryFlags {
    fn augment_args(command: Command) -> Command {
        // Usable behind the noun and behind the verb: `routes --redis URL list` and `routes list --redis URL`.
        command.arg(config_flag().global(true)).args(redis_options().map(|setting| flag(setting).global(true)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for EveryFlag {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(taken(options::all(), matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl FromArgMatches for DirectoryFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(taken(redis_options(), matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The embedded directory cannot be read or changed from outside the process that has it.
fn redis_options() -> impl Iterator<Item = &'static Setting> {
    options::DIRECTORY.iter().filter(|setting| setting.name != "sandbox")
}

fn config_flag() -> Arg {
    Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::FilePath)
        .help(format!("TOML file with further options; flags and variables win over it [env: {CONFIG_VARIABLE}]"))
}

fn flag(setting: &'static Setting) -> Arg {
    let default = match setting.default_text() {
        default if default.is_empty() => String::new(),
        default => format!(" [default: {default}]"),
    };
    Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.field.placeholder())
        .action(if setting.field.repeats() { ArgAction::Append } else { ArgAction::Set })
        .help(format!("{} [env: {}]{default}", setting.help, setting.variable()))
}

fn taken(settings: impl Iterator<Item = &'static Setting>, matches: &ArgMatches) -> Flags {
    let assignment = |setting: &'static Setting| {
        let origin = Origin::Flag { name: setting.name };
        let texts = matches.get_many::<String>(setting.name)?;
        let values = texts.map(|text| Written { text: text.clone(), origin: origin.clone() }).collect();
        Some(Assignment { setting, values, complete: true })
    };
    Flags { file: matches.get_one(CONFIG).cloned(), assignments: settings.filter_map(assignment).collect() }
}
