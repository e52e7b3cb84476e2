//! Line framing, checked against a simple model for every split of fixed inputs into three packets.
//! Also replays the committed fuzz corpora.
#![allow(clippy::unwrap_used)]

mod support;

use support::properties::{self, MAX_LINE, line_model, lines_of};
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
        b"\x16\x03\x01\x02\x00\x01\n\nping\n".to_vec(),
        b"ping\n\x16\n \r".to_vec(),
        b"GET / HTTP/1.1".to_vec(),
        Vec::new(),
    ]
}

#[test]
fn every_split_gives_the_same_lines() {
    for input in inputs() {
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
