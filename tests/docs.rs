//! Checks the documentation: executes the examples, and compares the tables with the programs and
//! the sources that they describe.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "docs/examples.rs"]
mod examples;
#[path = "docs/markdown.rs"]
mod markdown;
mod support;
#[path = "docs/terminal.rs"]
mod terminal;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use libtest_mimic::{Arguments, Trial};
use markdown::{Document, Kind, Section};
use oyez::cli::help::markdown;
use oyez::client;
use oyez::protocol::COMMANDS;
use oyez::server;
use support::{Server, installed};

const DOCUMENTS: [&str; 11] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "docs/client.md",
    "docs/internals.md",
    "docs/protocol.md",
    "docs/proxies.md",
    "docs/reliability.md",
    "docs/security.md",
    "docs/server.md",
];

/// Programs that the examples use and that may not be installed.
const PROGRAMS: [&str; 5] = ["nc", "ncat", "socat", "telnet", "openssl"];

fn main() {
    let mut tests = vec![
        check("every_document_is_tested", every_document_is_tested),
        check("readme_fits_in_150_lines", readme_fits_in_150_lines),
        check("readme_shows_how_to_run_and_test", readme_shows_how_to_run_and_test),
        check("commands_match_the_program", commands_match_the_program),
        check("options_match_the_help", options_match_the_help),
        check("client_commands_match_the_help", client_commands_match_the_help),
        check("statistics_match_the_server", statistics_match_the_server),
        check("error_codes_match_the_source", error_codes_match_the_source),
        check("reliability_table_names_existing_tests", reliability_table_names_existing_tests),
        check("skipped_examples_have_a_reason", skipped_examples_have_a_reason),
    ];
    #[cfg(feature = "chat")]
    tests.push(check("chat_matches_the_screen", chat_matches_the_screen));
    for path in DOCUMENTS {
        tests.extend(Document::read(path).sections().into_iter().filter_map(|s| example(path, s)));
    }
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

fn check(name: &str, check: fn()) -> Trial {
    Trial::test(name, move || {
        check();
        Ok(())
    })
}

/// Returns a test that runs the examples of a section, if it has any.
fn example(path: &'static str, section: Section) -> Option<Trial> {
    let blocks = || section.blocks.iter().filter(|block| block.kind.is_run());
    let line = blocks().next()?.line;
    let words: BTreeSet<&str> =
        blocks().flat_map(|block| &block.lines).flat_map(|line| line.split(' ')).collect();
    if cfg!(not(feature = "tls")) && words.iter().any(|word| word.contains("tls")) {
        return None;
    }
    let needs: Vec<&str> = PROGRAMS.into_iter().filter(|name| words.contains(name)).collect();
    let name = format!("{path}:{line} {}", section.heading);
    Some(installed::trial(name, &needs, move || Ok(examples::run(path, &section)?)))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn every_document_is_tested() {
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

fn readme_shows_how_to_run_and_test() {
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
}

fn options_match_the_help() {
    check_generated("docs/server.md", "options", &markdown(&server::config::options()));
    check_generated("docs/client.md", "client options", &markdown(&client::config::options()));
}

fn client_commands_match_the_help() {
    let rows = client::config::COMMANDS.iter();
    let rows: String = rows.map(|(usage, help)| format!("| `oyez {usage}` | {help} |\n")).collect();
    let table = format!("| command | what it does |\n| --- | --- |\n{rows}");
    check_generated("docs/client.md", "client commands", &table);
}

/// Asserts that the document contains this text between the marks.
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
        assert!(line.starts_with(&documented), "documented: {documented:?}, received: {line:?}");
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

fn reliability_table_names_existing_tests() {
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

/// Runs the chat example of docs/client.md on a terminal.
#[cfg(feature = "chat")]
fn chat_matches_the_screen() {
    let sections = Document::read("docs/client.md").sections();
    let mut blocks = sections.iter().flat_map(|section| &section.blocks);
    let block = blocks.find(|block| block.kind == Kind::Text).unwrap();
    let server = Server::start(&[]);
    let named = |name: &str| {
        let mut client = server.client();
        client.ask(&format!("name {name}"), &format!("ok name {name}"));
        client
    };
    let (mut bob, mut carol) = (named("bob"), Some(named("carol")));
    for text in block.lines.iter().filter_map(|row| row.strip_prefix("--:-- bob: ")) {
        bob.ask(&format!("say {text}"), &format!("broadcast 1 bob {text}"));
    }
    let address = server.address.to_string();
    let mut command = support::oyez();
    command.args(["-s", &address, "--name", "alice"]).env("NO_COLOR", "1");
    let mut alice = support::terminal::Terminal::start(&mut command, 24, 100);
    let mut rows: Vec<String> = vec![];
    for shown in &block.lines[1..] {
        if let Some(text) = shown.strip_prefix("alice> ") {
            rows.push(shown.clone());
            alice.press(text);
            alice.expect(&rows.iter().map(String::as_str).collect::<Vec<_>>());
            return;
        }
        let row = &shown["00:00 ".len()..];
        rows.push(row.replace("127.0.0.1:5050", &address));
        if row.starts_with("- connected to ") || shown.starts_with("--:-- ") {
            continue;
        }
        if let Some(text) = row.strip_prefix("=> bob: ") {
            bob.send(&format!("say {text}"));
        } else if let Some(text) = row.strip_prefix("[bob] ") {
            bob.send(&format!("send alice {text}"));
        } else if let Some((text, carol)) = row.strip_prefix("* carol ").zip(carol.as_mut()) {
            carol.send(&format!("say /me {text}"));
        } else if row == "- carol left" {
            carol = None;
        } else if let Some(text) = row.strip_prefix("> ") {
            alice.press(&format!("{text}\r"));
        }
        let prompt = ["alice>"].into_iter();
        alice.expect(&rows.iter().map(String::as_str).chain(prompt).collect::<Vec<_>>());
    }
    panic!("the chat example must end with the prompt");
}

fn skipped_examples_have_a_reason() {
    for path in DOCUMENTS {
        for block in Document::read(path).sections().iter().flat_map(|section| &section.blocks) {
            if let Kind::Skipped(reason) = &block.kind {
                println!("{path}:{} is skipped: {reason}", block.line);
            }
        }
    }
}
