//! `oyez chat`, on a pseudoterminal.
#![cfg(feature = "chat")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::terminal::Terminal;
use support::{Client, Server, oyez, oyezd};

const COLUMNS: u16 = 60;

/// Starts a chat without colors and waits for its prompt.
fn chat(server: &Server, arguments: &[&str], prompt: &str) -> Terminal {
    let mut command = oyez();
    command.args(["-s", &server.address.to_string()]).args(arguments).env("NO_COLOR", "1");
    let mut terminal = Terminal::start(&mut command, 24, COLUMNS);
    terminal.expect(&[prompt]);
    terminal
}

fn bob(server: &Server) -> Client {
    let mut bob = server.client();
    bob.ask("name bob", "ok name bob");
    bob
}

#[test]
fn typed_lines_are_sent_and_received_lines_are_shown() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut alice = chat(&server, &["--name", "alice"], "alice>");
    alice.press("hello, all\r");
    bob.expect("broadcast 1 alice hello, all");
    alice.expect(&["> hello, all", "alice>"]);
    bob.send("say hello alice");
    alice.expect(&["bob: hello alice", "alice>"]);
    bob.expect("broadcast 2 bob hello alice");
    bob.ask("send alice psst", "ok send alice");
    alice.expect(&["[bob] psst", "alice>"]);
    alice.press("/send bob  psst yourself\r");
    bob.expect("direct alice  psst yourself");
    alice.expect(&["[> bob]  psst yourself", "alice>"]);
    alice.press("//help is a command\r");
    bob.expect("broadcast 3 alice /help is a command");
    alice.expect(&["> /help is a command", "alice>"]);
}

#[test]
fn slash_commands_show_their_answers_and_errors() {
    let server = Server::start(&[]);
    let _bob = bob(&server);
    let mut chat = chat(&server, &[], "2>");
    chat.press("/name bob\r");
    chat.expect(&["! somebody is already called bob; choose another name", "2>"]);
    chat.press("/name al\r");
    chat.expect(&["- you are now called al", "al>"]);
    chat.press("/clients\r");
    chat.expect(&["- 1 bob", "- 2 al", "- 2 of 2 clients", "al>"]);
    chat.press("/ping\r");
    chat.wait_until(|chat| {
        let rows = chat.rows();
        rows.iter().any(|row| row.contains("- the server answered in "))
            && rows.ends_with(&["al>".to_owned()])
    });
    chat.press("/send carol x\r");
    chat.expect(&["! no such client: carol; see /clients", "al>"]);
    chat.press("/send bob\r");
    chat.expect(&["! usage: /send <client> <text>", "al>"]);
    chat.press("/history 5\r");
    chat.expect(&["- there are no earlier lines", "al>"]);
    chat.press("hello\r/history 5\r");
    chat.expect(&["> hello", "- the last line:", "al: hello", "al>"]);
    chat.press("/help\r");
    chat.wait_until(|chat| chat.rows().iter().any(|row| row.contains("-   /history <count> ")));
    chat.press("/quit\r");
    assert_eq!(chat.program.wait().code(), Some(0));
}

#[test]
fn incoming_lines_do_not_disturb_the_line_being_typed() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    let typed = "你好 👩‍🚀 and é, and 더";
    for (i, c) in typed.char_indices() {
        chat.press(&c.to_string());
        bob.send(&format!("say line {i}"));
        bob.expect(&format!("broadcast {} bob line {i}", typed[..i].chars().count() + 1));
        let so_far = format!("al> {}", &typed[..i + c.len_utf8()]);
        chat.expect(&[&format!("bob: line {i}"), so_far.trim_end()]);
    }
    let prompts =
        |chat: &Terminal| chat.rows().iter().filter(|row| row.starts_with("al> ")).count();
    assert_eq!(prompts(&chat), 1, "the prompt must be on the screen once");
    let long = "word ".repeat(40);
    bob.send(&format!("say {long}"));
    chat.expect(&[&format!("al> {typed}")]);
    chat.press("\r");
    assert_eq!(bob.line(), format!("broadcast {} bob {long}", typed.chars().count() + 1));
    bob.expect(&format!("broadcast {} al {typed}", typed.chars().count() + 2));
}

#[test]
fn grapheme_clusters_are_edited_as_single_characters() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    // Left twice moves before 好, and Backspace deletes 你.
    chat.press("你好e\u{301}\x1b[D\x1b[D\x7f我");
    chat.expect(&["al> 我好e\u{301}"]);
    chat.wait_until(|chat| chat.cursor().1 == 6);
    // Ctrl-E moves to the end, and Ctrl-A to the beginning.
    chat.press("\x05x\x01>\x05\x7f\x7f👩‍🚀!\r");
    bob.expect("broadcast 1 al >我好👩‍🚀!");
    // Up recalls the last line.
    chat.press("draft\x1b[A\x1b[D\x1b[D\x1b[3~?\r");
    bob.expect("broadcast 2 al >我好?!");
    chat.press("one two three\x17\x17\x15\x19\x19\r");
    bob.expect("broadcast 3 al one one ");
}

#[test]
fn long_input_scrolls_within_one_row() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    let long: String = ('a'..='z').cycle().take(100).collect();
    chat.press(&long);
    let tail = &long[80..];
    chat.wait_until(|chat| {
        let row = chat.rows().pop().unwrap();
        row.starts_with("al> <") && row.ends_with(tail)
    });
    chat.press("\x01");
    chat.wait_until(|chat| {
        let row = chat.rows().pop().unwrap();
        row.starts_with("al> abc") && row.ends_with('>') && chat.cursor().1 == 4
    });
    chat.press("\r");
    bob.expect(&format!("broadcast 1 al {long}"));
}

#[test]
fn resizing_keeps_the_line_being_typed() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    chat.press("half a line");
    chat.expect(&["al> half a line"]);
    for (rows, columns) in [(10, 30), (40, 200), (4, 20), (24, 60)] {
        chat.resize(rows, columns);
        let text = format!("{columns}c");
        bob.send(&format!("say {text}"));
        chat.wait_until(|chat| {
            let rows = chat.rows();
            let [.., message, typed] = &rows[..] else { return false };
            message.contains(&text) && typed.starts_with("al> ")
        });
    }
    bob.send("say end");
    chat.expect(&["bob: end", "al> half a line"]);
    chat.press(" and more\r");
    for seq in 1..=5 {
        assert!(bob.line().starts_with(&format!("broadcast {seq} bob ")));
    }
    bob.expect("broadcast 6 al half a line and more");
}

#[test]
fn pasted_lines_are_sent_on_enter_and_never_run_as_commands() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    chat.press("\x1b[200~/quit\r\r  two\tx\r\x1b[201~");
    chat.expect(&["al> /quit↵↵  two x↵"]);
    chat.press("\r");
    bob.expect("broadcast 1 al /quit");
    bob.expect("broadcast 2 al  ");
    bob.expect("broadcast 3 al   two\tx");
    chat.expect(&["> /quit", ">", ">   two    x", "al>"]);
}

#[test]
fn terminal_is_restored_however_the_chat_ends() {
    for ending in
        ["/quit\r", "\x04", "\x03", "half a line\x03\x03", "TERM", "INT", "HUP", "shutdown"]
    {
        let server = Server::start(&[]);
        let mut command = oyez();
        command.args(["-s", &server.address.to_string(), "--no-reconnect"]);
        let mut chat = Terminal::start(&mut command, 24, COLUMNS);
        let before = format!("{:?}", chat.modes());
        chat.expect(&["1>"]);
        assert_ne!(format!("{:?}", chat.modes()), before, "raw mode");
        let status = match ending {
            "shutdown" => {
                server.client().ask("shutdown", "goodbye shutdown");
                1
            }
            signal if signal.bytes().all(|byte| byte.is_ascii_uppercase()) => {
                chat.program.signal(signal);
                0
            }
            keys => {
                chat.press(keys);
                0
            }
        };
        assert_eq!(chat.program.wait().code(), Some(status), "{ending:?}");
        assert_eq!(format!("{:?}", chat.modes()), before, "{ending:?}");
        chat.wait_until(|chat| chat.output().ends_with("\x1b[?2004l\x1b[?7h\x1b[m"));
        let shown = chat.rows().join("\n");
        assert!(
            !shown.contains("half") && !shown.contains("1>"),
            "the prompt was not erased: {shown}"
        );
    }
}

#[test]
fn unsent_line_survives_a_reconnect() {
    let server = Server::start(&[]);
    let address = server.address.to_string();
    let mut chat = chat(&server, &["--name", "al"], "al>");
    server.signal("KILL");
    server.wait();
    chat.expect(&["(not connected) >"]);
    chat.press("kept\r");
    chat.expect(&[
        "! not sent: the server does not answer; press Enter to",
        "      try again",
        "(not connected) > kept",
    ]);
    let mut again = oyezd();
    again.args(["--listen", &address]);
    let server = Server::spawn(again);
    chat.expect(&[
        "- the server was restarted, or it is another server;",
        "      lines may be missing",
        "al> kept",
    ]);
    let mut bob = bob(&server);
    chat.press("\r");
    bob.expect("broadcast 1 al kept");
}

#[test]
fn quit_works_without_a_connection() {
    let server = Server::start(&[]);
    let mut chat = chat(&server, &[], "1>");
    server.signal("KILL");
    server.wait();
    chat.expect(&["(not connected) >"]);
    chat.press("/quit\r");
    assert_eq!(chat.program.wait().code(), Some(0));
}

#[test]
fn terminal_is_unchanged_if_the_server_is_unreachable() {
    let mut command = oyez();
    command.args(["-s", "unix:/nowhere/socket"]);
    let mut chat = Terminal::start(&mut command, 24, COLUMNS);
    let before = format!("{:?}", chat.modes());
    assert_eq!(chat.program.wait().code(), Some(1));
    chat.program.stderr.expect("cannot reach unix:/nowhere/socket");
    assert_eq!(format!("{:?}", chat.modes()), before);
    assert_eq!(chat.output(), "");
}

#[test]
fn control_sequences_from_the_server_never_reach_the_terminal() {
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = oyez();
    command.args(["-s", &host.local_addr().unwrap().to_string()]).env("NO_COLOR", "1");
    let mut chat = Terminal::start(&mut command, 24, COLUMNS);
    let mut server = Client::accept(&host);
    server.send("welcome 1 00c0ffee 0 oyezd/9 hi");
    chat.expect(&["1>"]);
    // Characters that change the text's direction are escaped.
    server.send(
        "broadcast 1 \u{202e}x a\u{202e}b\ndirect \u{2066}y \u{200f}\nerror \u{202a} \u{202b}",
    );
    chat.expect(&[
        "\\u{202e}x: a\\u{202e}b",
        "[\\u{2066}y] \\u{200f}",
        "! \\u{202a}: \\u{202b}",
        "1>",
    ]);
    server.send_bytes(b"broadcast 2 bob \x1b[2J\x1b]0;owned\x07\n");
    assert_eq!(chat.program.wait().code(), Some(1));
    chat.program.stderr.expect("is not an oyez server: it sent a line that is not text");
    chat.wait_until(|chat| chat.output().ends_with("\x1b[m"));
    assert!(!chat.output().contains("\x1b[2J") && !chat.output().contains("\x1b]"));
}

#[test]
fn forged_message_in_a_broadcast_stays_on_its_row() {
    let server = Server::start(&[]);
    let mut eve = server.client();
    eve.ask("name eve", "ok name eve");
    let mut chat = chat(&server, &[], "2>");
    // The width of these characters differs between terminals.
    for filler in ["\u{ad}", "\u{200b}", "\u{115f}", "\u{feff}", "\u{e0041}", "\u{202e}"] {
        eve.send(&format!("say {}12:00 root: approved", filler.repeat(COLUMNS.into())));
    }
    eve.send("say end");
    chat.expect(&["eve: end", "2>"]);
    let rows = chat.rows();
    let is_safe = |row: &&String| {
        let row = row.as_str();
        row.starts_with("      ") || row.contains("eve: ") || row.contains(" - ") || row == "2>"
    };
    assert!(rows.iter().all(|row| is_safe(&row)), "{rows:?}");
    // Each message disables autowrap, because this test's terminal may agree with the chat.
    let output = chat.output();
    let messages = output.split("\x1b[?7h").filter(|part| part.contains("eve: "));
    assert_eq!(messages.clone().count(), 7);
    assert!(messages.clone().all(|message| message.contains("\x1b[?7l")), "{output:?}");
    assert!(output.contains("\\u{ad}\\u{ad}") && !output.contains('\u{ad}'), "{output:?}");
}

#[test]
fn listen_escapes_invisible_characters_on_a_terminal_but_not_in_a_pipe() {
    let server = Server::start(&[]);
    let mut eve = server.client();
    let text = "a\u{ad}b\tc\u{e0041} 👩\u{200d}🚀";
    eve.ask(&format!("say {text}"), &format!("broadcast 1 1 {text}"));
    for (format, on_terminal, in_pipe) in [
        ("text", "a\\u{ad}b        c\\u{e0041} 👩\u{200d}🚀\x1b[?7h\r\n", format!("{text}\n")),
        (
            "lines",
            "broadcast 1 1 a\\u{ad}b  c\\u{e0041} 👩\u{200d}🚀\x1b[?7h\r\n",
            format!("broadcast 1 1 {text}\n"),
        ),
        (
            "json",
            r#""text":"a\u00adb\tc\udb40\udc41 👩"#,
            "\"text\":\"a\u{ad}b\\tc\u{e0041} 👩\u{200d}🚀\"}\n".to_owned(),
        ),
    ] {
        let listen = || {
            let mut command = oyez();
            command.args(["-s", &server.address.to_string(), "listen", "--since", "0"]);
            command.args(["--count", "1", "--format", format]);
            command
        };
        let mut terminal = Terminal::start(&mut listen(), 24, 200);
        terminal.wait_until(|terminal| terminal.output().contains(on_terminal));
        assert!(!terminal.output().contains('\u{ad}'));
        let output = listen().output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        assert!(output.ends_with(&in_pipe), "{output:?}");
    }
}

#[test]
fn no_color_disables_colors() {
    let server = Server::start(&[]);
    for (variable, has_color) in [("OYEZ_NOTHING", true), ("NO_COLOR", false)] {
        let mut command = oyez();
        command.args(["-s", &server.address.to_string()]).env(variable, "1");
        let mut chat = Terminal::start(&mut command, 24, COLUMNS);
        chat.press("hello\r");
        chat.wait_until(|chat| chat.rows().iter().any(|row| row.ends_with("> hello")));
        let output = chat.output();
        let is_colored = output.contains("\x1b[1m>\x1b[m");
        assert_eq!(is_colored, has_color, "{output:?}");
    }
}

#[test]
fn dumb_terminal_is_refused() {
    for term in ["dumb", ""] {
        let mut chat = Terminal::start_as(term, &mut oyez(), 24, COLUMNS);
        assert_eq!(chat.program.wait().code(), Some(2));
        let error = format!("that can move its cursor, but TERM is {term:?}");
        chat.program.stderr.expect(&error);
        assert_eq!(chat.output(), "");
    }
}

#[test]
fn idle_chat_writes_nothing() {
    let server = Server::start(&[]);
    let mut chat = chat(&server, &[], "1>");
    chat.press("x");
    chat.expect(&["1> x"]);
    assert_eq!(chat.read_until_quiet_for(Duration::from_millis(500)), "");
}

#[test]
fn narrow_terminal_truncates_a_long_prompt() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let name = "a2345678901234567890123456789012";
    let mut command = oyez();
    command.args(["-s", &server.address.to_string(), "--name", name]).env("NO_COLOR", "1");
    let mut chat = Terminal::start(&mut command, 24, 24);
    chat.expect(&["a234567890123456789"]);
    for i in 0..5 {
        bob.send(&format!("say {i}"));
    }
    let rows = ["bob: 0", "bob: 1", "bob: 2", "bob: 3", "bob: 4", "a234567890123456789"];
    chat.expect(&rows);
    chat.press("xyz");
    chat.expect(&["bob: 4", "a234567890123456789xyz"]);
}

#[test]
fn oversized_paste_is_refused_and_the_line_is_kept() {
    let server = Server::start(&[]);
    let mut chat = chat(&server, &[], "1>");
    chat.press("kept");
    chat.press(&format!("\x1b[200~{}\x1b[201~", "x".repeat(70_000)));
    chat.expect(&[
        "! the text exceeds 64 KiB; to send a file, run: oyez",
        "      broadcast - < FILE",
        "1> kept",
    ]);
}

#[test]
fn input_that_is_not_utf8_is_refused_and_the_line_is_kept() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    // This test's terminal does not show U+FFFD.
    let expect_kept = |chat: &mut Terminal, line: &str| {
        let [first, second, third] = [
            "! not sent: the line has U+FFFD in place of bytes that",
            "      are not UTF-8; replace it, and set the terminal and",
            "      the locale to UTF-8",
        ];
        chat.expect(&[first, second, third, &line.replace('\u{fffd}', "")]);
        assert!(chat.output().contains(line));
    };
    // ISO 8859-1, with Enter directly after the character, and in a slash command and a paste.
    chat.press_bytes(b"caf\xe9\r");
    expect_kept(&mut chat, "al> caf�");
    chat.press("\x15/send bob ");
    chat.press_bytes(b"\xe9t\xe9\r");
    expect_kept(&mut chat, "al> /send bob �t�");
    chat.press_bytes(b"\x15\x1b[200~one\rtw\xf6\x1b[201~\r");
    expect_kept(&mut chat, "al> one↵tw�");
    chat.press("\x7fö\r");
    bob.expect("broadcast 1 al one");
    bob.expect("broadcast 2 al twö");
    // A character may arrive in two parts.
    chat.press_bytes(&[0xc3]);
    chat.press_bytes(&[0xa9, b'\r']);
    bob.expect("broadcast 3 al é");
}

#[test]
fn terminal_without_utf8_receives_only_ascii() {
    let server = Server::start(&[]);
    let mut eve = server.client();
    eve.ask("name eve", "ok name eve");
    // In ISO 8859-1, the second byte of U+00DB begins a control sequence.
    let text = "Û1;1H12:00 root: approvedÛK";
    let shown = "\\u{db}1;1H12:00 root: approved\\u{db}K";
    eve.ask(&format!("say {text}"), &format!("broadcast 1 eve {text}"));
    for locale in ["C", "de_DE.ISO-8859-1", "de_DE"] {
        let start = |arguments: &[&str]| {
            let mut command = oyez();
            command.args(["-s", &server.address.to_string()]).args(arguments);
            Terminal::start(command.env("LC_ALL", locale).env("NO_COLOR", "1"), 24, COLUMNS)
        };
        let mut chat = start(&[]);
        chat.wait_until(|chat| chat.output().contains("- the locale is not UTF-8: "));
        chat.press("\x1b[200~a\nb\x1b[201~\x15/history 1\r");
        chat.wait_until(|chat| chat.output().contains(&format!("eve: {shown}")));
        chat.press("é\x01");
        chat.wait_until(|chat| chat.output().contains("> \\u{e9}"));
        assert!(chat.output().is_ascii(), "{:?}", chat.output());
        for format in ["text", "lines", "json"] {
            let mut listen = start(&["listen", "--since", "0", "--count", "1", "--format", format]);
            assert_eq!(listen.program.wait().code(), Some(0));
            listen.wait_until(|listen| listen.output().ends_with("\r\n"));
            assert!(listen.output().is_ascii(), "{:?}", listen.output());
        }
    }
}

#[test]
fn second_signal_ends_a_chat_with_a_stuck_terminal() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &[], "2>");
    // Unread output fills the terminal's buffer.
    chat.stop_reading();
    let flood = format!("say {}\n", "x".repeat(1000)).repeat(500);
    bob.send_bytes(flood.as_bytes());
    while bob.line() != format!("broadcast 500 bob {}", "x".repeat(1000)) {}
    chat.program.signal("TERM");
    // The first signal may wait for the terminal. The second must not.
    while chat.program.try_wait().is_none() {
        chat.program.signal("TERM");
    }
}
