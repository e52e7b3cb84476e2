//! The documentation, compared with the programs: every table is checked against what it describes.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "docs/markdown.rs"]
mod markdown;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use libtest_mimic::{Arguments, Trial};
use markdown::Document;
use oyez::cli::markdown;
use oyez::client;
use oyez::protocol::COMMANDS;
use oyez::server;
use support::Server;

const DOCUMENTS: [&str; 10] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "docs/client.md",
    "docs/internals.md",
    "docs/protocol.md",
    "docs/reliability.md",
    "docs/security.md",
    "docs/server.md",
];

fn main() {
    let trials = vec![
        check("every_document_is_listed", every_document_is_listed),
        check("readme_fits_in_150_lines", readme_fits_in_150_lines),
        check("readme_names_the_first_commands", readme_names_the_first_commands),
        check("commands_match_the_program", commands_match_the_program),
        check("options_match_the_help", options_match_the_help),
        check("client_commands_match_the_help", client_commands_match_the_help),
        check("statistics_match_the_server", statistics_match_the_server),
        check("error_codes_match_the_source", error_codes_match_the_source),
        check("faults_name_existing_tests", faults_name_existing_tests),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn check(name: &str, check: fn()) -> Trial {
    Trial::test(name, move || {
        check();
        Ok(())
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn every_document_is_listed() {
    let mut found = vec![];
    for folder in ["", "docs/"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                found.push(format!("{folder}{name}"));
            }
        }
    }
    found.sort();
    assert_eq!(found, DOCUMENTS);
}

fn readme_fits_in_150_lines() {
    let lines = Document::read("README.md").text.lines().count();
    assert!(lines <= 150, "README.md has {lines} lines");
}

fn readme_names_the_first_commands() {
    let readme = Document::read("README.md").text;
    for command in ["cargo run --release ", "cargo test "] {
        assert!(readme.lines().any(|line| line.starts_with(command)), "{command}");
    }
}

fn commands_match_the_program() {
    let rows = Document::read("docs/protocol.md").table("<!-- commands -->");
    let documented: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
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
    assert_eq!(documented, expected);
    let later = |text: &str| text.contains("not in this version");
    let documented = rows.iter().filter(|row| later(&row[2])).count();
    assert_eq!(documented, COMMANDS.iter().filter(|command| later(command.help)).count());
}

fn options_match_the_help() {
    check_generated("docs/server.md", "options", &markdown(server::config::OPTIONS));
    check_generated("docs/client.md", "client options", &markdown(client::config::OPTIONS));
}

fn client_commands_match_the_help() {
    let rows = client::config::COMMANDS.iter();
    let rows: String = rows.map(|(usage, help)| format!("| `oyez {usage}` | {help} |\n")).collect();
    let table = format!("| command | what it does |\n| --- | --- |\n{rows}");
    check_generated("docs/client.md", "client commands", &table);
}

/// The document has this text between two marks.
fn check_generated(path: &'static str, mark: &str, expected: &str) {
    let expected = format!("<!-- {mark} -->\n{expected}<!-- end {mark} -->\n");
    assert!(Document::read(path).text.contains(&expected), "{path} should have:\n{expected}");
}

fn statistics_match_the_server() {
    let rows = Document::read("docs/protocol.md").table("<!-- statistics -->");
    let server = Server::start(&[]);
    let mut client = server.client();
    client.send("stats");
    for row in rows {
        let line = client.line();
        let documented = format!("stat {} ", row[0].trim_matches('`'));
        assert!(line.starts_with(&documented), "{documented:?} is documented, and sent: {line:?}");
    }
    client.expect("ok stats");
}

fn error_codes_match_the_source() {
    let source = fs::read_to_string(root().join("src/protocol/error_code.rs")).unwrap();
    let expected: BTreeSet<&str> = source.split('"').skip(1).step_by(2).collect();
    let rows = Document::read("docs/protocol.md").table("<!-- errors -->");
    let documented: BTreeSet<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(documented, expected);
}

fn faults_name_existing_tests() {
    let rows = Document::read("docs/reliability.md").table("<!-- faults -->");
    assert!(rows.len() > 10);
    for row in rows {
        for group in row[2].split("; ") {
            let (file, tests) = group.split_once(": ").unwrap();
            let path = root().join("tests").join(file.trim_matches('`')).with_extension("rs");
            let source = fs::read_to_string(&path).unwrap();
            for test in tests.split(", ").map(|test| test.trim_matches('`')) {
                let exists = source.contains(&format!("#[test]\nfn {test}("));
                assert!(exists, "{} has no {test}", path.display());
            }
        }
    }
}
