//! The pages of the help: what they contain, and that they fit on a terminal.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;

use oyez::cli::help::HelpRow;
use oyez::client::config::{COMMANDS, EXAMPLES};
use oyez::{client, server};
use support::{Program, fails, oyez, oyezd, succeeds};

/// Returns every command except `help`.
fn commands() -> Vec<&'static str> {
    let mut names: Vec<&str> =
        COMMANDS.iter().map(|(usage, _)| usage.split(' ').next().unwrap()).collect();
    names.dedup();
    names.retain(|name| *name != "help");
    names
}

fn help(command: &mut Command, arguments: &[&str]) -> String {
    let page = succeeds(command.args(arguments));
    for line in page.lines() {
        assert!(line.chars().count() <= 80, "{arguments:?}: {line}");
    }
    page
}

/// Returns the long name of an option.
fn long(row: &HelpRow) -> &'static str {
    row.usage.split([' ', ',']).find(|word| word.starts_with("--")).unwrap()
}

/// Returns whether the page has a row for this option.
fn has_option(page: &str, option: &str) -> bool {
    let mut rows = page.lines().filter(|line| line.starts_with("  -"));
    rows.any(|row| row.split([' ', ',']).any(|word| word == option))
}

/// Splits an example into words, as a shell would, and drops the pipe before or after `oyez`.
fn words(example: &str) -> Vec<String> {
    let start = example.find("oyez ").unwrap();
    let (mut words, mut is_quoted) = (vec![String::new()], false);
    for c in example[start..].chars() {
        match c {
            '\'' => is_quoted = !is_quoted,
            '|' if !is_quoted => break,
            ' ' if !is_quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words.split_off(1)
}

#[test]
fn short_help_fits_on_one_screen() {
    for (mut command, full) in
        [(oyez(), "oyez --help shows all"), (oyezd(), "oyezd --help shows all")]
    {
        let page = help(&mut command, &["-h"]);
        // The prompt needs the last of 24 rows.
        assert!(page.lines().count() < 24, "{page}");
        assert!(page.lines().last().unwrap().starts_with(full), "{page}");
    }
    let page = help(&mut oyez(), &["-h"]);
    for command in commands() {
        assert!(page.contains(&format!("\n  {command}")), "{command}: {page}");
    }
    for option in ["--server", "--name", "--secret-file", "--tls"] {
        assert!(has_option(&page, option), "{option}: {page}");
    }
    assert!(page.contains("[default: 127.0.0.1:5050]"), "{page}");
    assert!(has_option(&help(&mut oyezd(), &["-h"]), "--listen"));
}

#[test]
fn full_help_has_every_option_under_a_heading() {
    for (page, groups) in [
        (help(&mut oyez(), &["--help"]), client::config::options()),
        (help(&mut oyezd(), &["--help"]), server::config::options()),
    ] {
        for (title, group) in groups {
            assert!(page.contains(&format!("\n\n{title}:\n  -")), "{title}: {page}");
            for row in group {
                assert!(has_option(&page, long(&row)), "{}: {page}", row.usage);
                // A default may be on the next line.
                let default = row.default.is_empty() || page.contains(&format!("{}]", row.default));
                assert!(default, "{}: {page}", row.usage);
            }
        }
    }
    assert_eq!(help(&mut oyez(), &["help"]), help(&mut oyez(), &["--help"]));
}

#[test]
fn help_of_a_command_has_its_options_and_two_examples() {
    let all: Vec<HelpRow> =
        client::config::options().into_iter().flat_map(|(_, group)| group).collect();
    assert_eq!(EXAMPLES.iter().map(|(command, _)| *command).collect::<Vec<_>>(), commands());
    for (command, examples) in EXAMPLES {
        let page = help(&mut oyez(), &[command, "--help"]);
        assert_eq!(page, help(&mut oyez(), &["help", command]));
        assert_eq!(page, help(&mut oyez(), &[command, "-h"]));
        assert!(page.starts_with(&format!("Usage:\n  oyez {command}")), "{page}");
        for row in &all {
            let has_row = row.commands.is_empty()
                || row.commands.iter().any(|of| of.split(' ').next() == Some(command));
            assert_eq!(has_option(&page, long(row)), has_row, "{command} {}: {page}", row.usage);
        }
        for (example, help) in examples {
            assert!(page.contains(&format!("\n  {example}\n      {help}\n")), "{page}");
        }
    }
    let listen = help(&mut oyez(), &["listen", "--help"]);
    assert!(!listen.contains("with listen") && !listen.contains("--skip-bad"), "{listen}");
    assert!(listen.contains("[default: text]"), "{listen}");
    // Each page leaves out what concerns other commands only.
    assert!(!listen.contains("chat") && !listen.contains("broadcast -"), "{listen}");
    assert!(listen.contains("listen also has"), "{listen}");
    let stats = help(&mut oyez(), &["help", "stats"]);
    assert!(stats.contains("text or json") && !stats.contains("listen"), "{stats}");
    assert!(help(&mut oyez(), &["help", "chat"]).contains("; in chat"));
    assert!(help(&mut oyez(), &["--help"]).contains("all OYEZ_TLS variables are ignored"));
}

/// The examples are run without a server.
#[test]
fn examples_have_valid_arguments() {
    let folder = tempfile::tempdir().unwrap();
    for (command, examples) in EXAMPLES {
        for (example, _) in examples {
            let words = words(example);
            assert!(words.iter().any(|word| word == command) || *command == "chat", "{example}");
            let mut oyez = oyez();
            oyez.env("OYEZ_SERVER", "unix:no.sock").current_dir(&folder).args(&words);
            let (status, _, stderr) = Program::run(&mut oyez);
            let needs_terminal = stderr.starts_with("oyez: chat needs a terminal; ");
            assert!(status == 1 || *command == "chat" && needs_terminal, "{example}: {stderr}");
        }
    }
}

#[test]
fn help_of_an_unknown_command_is_an_error() {
    for arguments in [["help", "brodcast"], ["brodcast", "--help"], ["brodcast", "-h"]] {
        fails(
            oyez().args(arguments),
            2,
            "unknown command \"brodcast\" (did you mean broadcast?); see oyez --help",
        );
    }
    fails(oyez().args(["help", "nonsense"]), 2, "unknown command \"nonsense\"; see oyez --help");
}
