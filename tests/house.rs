//! Architecture rules: allowed imports, modules that do no I/O, and the maximum length of a file.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

/// Which top-level modules each top-level module may import. `testing` is in no list: production
/// code must not import it.
const ALLOWED: &[(&str, &[&str])] = &[
    ("escape", &[]),
    ("read_outcome", &[]),
    ("protocol", &[]),
    ("display", &["escape"]),
    ("cli", &["display", "escape"]),
    ("limits", &["protocol"]),
    ("credentials", &["protocol"]),
    ("net", &["credentials", "read_outcome"]),
    ("hub", &["credentials", "limits", "protocol", "read_outcome"]),
    (
        "server",
        &[
            "cli",
            "credentials",
            "display",
            "escape",
            "hub",
            "limits",
            "net",
            "protocol",
            "read_outcome",
        ],
    ),
    (
        "client",
        &["cli", "credentials", "display", "escape", "limits", "net", "protocol", "read_outcome"],
    ),
    ("bin", &["cli", "client", "server"]),
];

/// Modules that only unit tests and fuzz targets may import.
const TEST_MODULES: [&str; 2] = ["testing", "client::testing"];

/// The hub's parts and leaf types. They must not import `Hub`.
const HUB_PARTS: [&str; 7] =
    ["channel", "counters", "delivery", "event", "handle", "registry", "schedule"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns every source file in a directory tree, with its text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut files = vec![];
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!files.is_empty(), "{folder} has no sources");
    files
}

/// Returns a file's code, without comments and unit tests.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    code.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect()
}

/// Returns the module of a source file, such as `hub::channel::feed`; for the crate root, an empty
/// string.
fn module_of(path: &Path) -> String {
    let path = path.strip_prefix(root().join("src")).unwrap().with_extension("");
    let mut names: Vec<&str> = path.iter().map(|name| name.to_str().unwrap()).collect();
    if matches!(names.last(), Some(&("mod" | "lib"))) {
        names.pop();
    }
    names.join("::")
}

/// Splits code into words, `::` and single characters. Skips whitespace.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = vec![];
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let len = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, tail) = rest.split_at(len);
        rest = tail;
        if !first.is_whitespace() {
            tokens.push(token);
        }
    }
    tokens
}

/// Parses the rest of a path such as `a::{b, c::{d, e}}` after `prefix`, and adds every single path
/// to `paths`.
fn expand<'a>(
    tokens: &mut Peekable<impl Iterator<Item = &'a str>>,
    mut prefix: Vec<&'a str>,
    paths: &mut Vec<Vec<&'a str>>,
) {
    while tokens.next_if_eq(&"::").is_some() {
        if tokens.next_if_eq(&"{").is_some() {
            while tokens.next_if_eq(&"}").is_none() {
                let Some(token) = tokens.next() else { return };
                if token != "," {
                    expand(tokens, [prefix.as_slice(), &[token]].concat(), paths);
                }
            }
            return;
        }
        prefix.extend(tokens.next());
    }
    paths.push(prefix);
}

/// Returns every path in the code that starts with `crate`, `oyez` or `super`, or follows `use`.
fn paths(code: &str) -> Vec<Vec<&str>> {
    let mut paths = vec![];
    let mut tokens = tokens(code).into_iter().peekable();
    let mut before = "";
    while let Some(token) = tokens.next() {
        let starts_path = matches!(token, "crate" | "super" | "oyez")
            && tokens.peek().is_some_and(|next| *next == "::");
        if starts_path || before == "use" {
            expand(&mut tokens, vec![token], &mut paths);
        }
        before = token;
    }
    paths
}

/// Returns the module of this crate that a path in module `from` refers to: the longest prefix that
/// names a module.
fn resolve(path: &[&str], from: &str, modules: &BTreeSet<String>) -> Option<String> {
    let mut base: Vec<&str> = from.split("::").filter(|name| !name.is_empty()).collect();
    let mut rest = path;
    match rest.split_first()? {
        (&("crate" | "oyez"), tail) => (base, rest) = (vec![], tail),
        (&"super", _) => {
            while let Some((&"super", tail)) = rest.split_first() {
                base.pop();
                rest = tail;
            }
        }
        _ => {}
    }
    let full = [base.as_slice(), rest].concat();
    let is_relative = !matches!(path[0], "crate" | "oyez" | "super");
    let shortest = if is_relative { base.len() + 1 } else { 1 };
    let lengths = (shortest..=full.len()).rev();
    lengths
        .map_while(|len| full.get(..len))
        .map(|names| names.join("::"))
        .find(|name| modules.contains(name))
}

/// Returns the modules that each module imports.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let files = sources("src");
    let modules: BTreeSet<String> = files.iter().map(|(path, _)| module_of(path)).collect();
    let mut imports = BTreeMap::new();
    for (path, text) in &files {
        let from = module_of(path);
        let code = code(text);
        let targets = paths(&code).into_iter().filter_map(|path| resolve(&path, &from, &modules));
        imports.insert(from.clone(), targets.filter(|target| *target != from).collect());
    }
    imports
}

#[test]
fn modules_have_no_import_cycles() {
    let imports = imports();
    let mut finished = BTreeSet::new();
    for module in imports.keys() {
        visit(module, &imports, &mut vec![], &mut finished);
    }
    assert!(finished.len() > 50, "only {} modules were found", finished.len());
}

fn visit<'a>(
    module: &'a String,
    imports: &'a BTreeMap<String, BTreeSet<String>>,
    trail: &mut Vec<&'a String>,
    finished: &mut BTreeSet<&'a String>,
) {
    if let Some(start) = trail.iter().position(|&before| before == module) {
        panic!("import cycle: {:?}", &trail[start..]);
    }
    if finished.contains(module) {
        return;
    }
    trail.push(module);
    for target in &imports[module] {
        visit(target, imports, trail, finished);
    }
    trail.pop();
    finished.insert(module);
}

#[test]
fn every_import_is_allowed() {
    let top = |module: &str| module.split("::").next().unwrap().to_owned();
    let mut used = BTreeSet::new();
    for (from, targets) in imports() {
        if TEST_MODULES.iter().any(|test| from.starts_with(test)) || from.is_empty() {
            continue;
        }
        let (_, allowed) =
            ALLOWED.iter().find(|(name, _)| *name == top(&from)).unwrap_or_else(|| {
                panic!("{from} is missing from ALLOWED");
            });
        for target in targets {
            let is_test = TEST_MODULES.iter().any(|test| target.starts_with(test));
            assert!(!is_test, "{from} imports {target}, which only tests may import");
            let is_allowed = top(&from) == top(&target) || allowed.contains(&top(&target).as_str());
            assert!(is_allowed, "{from} must not import {target}");
            used.insert((top(&from), top(&target)));
        }
    }
    for (from, allowed) in ALLOWED {
        for target in *allowed {
            let is_used = used.contains(&((*from).to_owned(), (*target).to_owned()));
            assert!(is_used, "{from} does not import {target}: remove it from ALLOWED");
        }
    }
}

#[test]
fn hub_parts_do_not_import_the_hub() {
    let is_part = |module: &str| {
        let name = module.strip_prefix("hub::").and_then(|rest| rest.split("::").next());
        name.is_some_and(|name| HUB_PARTS.contains(&name))
    };
    let imports = imports();
    for (from, targets) in imports.iter().filter(|(from, _)| is_part(from)) {
        for target in targets.iter().filter(|target| target.starts_with("hub")) {
            assert!(is_part(target), "{from} is a part of the hub, but imports {target}");
        }
    }
    for (path, text) in sources("src/hub") {
        let module = module_of(&path);
        let has_impl = code(&text).contains("impl Hub");
        assert_eq!(
            has_impl,
            !is_part(&module),
            "{module} must be either a part of the hub or an `impl Hub`"
        );
    }
}

#[track_caller]
fn assert_none_contains(files: &[(PathBuf, String)], banned: &[&str]) {
    for (path, text) in files {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for word in banned {
                assert!(!code.contains(word), "{}:{}: {word}", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn protocol_and_hub_do_no_io_and_read_no_clock() {
    let banned = [
        "std::net",
        "std::fs",
        "std::os",
        "std::env",
        "std::process",
        "std::thread",
        "std::time",
        "Instant",
        "SystemTime",
        "HashMap",
        "HashSet",
        "RandomState",
        "mio",
        "rustix",
        "log::",
        "println!",
        "eprintln!",
        "signal_hook",
        "crate::credentials::secret_file",
        "crate::credentials::file",
    ];
    assert_none_contains(&sources("src/hub"), &banned);
    assert_none_contains(&sources("src/protocol"), &banned);
}

/// Unit tests run these modules without a socket, a terminal or a clock.
#[test]
fn client_state_machines_do_no_io() {
    let pure = [
        "connection/ending.rs",
        "connection/requests.rs",
        "tasks/publish_queue.rs",
        "tasks/resume_cursor.rs",
        "chat/completion.rs",
        "chat/layout.rs",
        "chat/mention.rs",
        "chat/presence.rs",
        "chat/roster.rs",
        "chat/screen.rs",
        "chat/search.rs",
        "chat/editor.rs",
        "chat/slash_command.rs",
    ];
    let banned = ["std::io", "std::net", "std::time", "Instant::now", "mio", "rustix"];
    let mut files = sources("src/client");
    files.retain(|(path, _)| pure.iter().any(|file| path.ends_with(file)));
    assert_eq!(files.len(), pure.len());
    assert_none_contains(&files, &banned);
}

#[test]
fn files_are_short_and_have_no_todo() {
    for (path, text) in sources("src") {
        let lines = code(&text).lines().count();
        assert!(lines <= 450, "{} has {lines} lines of code: split it", path.display());
        assert!(!text.contains("TODO") && !text.contains("FIXME"), "{}", path.display());
    }
}
