//! The keys of `oyez chat`, on a pseudoterminal.
#![cfg(feature = "chat")]
#![allow(clippy::unwrap_used)]

mod support;

use support::terminal::Terminal;
use support::{Client, Server, oyez};

const TAB: &str = "\t";
const SHIFT_TAB: &str = "\x1b[Z";
const CTRL_C: &str = "\x03";
const CTRL_G: &str = "\x07";
const CTRL_R: &str = "\x12";
const CTRL_U: &str = "\x15";
const CTRL_Y: &str = "\x19";
const ESCAPE: &str = "\x1b";

/// Starts a chat as al, without colors, and waits until it has joined. After that, it shows nothing
/// by itself.
fn chat(server: &Server) -> Terminal {
    let mut command = oyez();
    command.args(["-s", &server.address.to_string(), "--name", "al", "--no-presence"]);
    let mut chat = Terminal::start(command.env("NO_COLOR", "1"), 24, 80);
    chat.wait_until(|chat| {
        let rows = chat.rows();
        rows.iter().any(|row| row.contains(" here: ")) && rows.ends_with(&["al>".to_owned()])
    });
    chat
}

fn named(server: &Server, name: &str) -> Client {
    let mut client = server.client();
    client.ask(&format!("name {name}"), &format!("ok name {name}"));
    client
}

/// Waits until the last row is this one, and the cursor is in this column.
#[track_caller]
fn expect_input(chat: &mut Terminal, row: &str, column: usize) {
    chat.wait_until(|chat| {
        chat.rows().ends_with(&[row.to_owned()]) && usize::from(chat.cursor().1) == column
    });
}

#[test]
fn tab_completes_names_and_commands() {
    let server = Server::start(&[]);
    let mut bob = named(&server, "bob");
    let mut bert = named(&server, "Bert");
    let mut chat = chat(&server);
    bert.send("say hi");
    chat.expect(&["Bert: hi", "al>"]);
    bob.send("say hi");
    chat.expect(&["bob: hi", "al>"]);
    // The most recent sender is the first candidate.
    chat.press(&format!("b{TAB}"));
    expect_input(&mut chat, "al> bob:", 9);
    chat.press(TAB);
    expect_input(&mut chat, "al> Bert:", 10);
    chat.press(TAB);
    expect_input(&mut chat, "al> bob:", 9);
    chat.press(SHIFT_TAB);
    expect_input(&mut chat, "al> Bert:", 10);
    chat.press(&format!("and BO{TAB}x{TAB}"));
    expect_input(&mut chat, "al> Bert: and bob x", 19);
    chat.press(&format!("{CTRL_U}/SEN{TAB}"));
    expect_input(&mut chat, "al> /send", 10);
    chat.press(&format!("{TAB}bo{TAB}psst\r"));
    chat.expect(&["[> bob] psst", "al>"]);
    // Without a candidate, nothing happens.
    chat.press(&format!("zed{TAB}{SHIFT_TAB} /he{TAB}, {TAB}!"));
    expect_input(&mut chat, "al> zed /he, !", 14);
}

#[test]
fn ctrl_r_searches_the_history() {
    let server = Server::start(&[]);
    let mut bob = named(&server, "bob");
    let mut chat = chat(&server);
    chat.press("first foo\rsecond foo\rbar\rdraft");
    for (i, text) in ["first foo", "second foo", "bar"].iter().enumerate() {
        bob.expect(&format!("broadcast {} al {text}", i + 1));
    }
    chat.press(CTRL_R);
    chat.expect(&["(search) '': draft"]);
    chat.press("FO");
    expect_input(&mut chat, "(search) 'FO': second foo", 22);
    chat.press("o");
    chat.expect(&["(search) 'FOo': second foo"]);
    chat.press(CTRL_R);
    chat.expect(&["(search) 'FOo': first foo"]);
    chat.press(CTRL_R);
    chat.expect(&["(no match) 'FOo': first foo"]);
    // Enter does not send a line that the user was not looking for.
    chat.press("\r");
    expect_input(&mut chat, "al> first foo", 10);
    chat.press("\x05!\r");
    bob.expect("broadcast 4 al first foo!");
    // Enter sends the match.
    chat.press(&format!("{CTRL_R}bar\r"));
    bob.expect("broadcast 5 al bar");
    chat.expect(&["> bar", "al>"]);
    // Ctrl-C and Ctrl-G restore the line.
    for cancel in [CTRL_C, CTRL_G] {
        chat.press(&format!("{CTRL_U}draft{CTRL_R}foo"));
        chat.expect(&["(search) 'foo': first foo!"]);
        chat.press(cancel);
        expect_input(&mut chat, "al> draft", 9);
    }
    // Escape and the arrow keys accept the line for editing.
    chat.press(&format!("{CTRL_R}bar{ESCAPE}"));
    expect_input(&mut chat, "al> bar", 4);
    chat.press(&format!("{CTRL_R}second\x1b[C\x1b[C"));
    expect_input(&mut chat, "al> second foo", 6);
    // Up and Down continue at the line that was found.
    chat.press("\x1b[A");
    chat.expect(&["al> first foo"]);
}

#[test]
fn ctrl_c_clears_the_line_before_it_quits() {
    let server = Server::start(&[]);
    let mut bob = named(&server, "bob");
    let mut chat = chat(&server);
    chat.press("half a line");
    chat.expect(&["al> half a line"]);
    chat.press(CTRL_C);
    expect_input(&mut chat, "al>", 4);
    chat.press(&format!("not {CTRL_Y}\r"));
    bob.expect("broadcast 1 al not half a line");
    // The first one cancels the search, the second one clears the line.
    chat.press(&format!("x{CTRL_R}not{CTRL_C}"));
    chat.expect(&["al> x"]);
    chat.press(CTRL_C);
    chat.expect(&["al>"]);
    chat.press(CTRL_C);
    assert_eq!(chat.program.wait().code(), Some(0));
}

#[test]
fn unknown_keys_insert_nothing() {
    let server = Server::start(&[]);
    let mut chat = chat(&server);
    let unknown = [
        "\x1bOP\x1bOQ\x1bOR\x1bOS\x1b[[A\x1b[11~\x1b[24;2~\x1bO5P\x1b[1;2Q",
        "\x1bOp\x1bOj\x1b[27;5;97~\x1b[97;5u\x1b[M !!\x1b[<0;1;1M\x1b[I\x1b[O\x1b[5~",
    ];
    for keys in unknown {
        chat.press(keys);
        // The bytes may also arrive one by one.
        for byte in keys.bytes() {
            chat.press_bytes(&[byte]);
        }
        chat.press(".");
    }
    chat.expect(&["al> .."]);
}

#[test]
fn space_before_a_command_is_refused_and_the_line_is_kept() {
    let server = Server::start(&[]);
    let mut bob = named(&server, "bob");
    let mut chat = chat(&server);
    for (typed, shown) in [(" /send bob x", "al>  /send bob x"), ("   /quit", "al>    /quit")] {
        chat.press(&format!("{CTRL_U}{typed}\r"));
        chat.expect(&[
            "! not sent: the line begins with a space or an invisible character; remove",
            "      it to run the command, or begin the line with // to send it as text",
            shown,
        ]);
    }
    // The advice works.
    chat.press(&format!("{CTRL_U}//quit\r a/b\r"));
    bob.expect("broadcast 1 al /quit");
    bob.expect("broadcast 2 al  a/b");
    chat.press(" /quit\r\x01\x1b[3~\r");
    assert_eq!(chat.program.wait().code(), Some(0));
}

#[test]
fn long_paste_is_sent_with_its_blank_lines() {
    let server = Server::start(&[]);
    let mut bob = named(&server, "bob");
    let mut chat = chat(&server);
    let lines: Vec<String> = (1..=100)
        .map(|i| if i % 10 == 5 { String::new() } else { format!("    line {i} of a file") })
        .collect();
    chat.press(&format!("\x1b[200~\r\r{}\r\r\x1b[201~", lines.join("\r")));
    chat.wait_until(|chat| {
        let rows = chat.rows();
        let [.., notice, typed] = &rows[..] else { return false };
        notice.ends_with("- Enter sends these 100 lines; Ctrl-C clears them")
            && typed.starts_with("al> <")
            && typed.ends_with("line 100 of a file↵↵")
    });
    chat.press("\r");
    for (i, line) in lines.iter().enumerate() {
        let line = if line.is_empty() { " " } else { line };
        bob.expect(&format!("broadcast {} al {line}", i + 1));
    }
    chat.expect(&[
        ">     line 94 of a file",
        ">",
        ">     line 96 of a file",
        ">     line 97 of a file",
        ">     line 98 of a file",
        ">     line 99 of a file",
        ">     line 100 of a file",
        "al>",
    ]);
}
