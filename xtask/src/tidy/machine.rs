//! Nothing of the machine on which somebody works gets into the repository: no path of theirs, no package mirror of
//! theirs.

use std::path::Path;

use super::Finding;
use super::source::Source;

/// What names this machine.
#[derive(Default)]
pub(super) struct MachineWords(Vec<String>);

/// Folders of the file hierarchy standard: they exist everywhere and name nobody.
const STANDARD_FOLDERS: &[&str] = &[
    "bin", "boot", "dev", "etc", "home", "lib", "media", "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys",
    "tmp", "usr", "var",
];

/// Home folders are somebody's, whoever runs the check.
const HOMES: &[&str] = &[concat!("/ho", "me/"), concat!("/Us", "ers/")];

/// Hosts that every checkout knows.
const PUBLIC_HOSTS: &[&str] = &["crates.io", "index.crates.io", "static.crates.io", "github.com"];

impl MachineWords {
    /// Where the repository and its owner live here, and from where cargo fetches instead of crates.io.
    pub(super) fn of_this_machine(root: &Path) -> Self {
        let home = std::env::home_dir();
        let cargo_home = std::env::var_os("CARGO_HOME").map(Into::into).or_else(|| Some(home.as_ref()?.join(".cargo")));
        let cargo_config = cargo_home.and_then(|folder| std::fs::read_to_string(folder.join("config.toml")).ok());
        Self::of(root, home.as_deref(), cargo_config.as_deref().unwrap_or_default())
    }

    fn of(root: &Path, home: Option<&Path>, cargo_config: &str) -> Self {
        let root = root.to_string_lossy();
        let first = root.split('/').nth(1).unwrap_or_default();
        let mut words: Vec<String> = HOMES.iter().map(|home| (*home).to_owned()).collect();
        words.push(if STANDARD_FOLDERS.contains(&first) { root.into_owned() } else { format!("/{first}/") });
        words.extend(home.filter(|home| home.parent().is_some()).map(|home| format!("{}/", home.display())));
        words.extend(hosts(cargo_config).filter(|host| !PUBLIC_HOSTS.contains(host)).map(str::to_owned));
        Self(words)
    }

    /// Lines that name this machine.
    pub(super) fn check(&self, source: &Source) -> Vec<Finding> {
        let Self(words) = self;
        let mut findings = Vec::new();
        for (number, line) in source.lines() {
            for word in words.iter().filter(|word| names(line, word)) {
                findings.push(source.finding(number, format!("`{word}` belongs to somebody's machine")));
            }
        }
        findings
    }
}

/// Whether the line names what the word stands for: for a folder, something in it.
fn names(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    line.match_indices(word).any(|(start, _)| !word.ends_with('/') || line[start + word.len()..].starts_with(is_name))
}

/// Every package of a lock file comes from where everybody can get it.
pub(super) fn lock_sources(source: &Source) -> Vec<Finding> {
    const CRATES_IO: &str = r#"source = "registry+https://github.com/rust-lang/crates.io-index""#;
    if !source.path.ends_with("Cargo.lock") {
        return Vec::new();
    }
    let foreign = source.lines().filter(|(_, line)| line.starts_with("source = ") && *line != CRATES_IO);
    foreign.map(|(number, _)| source.finding(number, "a package that does not come from crates.io")).collect()
}

/// The hosts of the URLs in a text.
fn hosts(text: &str) -> impl Iterator<Item = &str> {
    text.split("://").skip(1).filter_map(|rest| {
        let authority = rest.split(['/', '"', '\'', '?', ' ', '\n']).next()?;
        let host = authority.rsplit('@').next()?.split(':').next()?;
        (!host.is_empty()).then_some(host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
        [source.crates-io]
        replace-with = "mirror"
        [source.mirror]
        registry = "sparse+https://user:secret@mirror.example.net:8443/index/"
        [registries.other]
        index = "https://index.crates.io/"
    "#;

    fn lines(words: &MachineWords, text: &str) -> Vec<usize> {
        words.check(&Source::new("README.md", text)).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_mirror_a_checkout_and_a_home_are_found() {
        let words = MachineWords::of(Path::new("/builds/me/splicegate"), Some(Path::new("/people/ann")), CONFIG);
        let text = "https://mirror.example.net/x\ncd /builds/other\n/people/ann/.cargo\n/builder /people/anna builds\n";
        assert_eq!(lines(&words, text), [1, 2, 3]);
        assert_eq!(lines(&words, &format!("see\n{}you/notes\n", HOMES[0])), [2]);
        assert!(lines(&words, &format!("no \"{}\" in it", HOMES[0])).is_empty());
        assert!(lines(&words, "https://index.crates.io/ /var/lib /etc/splicegate/gateway.toml\n").is_empty());
    }

    #[test]
    fn a_checkout_in_a_standard_folder_is_named_in_full() {
        let words = MachineWords::of(Path::new("/usr/src/splicegate"), None, "");
        assert_eq!(lines(&words, "/usr/lib\n/usr/src/splicegate/target\n"), [2]);
    }

    #[test]
    fn a_lock_file_names_one_registry() {
        let text =
            "source = \"registry+https://github.com/rust-lang/crates.io-index\"\nsource = \"git+https://a.b/c\"\n";
        let found = lock_sources(&Source::new("gateway-ebpf/Cargo.lock", text));
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2]);
        assert!(lock_sources(&Source::new("notes.txt", text)).is_empty());
    }
}
