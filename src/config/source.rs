//! Where settings come from: a TOML file and the environment, flattened to one map of dotted keys
//! (`volumes.0.path`), each value with the place it stands in.
//!
//! Not serde: that stops at the first mistake and does not know an environment variable from a
//! line of the file. Here every value is asked for by its key; what was never asked for is a key
//! that does not exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use toml::de::{DeTable, DeValue};

use super::{Mistake, Mistakes};

/// What variables of ours begin with.
const PREFIX: &str = "VEDETTE_";
/// Variables without a section: the key they stand for; none for those read elsewhere.
const SHORT: &[(&str, Option<&str>)] = &[
    ("VEDETTE_ADMIN_PASSWORD", Some("auth.admin_password")),
    ("VEDETTE_METRICS_TOKEN", Some("metrics.token")),
    ("VEDETTE_CONFIG", None),
    ("VEDETTE_SIMULATE_PASSWORD", None),
];
/// Sections of the file.
const SECTIONS: &[&str] =
    &["http", "rtsp", "database", "recording", "retention", "auth", "metrics", "log", "tls"];
/// Lists of tables.
const LISTS: &[&str] = &["volumes"];

/// A value as it was written.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A string of the file.
    Text(String),
    /// A whole number of the file.
    Integer(i64),
    /// Text of the environment, which may stand for anything.
    Loose(String),
    /// Anything else of the file: nothing that we know takes it.
    Other(&'static str),
}

struct Entry {
    value: Value,
    place: String,
}

/// Settings not yet asked for, and what was wrong so far.
pub(super) struct Source {
    entries: BTreeMap<String, Entry>,
    /// Every key asked for, to say what there is.
    known: BTreeSet<String>,
    /// Where each known key that was set stands.
    places: BTreeMap<String, String>,
    mistakes: Vec<Mistake>,
}

impl Source {
    pub(super) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            known: BTreeSet::new(),
            places: BTreeMap::new(),
            mistakes: Vec::new(),
        }
    }

    /// Takes in a file's text.
    pub(super) fn file(&mut self, name: &str, text: &str) {
        let place = |at: usize| {
            let before = text.as_bytes().get(..at).unwrap_or_default();
            format!("{name}:{}", before.iter().filter(|&&byte| byte == b'\n').count() + 1)
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            self.mistake(place(at), "TOML", error.message());
        }
        // What could be read of a broken file would only add mistakes that are none.
        if errors.is_empty() {
            for (name, value) in table.get_ref().iter() {
                let at = place(name.span().start);
                self.top(&part(name.get_ref()), value.get_ref(), at, &place);
            }
        }
    }

    fn top(
        &mut self,
        name: &str,
        value: &DeValue<'_>,
        at: String,
        place: &impl Fn(usize) -> String,
    ) {
        let list = LISTS.contains(&name);
        match value {
            DeValue::Table(table) if SECTIONS.contains(&name) => self.table(name, table, place),
            DeValue::Array(tables) if list && tables.iter().all(|t| t.get_ref().is_table()) => {
                for (index, table) in tables.iter().enumerate() {
                    if let DeValue::Table(table) = table.get_ref() {
                        self.table(&format!("{name}.{index}"), table, place);
                    }
                }
            }
            _ if list => self.mistake(at, name, format!("is a list of tables: write [[{name}]]")),
            _ if SECTIONS.contains(&name) => {
                self.mistake(at, name, format!("is a section: write [{name}]"));
            }
            _ => {
                let all = SECTIONS.iter().chain(LISTS).copied().collect::<Vec<_>>().join(", ");
                self.mistake(at, name, format!("there is no such section; there are: {all}"));
            }
        }
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>, place: &impl Fn(usize) -> String) {
        for (name, value) in table {
            let key = format!("{path}.{}", part(name.get_ref()));
            let value = match value.get_ref() {
                DeValue::String(text) => Value::Text(text.to_string()),
                DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix())
                    .map_or(Value::Other("a number out of range"), Value::Integer),
                other => Value::Other(other.type_str()),
            };
            self.entries.insert(key, Entry { value, place: place(name.span().start) });
        }
    }

    /// Takes in the environment, over what the file said. An empty variable is not set: that is
    /// what a compose file makes of one that its user left out.
    pub(super) fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let mut said_by = BTreeMap::new();
        let mut variables: Vec<_> = variables.into_iter().collect();
        variables.sort_unstable();
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            if text.is_empty() || is_service_link(rest) {
                continue;
            }
            let key = match SHORT.iter().find(|(short, _)| *short == name) {
                Some((_, None)) => continue,
                Some((_, Some(key))) => (*key).to_owned(),
                None => rest.to_ascii_lowercase().replace("__", "."),
            };
            if let Some(other) = said_by.insert(key.clone(), name.clone()) {
                self.mistake(name, &key, format!("is set by {other} too"));
                continue;
            }
            self.entries.insert(key, Entry { value: Value::Loose(text), place: name });
        }
    }

    /// How many tables a list has. They are numbered from 0 without a hole.
    pub(super) fn list(&mut self, name: &str) -> usize {
        let numbers: BTreeSet<usize> = self
            .entries
            .keys()
            .filter_map(|key| key.strip_prefix(name)?.strip_prefix('.')?.split('.').next())
            .filter_map(|number| number.parse().ok())
            .collect();
        (0..).take_while(|n| numbers.contains(n)).count()
    }

    /// The value of `key` as `parse` reads it; `None` when it is not set, or is a mistake (which
    /// is noted).
    pub(super) fn take<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        self.known.insert(key.to_owned());
        let Entry { value, place } = self.entries.remove(key)?;
        self.places.insert(key.to_owned(), place.clone());
        match parse(&value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.mistake(place, key, message);
                None
            }
        }
    }

    /// Notes that a key, alone or together with others, does not do.
    pub(super) fn refuse(&mut self, key: &str, message: impl fmt::Display) {
        let place = self.places.get(key).map_or("default", String::as_str).to_owned();
        self.mistake(place, key, message);
    }

    /// Whether a key that was taken had been set, rightly or not.
    pub(super) fn was_set(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Notes that a table lacks a key.
    pub(super) fn missing(&mut self, table: &str, key: &str) {
        let inside =
            |other: &&String| other.strip_prefix(table).is_some_and(|k| k.starts_with('.'));
        let beside = self.places.keys().chain(self.entries.keys()).find(inside);
        let place = beside.and_then(|other| {
            self.places.get(other).or_else(|| self.entries.get(other).map(|entry| &entry.place))
        });
        let place = place.map_or("default", String::as_str).to_owned();
        self.mistake(place, &format!("{table}.{key}"), "is missing");
    }

    /// Keys that exist and were not set.
    #[cfg(test)]
    pub(super) fn unset(&self) -> Vec<&str> {
        let set = |key: &&String| !self.places.contains_key(*key);
        self.known.iter().filter(set).map(String::as_str).collect()
    }

    fn mistake(&mut self, source: String, key: &str, message: impl fmt::Display) {
        self.mistakes.push(Mistake { source, key: key.to_owned(), message: message.to_string() });
    }

    /// What was set and never asked for is wrong too.
    pub(super) fn finish(mut self) -> Result<(), Mistakes> {
        for (key, entry) in std::mem::take(&mut self.entries) {
            let section = key.rsplit_once('.').map_or("", |(section, _)| section);
            let siblings: Vec<_> = self
                .known
                .iter()
                .filter_map(|known| known.strip_prefix(section)?.strip_prefix('.'))
                .filter(|name| !name.contains('.'))
                .collect();
            let message = if siblings.is_empty() || section.is_empty() {
                "there is no such setting".to_owned()
            } else {
                format!("there is no such setting; [{section}] has: {}", siblings.join(", "))
            };
            self.mistake(entry.place, &key, message);
        }
        if self.mistakes.is_empty() { Ok(()) } else { Err(Mistakes(self.mistakes)) }
    }
}

/// A part of a key; one with a dot in it must not pass for two.
fn part(name: &str) -> String {
    if name.contains('.') { format!("{name:?}") } else { name.to_owned() }
}

/// Kubernetes and Docker links put addresses of a service called `vedette` into the environment
/// of everything beside it: `VEDETTE_PORT=tcp://…`, `VEDETTE_SERVICE_HOST`, `VEDETTE_PORT_8080_TCP`.
fn is_service_link(rest: &str) -> bool {
    !rest.contains("__") && rest.split('_').any(|word| word == "PORT" || word == "SERVICE")
}
