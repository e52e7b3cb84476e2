//! What the house rules say, held to.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use oyez::cli::markdown;
use oyez::client;
use oyez::protocol::COMMANDS;
use oyez::server;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file below a folder, with its text.
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

#[track_caller]
fn none_has(files: &[(PathBuf, String)], banned: &[&str]) {
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
        "crate::server",
        "crate::server::config",
        "crate::server::logging",
        "crate::credentials::secret_file",
        "crate::credentials::file",
    ];
    none_has(&sources("src/hub"), &banned);
    none_has(&sources("src/protocol"), &banned);
    none_has(&sources("src/protocol"), &["crate::hub"]);
}

#[test]
fn the_client_knows_nothing_of_the_server() {
    let banned = ["crate::server", "crate::hub", "crate::server::logging", "crate::config"];
    none_has(&sources("src/client"), &banned);
    for folder in ["src/protocol", "src/hub", "src/server"] {
        none_has(&sources(folder), &["crate::client"]);
    }
}

/// What the client makes of what it is told and of what is typed can be tried without a socket, a
/// terminal or a clock.
#[test]
fn what_the_client_thinks_it_thinks_without_io() {
    let pure = [
        "connection/requests.rs",
        "tasks/publish_queue.rs",
        "tasks/resume_cursor.rs",
        "chat/screen.rs",
        "chat/editor.rs",
        "chat/slash_command.rs",
    ];
    let banned = ["std::io", "std::net", "std::time", "Instant::now", "mio", "rustix"];
    let mut rooms = sources("src/client");
    rooms.retain(|(path, _)| pure.iter().any(|room| path.ends_with(room)));
    assert_eq!(rooms.len(), pure.len());
    none_has(&rooms, &banned);
}

#[test]
fn rooms_are_small_and_finished() {
    for (path, text) in sources("src") {
        let code = text.split("#[cfg(test)]").next().unwrap();
        let lines = code.lines().count();
        assert!(lines <= 450, "{} has {lines} lines: two subjects?", path.display());
        assert!(!text.contains("TODO") && !text.contains("FIXME"), "{}", path.display());
    }
}

/// The first cells of the README's table behind a mark.
fn readme_table(mark: &str) -> Vec<Vec<String>> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, table) = readme.split_once(mark).unwrap();
    let rows = table.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

#[test]
fn the_readme_has_every_command() {
    let rows = readme_table("<!-- commands -->");
    let written: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let expected: Vec<String> = COMMANDS
        .iter()
        .map(|command| match command.alias {
            Some(alias) => {
                let short = command.usage.replacen(command.name, alias, 1);
                format!("`{}`, `{short}`", command.usage)
            }
            None => format!("`{}`", command.usage),
        })
        .collect();
    assert_eq!(written, expected);
    let later = |row: &&Vec<String>| row[2].contains("not in this version");
    let listed_as_later =
        COMMANDS.iter().filter(|command| command.help.contains("not in this version"));
    assert_eq!(rows.iter().filter(later).count(), listed_as_later.count());
}

#[test]
fn readme_option_tables_match_the_option_tables_of_the_programs() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for (mark, options) in [
        ("<!-- options -->\n", server::config::options()),
        ("<!-- client options -->\n", client::config::options()),
    ] {
        let expected = format!("{mark}{}\n", markdown(&options));
        assert!(readme.contains(&expected), "README.md should have:\n{expected}");
    }
}

#[test]
fn the_tests_are_there_that_the_readme_names() {
    let rows = readme_table("<!-- faults -->");
    assert!(rows.len() > 10);
    for row in rows {
        for group in row[2].split("; ") {
            let (file, tests) = group.split_once(": ").unwrap();
            let path = root().join("tests").join(file.trim_matches('`')).with_extension("rs");
            let source = fs::read_to_string(&path).unwrap();
            for test in tests.split(", ").map(|test| test.trim_matches('`')) {
                let is_there = source.contains(&format!("#[test]\nfn {test}("));
                assert!(is_there, "{} has no {test}", path.display());
            }
        }
    }
}

#[test]
fn the_readme_names_its_two_commands() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for command in ["cargo run --release ", "cargo test "] {
        assert!(readme.lines().any(|line| line.starts_with(command)), "{command}");
    }
}
