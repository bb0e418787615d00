//! What four layers make of each other, and what an operator is told when they do not fit.

use std::io::{self, Write};

use proptest::collection::btree_set;
use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, TestRunner};
use tempfile::NamedTempFile;

use super::*;
use crate::config::DirectoryConfig;
use crate::config::option::Written;
use crate::config::peer::HostPort;

#[test]
fn nothing_written_is_the_default() {
    let draft = read(Layers::default()).unwrap();
    assert_eq!(draft.raw, Raw::default());
    assert_eq!(draft.origins.first("admin"), Origin::Default { name: "admin" });
    let config = draft.resolve(&no_lookup).unwrap();
    assert_eq!(config, Config::default());
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let file = file("workers = 1\nadmin = \"127.0.0.1:1\"\ndial_attempts = 1\n");
    let layers = Layers {
        flags: flags(&[("workers", "3")]),
        environment: variables(&[("GATEWAY_WORKERS", "2"), ("GATEWAY_ADMIN", "127.0.0.1:2")]),
        file: Some(file.path().to_owned()),
    };
    let Draft { raw, origins, .. } = read(layers).unwrap();
    assert_eq!(raw.workers, NonZeroUsize::new(3));
    assert_eq!(origins.first("workers"), Origin::Flag { name: "workers" });
    assert_eq!(raw.admin, "127.0.0.1:2".parse().unwrap());
    assert_eq!(origins.first("admin"), Origin::Variable { name: "GATEWAY_ADMIN".into() });
    assert_eq!(raw.upstream.dial.attempts, 1);
    let line = Origin::File { path: file.path().to_owned(), line: 3, key: "dial_attempts".into() };
    assert_eq!(origins.first("dial-attempts"), line);
    assert_eq!(raw.upstream.dial.backoff, Raw::default().upstream.dial.backoff);
}

#[test]
fn a_list_replaces_the_list_of_a_lower_layer() {
    let file = file("listen = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n");
    let path = || Some(file.path().to_owned());
    let listen = |layers| read(layers).unwrap().raw.listen;
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
    assert_eq!(listen(Layers { file: path(), ..Layers::default() }), addresses(&["127.0.0.1:1", "127.0.0.1:2"]));
    let environment = variables(&[("GATEWAY_LISTEN", "127.0.0.1:3, [::1]:4")]);
    assert_eq!(
        listen(Layers { environment, file: path(), ..Layers::default() }),
        addresses(&["127.0.0.1:3", "[::1]:4"])
    );
    let flags = flags(&[("listen", "127.0.0.1:5")]);
    assert_eq!(listen(Layers { flags, file: path(), ..Layers::default() }), addresses(&["127.0.0.1:5"]));
}

#[test]
fn every_mistake_of_every_layer_is_reported_at_once_with_its_place() {
    let file = file(
        "# A comment, so that lines do not begin with the first key.\n\
         listen = 8080\n\
         lisen = \"0.0.0.0:80\"\n\
         workers = 4\n\
         [sandboxes]\n\
         37579 = \"127.0.0.1\"\n\
         2 = 1.5\n",
    );
    let layers = Layers {
        flags: flags(&[("drain-timeout", "30"), ("workers", "many")]),
        environment: variables(&[("GATEWAY_WORKERS", "none"), ("GATEWAY_LOGLEVEL", "debug")]),
        file: Some(file.path().to_owned()),
    };
    let path = file.path().display();
    let expected = [
        format!("{path}:2: listen: expected IP:PORT such as 0.0.0.0:8080 or [::1]:8080, not '8080'"),
        format!("{path}:3: lisen: unknown option; did you mean 'listen'?"),
        format!(
            "{path}:6: sandboxes.37579: \
             expected HOST:PORT such as 127.0.0.1:6080, [::1]:6080 or pod:6080, not '127.0.0.1'"
        ),
        format!("{path}:7: sandboxes.2: expected a text, a whole number or a boolean, not float"),
        "GATEWAY_LOGLEVEL: unknown option; did you mean 'GATEWAY_LOG_LEVEL'?".to_owned(),
        "GATEWAY_WORKERS: expected 'auto' or a number from 1 to 1024, not 'none'".to_owned(),
        "--drain-timeout: expected a duration such as 500ms, 10s, 5m, 1h or 0, not '30'".to_owned(),
        "--workers: expected 'auto' or a number from 1 to 1024, not 'many'".to_owned(),
    ];
    assert_eq!(read(layers).unwrap_err().to_string().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_route_is_read_behind_all_layers_and_printed_as_it_is_written() {
    let text =
        "source = [\"broker\"]\nbroker_keepalive = \"9s\"\n[[route]]\npath = \"/x/{id}\"\nredial_wait = \"1s\"\n";
    let written = file(text);
    let layers = || Layers {
        flags: flags(&[("broker-keepalive", "8s")]),
        file: Some(written.path().to_owned()),
        ..Layers::default()
    };
    let draft = read(layers()).unwrap();
    let [route] = &*draft.raw.routing.routes else { panic!("one route") };
    assert_eq!(route.numbers.keepalive, Duration::from_secs(8));
    assert_eq!(
        (route.numbers.redial_wait, draft.raw.broker.redial_wait),
        (Duration::from_secs(1), Duration::from_millis(250))
    );
    let printed = file(&draft.to_toml());
    let again = read(Layers { file: Some(printed.path().to_owned()), ..Layers::default() }).unwrap();
    assert_eq!(again.raw.routing.routes, draft.raw.routing.routes);

    let layers = Layers { flags: flags(&[("source", "path")]), ..layers() };
    let problems = read(layers).unwrap_err().to_string();
    assert!(
        problems.ends_with("3: route: conflicts with --source: routes need the source 'broker', which is not on"),
        "{problems}"
    );
}

#[test]
fn a_file_that_is_no_toml_is_reported_beside_the_rest() {
    let file = file("workers = 1\nadmin = \nlisten = \"nowhere\"\n");
    let layers = Layers {
        flags: flags(&[("log", "loud")]),
        environment: variables(&[("GATEWAY_CONFIG", file.path().to_str().unwrap())]),
        file: None,
    };
    let problems = read(layers).unwrap_err().to_string();
    let path = file.path().display();
    assert!(problems.contains(&format!("{path}:2: ")), "{problems}");
    assert!(problems.contains("--log: expected one of auto, human, json, not 'loud'"), "{problems}");
}

#[test]
fn a_missing_file_is_reported_and_the_flag_names_the_file_before_the_variable() {
    let layers = Layers {
        environment: variables(&[("GATEWAY_CONFIG", "/nowhere/variable.toml")]),
        file: Some("/nowhere/flag.toml".into()),
        ..Layers::default()
    };
    let problems = read(layers).unwrap_err().to_string();
    assert!(problems.starts_with("/nowhere/flag.toml: "), "{problems}");
}

#[test]
fn values_that_exclude_each_other_are_refused() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("sandbox", "1=127.0.0.1:1"), ("redis", "redis://127.0.0.1")],
            "--sandbox: conflicts with --redis: the directory is either this table or Redis",
        ),
        (&[("sandbox", "1=127.0.0.1:1,1=127.0.0.1:2")], "--sandbox: sandbox '1' was given before, at --sandbox"),
        (&[("listen", "127.0.0.1:1,127.0.0.1:1")], "--listen: 127.0.0.1:1 was given before"),
        (
            &[("listen", "127.0.0.1:9090")],
            "--listen: conflicts with default of --admin: clients and the admin service need an address each",
        ),
        (
            &[("head-bytes-max", "4KiB")],
            "--head-bytes-max: conflicts with default of --request-line-bytes-max: the head includes the request line",
        ),
    ];
    for (written, problem) in cases {
        let layers = Layers { flags: flags(written), ..Layers::default() };
        assert_eq!(read(layers).unwrap_err().to_string(), *problem, "{written:?}");
    }
}

#[test]
fn a_conflict_is_seen_across_layers() {
    let file = file("[sandboxes]\n37579 = \"127.0.0.1:6080\"\n");
    let environment = variables(&[("GATEWAY_REDIS", "redis://:secret@127.0.0.1")]);
    let layers = Layers { environment, file: Some(file.path().to_owned()), ..Layers::default() };
    let path = file.path().display();
    let problem = "conflicts with GATEWAY_REDIS: the directory is either this table or Redis";
    assert_eq!(read(layers).unwrap_err().to_string(), format!("{path}:2: sandboxes.37579: {problem}"));
}

#[test]
fn lists_that_must_not_be_empty_are_not() {
    let file = file("listen = []\nsource = []\ntrusted_proxy = []\n");
    let problems = read(Layers { file: Some(file.path().to_owned()), ..Layers::default() }).unwrap_err().to_string();
    assert_eq!(problems.lines().count(), 2, "{problems}");
    assert!(problems.contains("listen: expected an address") && problems.contains("source: expected a source"));
}

#[test]
fn host_names_are_looked_up_once_and_all_that_have_no_address_are_reported() {
    let lookup = |address: &HostPort| match &*address.host {
        "pod" => {
            Ok(vec![SocketAddr::from(([10, 0, 0, 1], address.port)), SocketAddr::from(([10, 0, 0, 2], address.port))])
        }
        "empty" => Ok(Vec::new()),
        _ => Err(io::Error::other("no such name")),
    };
    let draft = |sandboxes| read(Layers { flags: flags(&[("sandbox", sandboxes)]), ..Layers::default() }).unwrap();
    let DirectoryConfig::Embedded(table) = draft("1=pod:80").resolve(&lookup).unwrap().directory else {
        panic!("no Redis was named");
    };
    assert_eq!(table.into_iter().collect::<Vec<_>>(), [("1".parse().unwrap(), "10.0.0.1:80".parse().unwrap())]);
    let problems = draft("1=pod:80,2=gone:80,3=empty:80").resolve(&lookup).unwrap_err().to_string();
    let expected =
        "--sandbox: no address for host 'gone': no such name\n--sandbox: no address for host 'empty': it has none";
    assert_eq!(problems, expected);
}

#[test]
fn a_redis_password_is_used_but_never_shown() {
    let layers = || Layers { flags: flags(&[("redis", "redis://user:hush@127.0.0.1:6379/1")]), ..Layers::default() };
    let draft = read(layers()).unwrap();
    let shown = [draft.to_toml(), format!("{draft:?}"), format!("{:?}", layers())];
    assert!(draft.to_toml().contains("redis://***@127.0.0.1:6379/1"), "{}", draft.to_toml());
    let config = draft.resolve(&no_lookup).unwrap();
    assert!(!format!("{config:?}").contains("hush") && shown.iter().all(|text| !text.contains("hush")), "{shown:?}");
    let DirectoryConfig::Redis(redis) = config.directory else { panic!("Redis was named") };
    assert_eq!(redis.url, "redis://user:hush@127.0.0.1:6379/1");
    assert_eq!(redis, RedisConfig { url: redis.url.clone(), ..RedisConfig::at("") });
}

#[test]
fn the_printed_configuration_is_a_file_that_says_the_same() {
    let written =
        &[("listen", "127.0.0.1:1"), ("sandbox", "a.b=pod:80,2=[::1]:1"), ("redis-hash", "0123"), ("workers", "2")];
    let draft = read(Layers { flags: flags(written), ..Layers::default() }).unwrap();
    let file = file(&draft.to_toml());
    let again = read(Layers { file: Some(file.path().to_owned()), ..Layers::default() }).unwrap();
    assert_eq!(again.raw, draft.raw);
}

#[test]
fn every_option_round_trips_through_every_layer() {
    for setting in options::all() {
        let mut runner =
            TestRunner::new(RunnerConfig { cases: 32, failure_persistence: None, ..RunnerConfig::default() });
        let texts = btree_set(text_of(setting), 1..=if setting.field.repeats() { 2 } else { 1 });
        let outcome = runner.run(&texts, |texts| {
            let texts: Vec<_> = texts.into_iter().collect();
            let by_flags = read_raw(by_flags(setting, &texts))?;
            prop_assert_eq!(&by_flags, &read_raw(by_variable(setting, &texts))?);
            prop_assert_eq!(&by_flags, &read_raw_file(setting, &texts)?);
            prop_assert_eq!(&by_flags, &read_raw(by_flags_of(setting, &by_flags))?);
            Ok(())
        });
        assert!(outcome.is_ok(), "--{}: {}", setting.name, outcome.unwrap_err());
    }
}

/// Texts that the option takes beside the defaults of all others.
fn text_of(setting: &Setting) -> BoxedStrategy<String> {
    let address =
        || prop_oneof!["127\\.[0-9]\\.[1-9]\\.[0-9]:[1-9][0-9]{3}", "\\[fd00::[1-9a-f]{1,4}\\]:[1-9][0-9]{2}"];
    match setting.field.placeholder() {
        "IP:PORT" => address().boxed(),
        "CIDR" => "10\\.[1-9]\\.0\\.0/(16|24)|fd0[0-9]::/16|192\\.168\\.1\\.[1-9]".boxed(),
        "DURATION" => "[1-9][0-9]{0,2}s|[1-9][0-9]?m|[1-8]h".boxed(),
        "BYTES" => prop_oneof![(8192..=16384_u32).prop_map(|bytes| bytes.to_string()), "(8|9|16)KiB"].boxed(),
        "N" => "[1-9]".boxed(),
        "N|auto" => "[1-9][0-9]{0,2}|auto".boxed(),
        "ID=HOST:PORT" => ("[a-z0-9][a-z0-9._-]{10}", prop_oneof![address(), "[a-z][a-z0-9.-]{0,9}[a-z]:[1-9]{1,4}"])
            .prop_map(|(id, address)| format!("{id}={address}"))
            .prop_filter("labels are not empty", |text| !text.contains(".."))
            .boxed(),
        "URL" => "rediss?://[a-z]{1,9}:[1-9][0-9]{3}(/[0-9])?|unix:///[a-z]{1,9}".boxed(),
        // A list of files is written with commas between them.
        "FILE" if setting.field.repeats() => "[a-z/.]{1,20}".boxed(),
        // Whatever it is, this is what is shown.
        "TOKEN" => Just("***".to_owned()).boxed(),
        "HTTP-URL" => "http://[a-z]{1,9}(:[1-9][0-9]{1,3})?/[a-z]{0,9}/\\{id\\}".boxed(),
        "TEXT" | "FILE" => "\\PC{1,20}".boxed(),
        "DIRECTORY" => "/[a-z/]{1,20}".boxed(),
        "PORT-PORT" => "[1-5][0-9]{3}-6[0-4][0-9]{3}".boxed(),
        "INTERFACE" => "[a-z]{1,9}[0-9]{0,2}".boxed(),
        "NAME" => "[!-~&&[^\"(),/:;<=>?@\\[\\]\\\\{}]]{1,20}".boxed(),
        "PATH" => "(/[A-Za-z0-9_~-]{1,9}){1,3}/".boxed(),
        "PATH-PATTERN" => "/[a-z]{1,5}/\\{id\\}(/\\{[a-z]{3,5}\\}|/\\{a\\|b\\})?".boxed(),
        "FILTER" => "(info|debug|error)(,[a-z]{1,9}=(off|trace))?".boxed(),
        // The header source wants a word about tokens, too.
        "SOURCE" => "path|cookie|host|agent|prefix|broker".boxed(),
        "PATTERN" => "[a-z]{0,3}(\\{port\\}-\\{sandbox\\}|\\{sandbox\\}-p\\{port\\})[0-9]{0,2}".boxed(),
        "ORIGIN" => "https?://[a-z][a-z0-9-]{0,9}(\\.[a-z]{1,9}){0,2}(:[1-9][0-9]{3})?".boxed(),
        "DOMAIN" => "[a-z][a-z0-9-]{0,9}(\\.[a-z]{1,9}){0,2}".boxed(),
        "ID" => "([a-c]{1,9}/)?[a-z0-9][a-z0-9._-]{0,9}".boxed(),
        "endpoint|pass|mask:TEXT" => "endpoint|pass|mask:[a-z.]{1,9}".boxed(),
        // A choice names its values.
        choices => proptest::sample::select(choices.split('|').map(str::to_owned).collect::<Vec<_>>()).boxed(),
    }
}

fn by_flags(setting: &'static Setting, texts: &[String]) -> Layers {
    let flags = flags(&texts.iter().map(|text| (setting.name, &**text)).collect::<Vec<_>>());
    Layers { flags, ..Layers::default() }
}

fn by_flags_of(setting: &'static Setting, raw: &Raw) -> Layers {
    by_flags(setting, &setting.field.show(raw))
}

fn by_variable(setting: &'static Setting, texts: &[String]) -> Layers {
    Layers { environment: variables(&[(&setting.variable(), &texts.join(","))]), ..Layers::default() }
}

fn read_raw_file(setting: &'static Setting, texts: &[String]) -> Result<Raw, TestCaseError> {
    let quoted: Vec<_> = texts.iter().map(|text| toml::Value::from(&**text).to_string()).collect();
    let value = if setting.field.repeats() { format!("[\n{}\n]", quoted.join(",\n")) } else { quoted[0].clone() };
    let file = file(&format!("{} = {value}\n", setting.key()));
    read_raw(Layers { file: Some(file.path().to_owned()), ..Layers::default() })
}

fn read_raw(layers: Layers) -> Result<Raw, TestCaseError> {
    read(layers).map(|draft| draft.raw).map_err(|problems| TestCaseError::fail(problems.to_string()))
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn variables(written: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    written.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// As clap hands flags over: one assignment per option.
fn flags(written: &[(&str, &str)]) -> Vec<Assignment> {
    let mut assignments: Vec<Assignment> = Vec::new();
    for (name, text) in written {
        let setting = options::named(name).unwrap();
        let value = Written { text: (*text).to_owned(), origin: Origin::Flag { name: setting.name } };
        match assignments.iter_mut().find(|assignment| assignment.setting.name == *name) {
            Some(assignment) => assignment.values.push(value),
            None => assignments.push(Assignment { setting, values: vec![value], complete: true }),
        }
    }
    assignments
}

fn no_lookup(address: &HostPort) -> io::Result<Vec<SocketAddr>> {
    panic!("{address} was looked up")
}
