//! The file layer: TOML with one flat key per option, the table `[sandboxes]`, and a table `[[route]]` per route.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};

use super::option::{Assignment, Setting, Written};
use super::options;
use super::problem::{Origin, Problem};
use super::route::RouteLines;
use super::suggest::nearest;

/// The table whose lines are `--sandbox` options: `37579 = "127.0.0.1:6080"`.
const SANDBOXES: &str = "sandboxes";

/// The tables of which each is a route.
const ROUTE: &str = "route";

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Of options.
    pub(super) assignments: Vec<Assignment>,
    /// Of routes, which no other layer has.
    pub(super) routes: Vec<RouteLines>,
}

/// Reads a file. What is right in it is returned even if the rest is not, so that the rest of the checks can go on.
#[must_use]
pub(super) fn read(path: &Path, problems: &mut Vec<Problem>) -> Lines {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text, problems),
        Err(source) => {
            problems.push(Problem::Unreadable { path: path.to_owned(), source });
            Lines::default()
        }
    }
}

/// Reads a file's text; `path` is what problems call it.
#[must_use]
pub(super) fn parse(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Lines {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut file = File { path, text, problems, assignments: Vec::new(), routes: Vec::new() };
    for error in errors {
        let line = file.line(error.span().map_or(0, |span| span.start));
        let reason = error.message().lines().collect::<Vec<_>>().join("; ");
        file.problems.push(Problem::Syntax { path: path.to_owned(), line, reason });
    }
    for (key, value) in in_order(table.get_ref()) {
        if key.get_ref() == SANDBOXES {
            file.sandboxes(key, value);
        } else if key.get_ref() == ROUTE {
            file.routes(key, value);
        } else {
            file.option(key, value);
        }
    }
    Lines { assignments: file.assignments, routes: file.routes }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
    assignments: Vec<Assignment>,
    routes: Vec<RouteLines>,
}

impl File<'_> {
    fn option(&mut self, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) {
        let name = key.get_ref();
        let origin = self.origin(key.span().start, name);
        let Some(setting) = options::all().find(|setting| setting.key() == **name) else {
            let suggestion =
                nearest(name, options::all().map(Setting::key).chain([SANDBOXES, ROUTE].map(str::to_owned)));
            self.problems.push(Problem::Unknown { origin, suggestion });
            return;
        };
        let values: Vec<_> = match value.get_ref() {
            DeValue::Array(items) if setting.field.repeats() => {
                items.iter().map(|item| self.written(name, item)).collect()
            }
            _ => vec![self.written(name, value)],
        };
        self.assign(setting, values);
    }

    fn sandboxes(&mut self, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) {
        let setting = options::named("sandbox").expect("the option table has --sandbox");
        let DeValue::Table(table) = value.get_ref() else {
            let origin = self.origin(key.span().start, SANDBOXES);
            self.problems.push(Problem::BadValue { origin, reason: "expected a table".to_owned() });
            return;
        };
        let mut values = Vec::new();
        for (id, address) in in_order(table) {
            let name = format!("{SANDBOXES}.{}", id.get_ref());
            let written = self.written(&name, address);
            values.push(
                written.map(|Written { text, origin }| Written { text: format!("{}={text}", id.get_ref()), origin }),
            );
        }
        self.assign(setting, values);
    }

    fn routes(&mut self, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) {
        let DeValue::Array(items) = value.get_ref() else {
            let origin = self.origin(key.span().start, ROUTE);
            self.problems.push(Problem::BadValue { origin, reason: "expected tables [[route]]".to_owned() });
            return;
        };
        for item in items {
            let origin = self.origin(item.span().start, ROUTE);
            let DeValue::Table(table) = item.get_ref() else {
                self.problems.push(Problem::BadValue { origin, reason: "expected a table".to_owned() });
                continue;
            };
            let mut lines = Vec::new();
            for (key, value) in in_order(table) {
                let name = key.get_ref().to_string();
                lines.extend(self.written(&format!("{ROUTE}.{name}"), value).map(|written| (name, written)));
            }
            self.routes.push(RouteLines { origin, lines });
        }
    }

    /// A file may say `sandbox = [...]` and `[sandboxes]`: the two make one list.
    fn assign(&mut self, setting: &'static Setting, values: Vec<Option<Written>>) {
        let complete = values.iter().all(Option::is_some);
        let values = values.into_iter().flatten();
        match self.assignments.iter_mut().find(|assignment| assignment.setting.name == setting.name) {
            Some(assignment) => {
                assignment.values.extend(values);
                assignment.complete &= complete;
            }
            None => self.assignments.push(Assignment { setting, values: values.collect(), complete }),
        }
    }

    fn written(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Written> {
        let origin = self.origin(value.span().start, key);
        let text = match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(integer) => decimal(integer),
            DeValue::Boolean(switch) => Some(switch.to_string()),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
        };
        match text {
            Some(text) => Some(Written { text, origin }),
            None => {
                let found = value.get_ref().type_str();
                let reason = format!("expected a text, a whole number or a boolean, not {found}");
                self.problems.push(Problem::BadValue { origin, reason });
                None
            }
        }
    }

    fn origin(&self, offset: usize, key: &str) -> Origin {
        Origin::File { path: self.path.to_owned(), line: self.line(offset), key: key.to_owned() }
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|b| *b == b'\n').count()
    }
}

/// A table's lines as they stand in the file; the parser sorts them by key.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>)> {
    let mut lines: Vec<_> = table.iter().collect();
    lines.sort_by_key(|(key, _)| key.span().start);
    lines
}

/// TOML also writes whole numbers in hexadecimal, octal and binary; options are read as decimal text.
fn decimal(integer: &DeInteger<'_>) -> Option<String> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(file: &str) -> (Vec<String>, Vec<String>) {
        let mut problems = Vec::new();
        let Lines { assignments, routes } = parse(Path::new("f"), file, &mut problems);
        assert!(routes.is_empty());
        let values = |assignment: &Assignment| {
            let name = assignment.setting.name;
            assignment.values.iter().map(|value| format!("{} {name}={}", value.origin, value.text)).collect::<Vec<_>>()
        };
        (assignments.iter().flat_map(values).collect(), problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn every_value_has_its_own_line() {
        let (values, problems) =
            texts("workers = 0x10\n\nlisten = [\n  \"a\", # one\n  \"b\",\n]\npath_strip = true\n");
        assert_eq!(
            values,
            [
                "f:1: workers workers=16",
                "f:4: listen listen=a",
                "f:5: listen listen=b",
                "f:7: path_strip path-strip=true"
            ]
        );
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn the_table_and_the_list_of_sandboxes_are_one_list() {
        let (values, problems) = texts("sandbox = \"1=a\"\n[sandboxes]\n2 = \"b\"\n\"c.d\" = \"e\"\n");
        let expected = ["f:1: sandbox sandbox=1=a", "f:3: sandboxes.2 sandbox=2=b", "f:4: sandboxes.c.d sandbox=c.d=e"];
        assert_eq!(values, expected);
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[test]
    fn what_is_no_option_says_so() {
        let file = "sandboxes = 1\nredis = { url = \"x\" }\nredis-hash = \"x\"\nworkers = [1, 2]\n[http]\nx = 1\n";
        let (_, problems) = texts(file);
        let expected = [
            "f:1: sandboxes: expected a table",
            "f:2: redis: expected a text, a whole number or a boolean, not table",
            "f:3: redis-hash: unknown option; did you mean 'redis_hash'?",
            "f:4: workers: expected a text, a whole number or a boolean, not array",
            "f:5: http: unknown option",
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn a_broken_line_does_not_hide_the_others() {
        let (values, problems) = texts("admin = \nworkers = 2\nlog = \"x\nadmin = \"twice\"\n");
        assert!(values.iter().any(|value| value.ends_with("workers=2")), "{values:?}");
        assert!(
            problems[0].starts_with("f:1: ") && problems.iter().any(|problem| problem.starts_with("f:3: ")),
            "{problems:?}"
        );
    }

    #[test]
    fn each_table_of_a_route_is_one() {
        let mut problems = Vec::new();
        let text = "workers = 1\n[[route]]\npath = \"/a/{id}\"\n\n[[route]]\nmode = \"stream\"\nkeepalive = 1.5\n";
        let Lines { assignments, routes } = parse(Path::new("f"), text, &mut problems);
        assert_eq!(assignments.len(), 1);
        let lines: Vec<_> = routes
            .iter()
            .flat_map(|route| &route.lines)
            .map(|(key, written)| format!("{} {key}={}", written.origin, written.text))
            .collect();
        assert_eq!(lines, ["f:3: route.path path=/a/{id}", "f:6: route.mode mode=stream"]);
        assert_eq!(routes[1].origin.to_string(), "f:5: route");
        assert_eq!(problems.len(), 1, "{problems:?}");
        let mut problems = Vec::new();
        assert!(parse(Path::new("f"), "route = [1]\n", &mut problems).routes.is_empty());
        assert_eq!(problems[0].to_string(), "f:1: route: expected a table");
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(text in "([a-z_]{1,9}|workers|\\[sandboxes\\]|[=\\[\\]{}\"'#., \n0-9]|\\PC){0,20}") {
            let _texts = texts(&text);
        }
    }
}
