//! Text from other clients on a terminal: no row of it can pass for another message or log line.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use support::fake_server::{FEED, FakeServer};
use support::terminal::Terminal;
use support::{Client, Server, oyez, oyezd};

/// Runs a command with both output streams on a terminal, after a line of shell script.
fn start(script: &str, command: &Command, rows: u16, columns: u16) -> Terminal {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{script}\nexec \"$0\" \"$@\" 2>&1")]);
    shell.arg(command.get_program()).args(command.get_args()).env_remove("OYEZ_SERVER");
    Terminal::start(&mut shell, rows, columns)
}

fn listen(server: &Server, arguments: &[&str]) -> Command {
    let mut command = oyez();
    command.args(["-s", &server.address.to_string(), "listen"]).args(arguments);
    command
}

/// With fillers of every length, some row ends exactly before the forged text.
fn texts(forged: &str, columns: usize) -> impl Iterator<Item = String> {
    let counts = 1..=columns;
    let texts = ["x", "你", "ä", "x ", "\t"]
        .map(|filler| counts.clone().map(move |count| format!("{}{forged}", filler.repeat(count))));
    texts.into_iter().flatten()
}

#[test]
fn listener_indents_continuation_rows() {
    const FORGED: &str = "root: obey";
    let server = Server::start(&[]);
    let mut eve = server.client();
    let mut count = 0;
    for text in texts(FORGED, 60) {
        eve.send(&format!("say {text}"));
        count += 1;
    }
    for format in ["text", "named", "lines", "json"] {
        let count = count.to_string();
        let listen = listen(&server, &["--since", "0", "--count", &count, "--format", format]);
        let mut terminal = start("", &listen, 3000, 60);
        terminal.wait_until(|terminal| {
            terminal.rows().iter().any(|row| row.starts_with("oyez: continue with"))
        });
        let rows = terminal.drawn_rows();
        assert!(rows.iter().any(|row| row.starts_with(&format!("    {FORGED}"))), "{rows:#?}");
        let start = match format {
            "text" => ["x", "你", "ä", "        "].as_slice(),
            "named" => &["1:"],
            "lines" => &["broadcast "],
            _ => &["{"],
        };
        for row in rows.iter().filter(|row| !row.starts_with("    ") && !row.is_empty()) {
            let is_start = start.iter().any(|start| row.starts_with(start));
            assert!(is_start || row.starts_with("oyez: continue with"), "{row:?}");
        }
    }
}

/// The terminal also discards pending output on Ctrl-C, so autowrap is always enabled at the end.
#[test]
fn signal_inside_a_row_leaves_autowrap_enabled() {
    let server = Server::start(&[]);
    let mut eve = server.client();
    let text = "你".repeat(100);
    for seq in 1..=2000 {
        eve.ask(&format!("say {text}"), &format!("broadcast {seq} 1 {text}"));
    }
    let mut raw = oyez();
    raw.args(["-s", &server.address.to_string(), "raw"]);
    for (command, keys) in [(listen(&server, &["--since", "0"]), ""), (raw, "history 2000\n")] {
        let mut terminal = start("stty -echo", &command, 24, 80);
        terminal.press(keys);
        terminal.wait_until(|terminal| terminal.output().contains('你'));
        terminal.program.signal("INT");
        assert_eq!(terminal.program.wait().signal(), Some(2));
        terminal.wait_until(|terminal| terminal.output().ends_with("\x1b[?7h"));
    }
}

#[test]
fn notices_and_errors_have_indented_continuation_rows() {
    let fake = FakeServer::new();
    let mut terminal = start("", &fake.oyez(&["--no-reconnect", "listen"]), 200, 60);
    let mut server = fake.welcome(FEED, 0);
    for text in texts("oyez: obey", 60).take(60) {
        server.send(&format!("direct eve {text}"));
    }
    server.send(&format!("goodbye {}oyez: obey", "x".repeat(60)));
    terminal.wait_until(|terminal| terminal.output().contains(": the server disconnected"));
    terminal.program.wait();
    let rows = terminal.drawn_rows();
    assert!(rows.iter().all(|row| !row.starts_with("oyez: obey")), "{rows:#?}");
    assert!(rows.iter().any(|row| row.starts_with("    oyez: obey")), "{rows:#?}");
}

#[test]
fn log_has_indented_continuation_rows() {
    const FORGED: &str = "1999-12-31T23:59:59.000Z INFO  [oyezd] all is well";
    let mut oyezd = oyezd();
    oyezd.args(["--listen", "127.0.0.1:0", "--log-level", "debug"]);
    let mut log = start("", &oyezd, 1500, 100);
    log.wait_until(|log| log.rows().iter().any(|row| row.contains("for this host only")));
    let rows = log.rows();
    let row = rows.iter().find(|row| row.contains("listening on ")).unwrap();
    let mut eve = Client::connect_and_read_welcome(&support::listening_address(row));
    for (i, text) in texts(FORGED, 100).take(200).enumerate() {
        eve.send(&format!("say {text}\nping p{i}"));
        // The server drops log lines that the terminal does not accept.
        log.wait_until(|log| log.output().contains(&format!("\"ping p{i}\"")));
    }
    let mut rows = log.drawn_rows();
    rows.retain(|row| !row.is_empty());
    assert!(rows.iter().any(|row| row.contains(FORGED)), "{rows:#?}");
    for row in &rows {
        let is_start = row.get(24..39).is_some_and(|row| row.ends_with(" [oyezd] "));
        let is_forged = row.starts_with("1999");
        assert!(row.starts_with("    ") || is_start && !is_forged, "{row:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn iutf8_flag_decides_if_no_locale_is_set() {
    let server = Server::start(&[]);
    server.client().ask("say é Û2J", "broadcast 1 1 é Û2J");
    for (script, shown) in [
        ("unset LC_ALL LC_CTYPE LANG; stty iutf8", "é Û2J"),
        ("unset LC_ALL LC_CTYPE LANG; stty -iutf8", "\\u{e9} \\u{db}2J"),
        ("export LC_ALL=C; stty iutf8", "\\u{e9} \\u{db}2J"),
        ("export LC_ALL=C.UTF-8; stty -iutf8", "é Û2J"),
        ("unset LC_ALL LC_CTYPE; export LANG=en_US.utf8; stty -iutf8", "é Û2J"),
    ] {
        let mut terminal =
            start(script, &listen(&server, &["--since", "0", "--count", "1"]), 24, 80);
        terminal.wait_until(|terminal| terminal.output().contains("continue with"));
        assert!(terminal.rows().iter().any(|row| row == shown), "{script}: {:?}", terminal.rows());
    }
}

#[test]
fn error_on_a_terminal_without_utf8_is_ascii() {
    let fake = FakeServer::new();
    let mut terminal = start("export LC_ALL=C", &fake.oyez(&["ping"]), 24, 80);
    fake.welcome(FEED, 0).send("error not-allowed Û2J");
    terminal.wait_until(|terminal| terminal.output().contains("\\u{db}2J"));
    assert!(terminal.output().is_ascii(), "{:?}", terminal.output());
}
