//! `oyez chat`, on a terminal that the test looks at.
#![cfg(feature = "chat")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::terminal::Terminal;
use support::{Client, Server, oyez, oyezd};

const COLUMNS: u16 = 60;

/// A terminal on which one chats, and where the prompt has come.
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
fn what_is_typed_goes_to_everybody_and_what_they_say_is_shown() {
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
fn commands_begin_with_a_slash() {
    let server = Server::start(&[]);
    let _bob = bob(&server);
    let mut chat = chat(&server, &[], "2>");
    chat.press("/name bob\r");
    chat.expect(&["! name-taken: somebody here has this name; choose", "      another", "2>"]);
    chat.press("/name al\r");
    chat.expect(&["- you are al now", "al>"]);
    chat.press("/clients\r");
    chat.expect(&["- 1 bob", "- 2 al", "- 2 of 2 clients", "al>"]);
    chat.press("/ping\r");
    chat.wait_until(|chat| {
        let rows = chat.rows();
        rows.iter().any(|row| row.contains("- the server has answered within "))
            && rows.ends_with(&["al>".to_owned()])
    });
    chat.press("/send carol x\r");
    chat.expect(&["! no-such-client: clients lists who is here", "al>"]);
    chat.press("/send bob\r");
    chat.expect(&["! usage: /send <client> <text>", "al>"]);
    chat.press("/help\r");
    chat.wait_until(|chat| chat.rows().iter().any(|row| row.contains("- /history N ")));
    chat.press("/quit\r");
    assert_eq!(chat.program.wait().code(), Some(0));
}

#[test]
fn lines_that_come_while_one_types_leave_the_typed_line_whole() {
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
    assert_eq!(prompts(&chat), 1, "it moves on, and leaves nothing behind");
    let long = "word ".repeat(40);
    bob.send(&format!("say {long}"));
    chat.expect(&[&format!("al> {typed}")]);
    chat.press("\r");
    assert_eq!(bob.line(), format!("broadcast {} bob {long}", typed.chars().count() + 1));
    bob.expect(&format!("broadcast {} al {typed}", typed.chars().count() + 2));
}

#[test]
fn wide_and_combined_characters_are_edited_as_one_sees_them() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    // Two to the left is before 好; Backspace takes 你; Ctrl-E goes to the end.
    chat.press("你好e\u{301}\x1b[D\x1b[D\x7f我");
    chat.expect(&["al> 我好e\u{301}"]);
    chat.wait_until(|chat| chat.cursor().1 == 6);
    chat.press("\x05x\x01>\x05\x7f\x7f👩‍🚀!\r");
    bob.expect("broadcast 1 al >我好👩‍🚀!");
    // The arrow keys bring lines back.
    chat.press("draft\x1b[A\x1b[D\x1b[D\x1b[3~?\r");
    bob.expect("broadcast 2 al >我好?!");
    chat.press("one two three\x17\x17\x15\x19\x19\r");
    bob.expect("broadcast 3 al one one ");
}

#[test]
fn a_long_line_scrolls_in_its_row() {
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
fn another_size_does_no_harm() {
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
            let [.., said, typed] = &rows[..] else { return false };
            said.contains(&text) && typed.starts_with("al> ")
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
fn what_is_pasted_is_sent_line_by_line_when_one_says_so() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    chat.press("\x1b[200~/quit\r\r  two\tx\r\x1b[201~");
    chat.expect(&["al> /quit↵↵  two x↵"]);
    chat.press("\r");
    bob.expect("broadcast 1 al /quit");
    bob.expect("broadcast 2 al   two\tx");
    chat.expect(&["> /quit", ">   two    x", "al>"]);
}

#[test]
fn the_terminal_is_given_back_as_it_was() {
    for ending in
        ["/quit\r", "\x04", "\x03", "half a line\x03", "TERM", "INT", "HUP", "the server's"]
    {
        let server = Server::start(&[]);
        let mut command = oyez();
        command.args(["-s", &server.address.to_string(), "--no-reconnect"]);
        let mut chat = Terminal::start(&mut command, 24, COLUMNS);
        let before = format!("{:?}", chat.modes());
        chat.expect(&["1>"]);
        assert_ne!(format!("{:?}", chat.modes()), before, "it is taken over");
        let status = match ending {
            "the server's" => {
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
        chat.wait_until(|chat| chat.sent().ends_with("\x1b[?2004l\x1b[?7h\x1b[m"));
        let shown = chat.rows().join("\n");
        assert!(!shown.contains("half") && !shown.contains("1>"), "the prompt is gone: {shown}");
    }
}

#[test]
fn it_comes_back_and_the_typed_line_stays() {
    let server = Server::start(&[]);
    let address = server.address.to_string();
    let mut chat = chat(&server, &["--name", "al"], "al>");
    server.signal("KILL");
    server.wait();
    chat.expect(&["(not connected) >"]);
    chat.press("kept\r");
    chat.expect(&[
        "! not sent, since the server does not answer: Enter",
        "      tries again",
        "(not connected) > kept",
    ]);
    let mut again = oyezd();
    again.args(["--listen", &address]);
    let server = Server::spawn(again);
    chat.expect(&[
        "- the server was restarted; lines sent just before",
        "      that may be missing",
        "al> kept",
    ]);
    let mut bob = bob(&server);
    chat.press("\r");
    bob.expect("broadcast 1 al kept");
}

#[test]
fn without_a_server_the_terminal_stays_as_it_was() {
    let mut command = oyez();
    command.args(["-s", "unix:/nowhere/socket"]);
    let mut chat = Terminal::start(&mut command, 24, COLUMNS);
    let before = format!("{:?}", chat.modes());
    assert_eq!(chat.program.wait().code(), Some(1));
    chat.program.stderr.expect("cannot reach unix:/nowhere/socket");
    assert_eq!(format!("{:?}", chat.modes()), before);
    assert_eq!(chat.sent(), "");
}

#[test]
fn nothing_a_server_says_is_obeyed_by_the_terminal() {
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = oyez();
    command.args(["-s", &host.local_addr().unwrap().to_string()]).env("NO_COLOR", "1");
    let mut chat = Terminal::start(&mut command, 24, COLUMNS);
    let mut server = Client::accept(&host);
    server.send("welcome 1 00c0ffee 0 oyezd/9 hi");
    chat.expect(&["1>"]);
    // What is no control but turns a line around is shown as what it is.
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
    chat.wait_until(|chat| chat.sent().ends_with("\x1b[m"));
    assert!(!chat.sent().contains("\x1b[2J") && !chat.sent().contains("\x1b]"));
}

#[test]
fn colour_is_for_terminals_and_never_with_no_color() {
    let server = Server::start(&[]);
    for (variable, has_colour) in [("OYEZ_NOTHING", true), ("NO_COLOR", false)] {
        let mut command = oyez();
        command.args(["-s", &server.address.to_string()]).env(variable, "1");
        let mut chat = Terminal::start(&mut command, 24, COLUMNS);
        chat.press("hello\r");
        chat.wait_until(|chat| chat.rows().iter().any(|row| row.ends_with("> hello")));
        let sent = chat.sent();
        let coloured = sent.contains("\x1b[1m>\x1b[m");
        assert_eq!(coloured, has_colour, "{sent:?}");
    }
}

#[test]
fn a_terminal_that_can_do_nothing_is_none() {
    for (term, told) in [("dumb", "that can move its cursor"), ("", "that can move its cursor")] {
        let mut chat = Terminal::start_as(term, &mut oyez(), 24, COLUMNS);
        assert_eq!(chat.program.wait().code(), Some(2));
        chat.program.stderr.expect(told);
        assert_eq!(chat.sent(), "");
    }
}

/// Nothing wakes it when nothing happens.
#[test]
fn an_idle_chat_does_nothing() {
    let server = Server::start(&[]);
    let mut chat = chat(&server, &[], "1>");
    chat.press("x");
    chat.expect(&["1> x"]);
    let sent = chat.rest_of_what_is_sent_in(Duration::from_millis(500));
    assert_eq!(sent, "");
}

#[test]
fn a_narrow_terminal_shows_what_there_is_room_for() {
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
fn too_much_at_once_is_refused_and_the_line_stays() {
    let server = Server::start(&[]);
    let mut chat = chat(&server, &[], "1>");
    chat.press("kept");
    chat.press(&format!("\x1b[200~{}\x1b[201~", "x".repeat(70_000)));
    chat.expect(&[
        "! too much for a line, and left out; what is long can",
        "      be piped: oyez broadcast -",
        "1> kept",
    ]);
}

#[test]
fn a_chat_whose_terminal_is_stuck_can_be_ended() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &[], "2>");
    // Nobody looks at the terminal any more, and it fills up.
    chat.look_away();
    let flood = format!("say {}\n", "x".repeat(1000)).repeat(500);
    bob.send_bytes(flood.as_bytes());
    while bob.line() != format!("broadcast 500 bob {}", "x".repeat(1000)) {}
    chat.program.signal("TERM");
    // One is a request, which may have to wait; two are not.
    while chat.program.try_wait().is_none() {
        chat.program.signal("TERM");
    }
}
