//! What an option is: one row of the table from which flags, variables, file keys, help and the README are made.
//!
//! Names follow one scheme: the flag `--dial-timeout` is the variable `GATEWAY_DIAL_TIMEOUT` and the file's key
//! `dial_timeout`. Lists are written as several flags, as a TOML array, or anywhere with commas.

use std::fmt;

use super::kind::Kind;
use super::problem::{Origin, Problem};
use super::raw::Raw;

/// What every variable's name begins with.
pub const VARIABLE_PREFIX: &str = "GATEWAY_";

/// One option.
pub struct Setting {
    /// The flag's name, without its dashes.
    pub name: &'static str,
    /// The field of [`Raw`] that it sets.
    pub field: &'static dyn Field,
    /// One or two sentences for the operator.
    pub help: &'static str,
}

/// What one layer says about one option.
#[derive(Debug)]
pub struct Assignment {
    /// Which option.
    pub setting: &'static Setting,
    /// Its values, each with its own place: the items of an array may stand on several lines.
    pub values: Vec<Written>,
    /// Whether these are all of them. One that cannot even be taken as text has been complained about and is missing
    /// here: the others are checked, but not used.
    pub complete: bool,
}

/// One value as it was written. Its text may be a secret: `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Written {
    /// The text, not looked at yet.
    pub text: String,
    /// Where it stands.
    pub origin: Origin,
}

/// Access to one field of [`Raw`] by text, whatever its type.
pub trait Field: Sync {
    /// What stands for a value in help and README.
    fn placeholder(&self) -> &'static str;
    /// Whether the option takes a list.
    fn repeats(&self) -> bool;
    /// Replaces the field by what is written, and tells where each of its items stands. The field is unchanged if there
    /// are problems.
    fn write(&self, raw: &mut Raw, values: &[Written]) -> Result<Vec<Origin>, Vec<Problem>>;
    /// The field as text: no item for an option that is not set.
    fn show(&self, raw: &Raw) -> Vec<String>;
}

/// A field that always has exactly one value.
pub struct One<T: 'static> {
    /// Reads the field.
    pub get: fn(&Raw) -> &T,
    /// Changes the field.
    pub get_mut: fn(&mut Raw) -> &mut T,
    /// How it is written.
    pub kind: Kind<T>,
}

/// A field that may have no value.
pub struct Maybe<T: 'static> {
    /// Reads the field.
    pub get: fn(&Raw) -> &Option<T>,
    /// Changes the field.
    pub get_mut: fn(&mut Raw) -> &mut Option<T>,
    /// How its value is written.
    pub kind: Kind<T>,
}

/// A field that is a list.
pub struct Many<T: 'static> {
    /// Reads the field.
    pub get: fn(&Raw) -> &Vec<T>,
    /// Changes the field.
    pub get_mut: fn(&mut Raw) -> &mut Vec<T>,
    /// How one item is written.
    pub kind: Kind<T>,
}

impl Setting {
    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.key().to_ascii_uppercase())
    }

    /// The key in the configuration file.
    #[must_use]
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The default as text: empty if there is none.
    #[must_use]
    pub fn default_text(&self) -> String {
        self.field.show(&Raw::default()).join(",")
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl<T> Field for One<T> {
    fn placeholder(&self) -> &'static str {
        self.kind.placeholder
    }

    fn repeats(&self) -> bool {
        false
    }

    fn write(&self, raw: &mut Raw, values: &[Written]) -> Result<Vec<Origin>, Vec<Problem>> {
        let (value, origin) = parse_single(&self.kind, values)?;
        *(self.get_mut)(raw) = value;
        Ok(vec![origin])
    }

    fn show(&self, raw: &Raw) -> Vec<String> {
        vec![(self.kind.show)((self.get)(raw))]
    }
}

impl<T> Field for Maybe<T> {
    fn placeholder(&self) -> &'static str {
        self.kind.placeholder
    }

    fn repeats(&self) -> bool {
        false
    }

    fn write(&self, raw: &mut Raw, values: &[Written]) -> Result<Vec<Origin>, Vec<Problem>> {
        let (value, origin) = parse_single(&self.kind, values)?;
        *(self.get_mut)(raw) = Some(value);
        Ok(vec![origin])
    }

    fn show(&self, raw: &Raw) -> Vec<String> {
        (self.get)(raw).iter().map(self.kind.show).collect()
    }
}

impl<T> Field for Many<T> {
    fn placeholder(&self) -> &'static str {
        self.kind.placeholder
    }

    fn repeats(&self) -> bool {
        true
    }

    fn write(&self, raw: &mut Raw, values: &[Written]) -> Result<Vec<Origin>, Vec<Problem>> {
        let mut items = Vec::new();
        let mut origins = Vec::new();
        let mut problems = Vec::new();
        for Written { text, origin } in values {
            for item in text.split(',') {
                match (self.kind.parse)(item.trim()) {
                    Ok(item) => {
                        items.push(item);
                        origins.push(origin.clone());
                    }
                    Err(reason) => problems.push(Problem::BadValue { origin: origin.clone(), reason }),
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        *(self.get_mut)(raw) = items;
        Ok(origins)
    }

    fn show(&self, raw: &Raw) -> Vec<String> {
        (self.get)(raw).iter().map(self.kind.show).collect()
    }
}

fn parse_single<T>(kind: &Kind<T>, values: &[Written]) -> Result<(T, Origin), Vec<Problem>> {
    let bad = |origin: &Origin, reason: String| Problem::BadValue { origin: origin.clone(), reason };
    match values {
        // The only value was no text, and was complained about when that was found.
        [] => Err(Vec::new()),
        [only] => match (kind.parse)(&only.text) {
            Ok(value) => Ok((value, only.origin.clone())),
            Err(reason) => Err(vec![bad(&only.origin, reason)]),
        },
        [_, surplus @ ..] => {
            Err(surplus.iter().map(|written| bad(&written.origin, "expected a single value".to_owned())).collect())
        }
    }
}
