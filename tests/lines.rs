//! Line framing, checked against a simple model for every split of fixed inputs into three packets.
//! Also replays the committed fuzz corpora.
#![allow(clippy::unwrap_used)]

mod support;

use oyez::protocol::{Line, LineBuffer, TelnetCommand};

use support::properties::{self, MAX_LINE, MAX_SUBNEGOTIATION, line_model, lines_of};
use support::simulation;

/// Inputs with overlong lines, CR LF, control characters, invalid UTF-8, U+2028, foreign protocols
/// and incomplete last lines.
fn inputs() -> Vec<Vec<u8>> {
    let longest = "x".repeat(MAX_LINE);
    let too_long = "y".repeat(3 * MAX_LINE);
    let text = format!(
        "ping\r\n\n \t\r\nping \u{1f600}\n{longest}\r\n{longest}\n{longest}\rz\n{too_long}\r\n\
         say \x1b[2J\nsay a\u{2028}b\nsay \u{9b}x\n\r\r\nsay \0\n{too_long} HTTP/1.1\nhost\n\
         你好\nsay half"
    );
    let mut invalid_utf8 = text.clone().into_bytes();
    invalid_utf8.splice(0..0, *b"say \xff\xfe\n\xc3\n");
    let with_end = |end: &str| format!("{text}{end}").into_bytes();
    vec![
        text.clone().into_bytes(),
        invalid_utf8,
        with_end("\n"),
        with_end("\r"),
        with_end("\nHost: x\nshutdown\n"),
        format!("{longest}\r").into_bytes(),
        format!("{longest}\r\r\nping").into_bytes(),
        format!("\n \nPOST /{too_long} HTTP/1.1\r\nbroadcast x\n").into_bytes(),
        format!("BREW /{too_long} HTTP/1.1\r\nbroadcast x\n").into_bytes(),
        format!("say /{too_long} HTTP/1.1\r\nping\n").into_bytes(),
        b"FETCH / HTTP/1.0\r\nping\n".to_vec(),
        b"say I like HTTP/1.1\nGET x\n".to_vec(),
        b"say like HTTP/1.1\nping\n".to_vec(),
        b"say /x HTTP/1.1\r\nping\n".to_vec(),
        b"name http://x/ HTTP/1.0\nping\n".to_vec(),
        b"say /x is not HTTP/1.1\nping\n".to_vec(),
        b"ping\nsay /x HTTP/1.1\nping\n".to_vec(),
        format!("say {too_long} HTTP/1.1\r\nping\n").into_bytes(),
        format!("say /{} HTTP/1.1\r\nping\n", "x".repeat(MAX_LINE - 9)).into_bytes(),
        b"\x16\x03\x01\x02\x00\x01\n\nping\n".to_vec(),
        b"ping\n\x16\n \r".to_vec(),
        b"GET / HTTP/1.1".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 5050\r\nping\n".to_vec(),
        format!("PROXY {too_long}\nping\n").into_bytes(),
        b"proxy x\nPROXY x\nping\n".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0cping\nping\n".to_vec(),
        b"\r\n\r\n\0\r".to_vec(),
        b"ping\n\0\nping\n\0x\nping\n".to_vec(),
        b"\0x\nping\n".to_vec(),
        Vec::new(),
    ]
}

/// Inputs with Telnet commands and byte order marks: between lines and inside them, incomplete, at
/// the limits, before and after what makes a line too long or foreign.
fn telnet_inputs() -> Vec<Vec<u8>> {
    let longest = [b'x'; MAX_LINE];
    let too_long = [b'y'; 3 * MAX_LINE];
    let nops = b"\xff\xf1".repeat(MAX_LINE / 2);
    let subnegotiation = |len: usize| [b"\xff\xfa", &vec![b's'; len - 4][..], b"\xff\xf0"].concat();
    let parts: [&[&[u8]]; 31] = [
        &[b"\xff\xfb\x1f\xff\xfb\x20ping\r\npi\xff\xf4\xff\xfd\x06ng\r\n\xff\xfc\x01\xff\xfe\x03ping\r\n"],
        &[b"ping\xff\xfd\x06\nping \xff\xfd\nping\n\xff\nping\nping \xff\xff\xfd\x06\nping \xffx\n"],
        &[b"\xff\xfa\x1f\0\x50\0\x18\xff\xf0ping\n\xff\xfa\x1f\0\x0a\0\x18\xff\xf0ping\nping\n"],
        &[b"\xff\xfa\x18\0xterm\xff\xf4x\xff\xf0y\nping\n\xff\xfa\x1f\xff\xff\xff\xf0ping\n"],
        &[&longest, b"\xff\xfd\x06\r\n", &longest, b"\r\xff\xfd\x06\n", &longest, b"\r\xff\xf1z\n"],
        &[&too_long, b"\xff\xfd\x06", &too_long, b"\xff\xfd\x07\nping\n"],
        &[&longest[1..], b"\xff\xfd\x06\xc3\xff\xfd\x07\xa9z\xff\xfd\x08z\nping\n"],
        &[b"BREW / HTTP\xff\xfd\x06/1.\xff\xf11\xff\xfd\x07\r\xff\xf1\nping\n"],
        &[b"BREW /", &too_long, b" HTTP\xff\xfd\x06/1.\xff\xf11\xff\xfd\x07\r\xff\xf1\nping\n"],
        &[b"\xff\xfd\x06\x16\xff\xfd\x07\x03\n"],
        &[b"\xff\xf1\xef\xff\xfd\x06\xbb\xff\xfd\x07\xbf\xff\xfd\x08ping\n\xef\xbb\xbfping\n"],
        &[b"\xef\xbb\xbf\xef\xbb\xbfping\nping\n"],
        &[b"\xef\xbb\xbf\x16\x03\n"],
        &[b"\xef\xbb\xbfGET / HTTP/1.1\r\nping\n"],
        &[b"\xef\xbb\xbf \r\n\xef\xbb\xbfping\n"],
        &[b"\n\xef\xbb\xbfping\n"],
        &[b"\xef\xbb\xbf", &longest, b"\r\n", &longest, b"z\n"],
        &[b"\xef\xbb\xbf"],
        &[b"\xef\xbb\n\xef\xbb\xbf\n"],
        &[b"\xef"],
        &[b"\xff\xfd\x06GET /\xff\xfd\x07 HTTP/1.1\nping\n"],
        &[b"G\xff\xf1ET / HTTP/1.1\nping\n"],
        &[b"ping\nHo\xff\xfd\x06st: x\nping\n"],
        &[b"ping\n", &nops, b"pi", &nops, b"ng\n", &nops],
        &[b"\xff"],
        &[b"ping\xff\xfb"],
        &[b"\xff\xfb\x1f"],
        &[b"\xff\xfa\x18\0xterm\xff"],
        &[b" \xff\xf1\t\xff"],
        &[&subnegotiation(MAX_SUBNEGOTIATION), b"ping\n"],
        &[b"x", &subnegotiation(MAX_SUBNEGOTIATION + 1), b"\nping\n"],
    ];
    parts.map(<[&[u8]]>::concat).to_vec()
}

#[test]
fn every_split_gives_the_same_lines() {
    for input in inputs().into_iter().chain(telnet_inputs()) {
        let expected = line_model(&input);
        assert_eq!(lines_of(&[&input]), expected, "{:?}", String::from_utf8_lossy(&input));
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let packets = [&input[..first], &input[first..second], &input[second..]];
                assert_eq!(lines_of(&packets), expected, "split at {first} and {second}");
            }
        }
    }
}

#[test]
fn line_model_follows_the_line_rules() {
    let too_long = "y".repeat(MAX_LINE + 1);
    let input = format!("ping\r\n\nsay \u{1}\n{too_long}\nsay hi\nsay h");
    let expected = ["Text(\"ping\")", "Blank(\"\")", "NotText([115, 97, 121, 32, 1])", "TooLong"];
    let lines = line_model(input.as_bytes());
    assert_eq!(lines[..4], expected);
    assert_eq!(lines[4..], ["Text(\"say hi\")", "Incomplete([115, 97, 121, 32, 104])"]);
    assert_eq!(line_model(b"GET / HTTP/1.1\nping\n"), ["Foreign(Http)"]);
    assert_eq!(line_model(b"ping\nGET /\nhost: x\nping\n").last().unwrap(), "Foreign(Http)");
    assert_eq!(line_model(b"\x16\x03\x01"), ["Foreign(Tls)"]);
    assert_eq!(
        line_model(b"\xff\xfb\x1fpi\xff\xf4\xff\xfd\x06ng\n\xff\xfd\n\xff\xff\n"),
        [
            "Telnet(Will(31))",
            "Telnet(Unanswered)",
            "Telnet(Do(6))",
            "Text(\"ping\")",
            "NotText([255, 253])",
            "NotText([255, 255])"
        ]
    );
    assert_eq!(line_model(b"\xef\xbb\xbfping\n"), ["Text(\"ping\")"]);
}

#[test]
fn telnet_commands_are_removed_from_replies() {
    let mut buffer = LineBuffer::for_replies(MAX_LINE);
    buffer.push(b"\xff\xfc\x06pong\nGET / HTTP/1.1\nHost: x\n\xff\xfe");
    for line in [
        Line::Telnet(TelnetCommand::Unanswered),
        Line::Text("pong"),
        Line::Text("GET / HTTP/1.1"),
        Line::Text("Host: x"),
    ] {
        assert_eq!(buffer.peek(), Some(line));
        buffer.advance();
    }
    assert_eq!(buffer.peek(), None);
}

#[test]
fn telnet_commands_and_byte_order_marks_are_kept_in_local_input() {
    let mut buffer = LineBuffer::without_foreign_detection(MAX_LINE);
    buffer.push(b"\xff\xfd\x06ping\n\xef\xbb\xbfping\n");
    assert_eq!(buffer.peek(), Some(Line::NotText(b"\xff\xfd\x06ping")));
    buffer.advance();
    assert_eq!(buffer.peek(), Some(Line::Text("\u{feff}ping")));
}

#[test]
fn memory_is_bounded_while_telnet_commands_are_removed() {
    let mut buffer = LineBuffer::new(MAX_LINE);
    let packet = [b"\xff\xf1".repeat(1000), b"\xff\xfa".repeat(1000), vec![0xff; 1001]].concat();
    for _ in 0..100 {
        buffer.push(&packet);
        while buffer.peek().is_some() {
            buffer.advance();
        }
        assert!(buffer.buffered_bytes() <= MAX_LINE + MAX_SUBNEGOTIATION);
    }
}

/// Unit tests of the library replay the corpora of the targets `client` and `tls`.
#[test]
fn fuzz_corpora_pass() {
    type Property = fn(&[u8]);
    let targets: [(&str, Property); 4] = [
        ("hub", simulation::run_bytes),
        ("line_buffer", properties::line_buffer_matches_the_model),
        ("command", properties::command_round_trips),
        ("reply", properties::reply_round_trips),
    ];
    for (target, property) in targets {
        let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let mut files = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // Printed only if the test fails.
            eprintln!("{}", path.display());
            property(&std::fs::read(&path).unwrap());
            files += 1;
        }
        assert!(files >= 10, "{folder} has only {files} files");
    }
}
