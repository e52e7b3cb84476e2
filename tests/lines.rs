//! The line rules, against a simple model, at every place where a packet may end.
#![allow(clippy::unwrap_used)]

mod support;

use support::properties::{self, MAX_LINE, lines_of, model};
use support::simulation;

/// Something of everything: long lines, CR LF, control bytes, broken UTF-8, U+2028, no LF at the end.
fn mixed_inputs() -> Vec<Vec<u8>> {
    let just_fits = "x".repeat(MAX_LINE);
    let long = "y".repeat(3 * MAX_LINE);
    let text = format!(
        "ping\r\n\n \t\r\nping \u{1f600}\n{just_fits}\r\n{just_fits}\n{just_fits}\rz\n{long}\r\nsay \x1b[2J\n\
         say a\u{2028}b\nsay \u{9b}x\n\r\r\nsay \0\n{long} HTTP/1.1\nhost\n你好\nsay half"
    );
    let mut broken = text.clone().into_bytes();
    broken.splice(0..0, *b"say \xff\xfe\n\xc3\n");
    let with = |end: &str| format!("{text}{end}").into_bytes();
    vec![
        text.clone().into_bytes(),
        broken,
        with("\n"),
        with("\r"),
        with("\nHost: x\nshutdown\n"),
        format!("{just_fits}\r").into_bytes(),
        format!("{just_fits}\r\r\nping").into_bytes(),
        format!("\n \nPOST /{long} HTTP/1.1\r\nbroadcast x\n").into_bytes(),
        format!("BREW /{long} HTTP/1.1\r\nbroadcast x\n").into_bytes(),
        format!("say /{long} HTTP/1.1\r\nping\n").into_bytes(),
        b"FETCH / HTTP/1.0\r\nping\n".to_vec(),
        b"say I like HTTP/1.1\nGET x\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\n\nping\n".to_vec(),
        b"ping\n\x16\n \r".to_vec(),
        b"GET / HTTP/1.1".to_vec(),
        Vec::new(),
    ]
}

#[test]
fn every_split_gives_what_the_unsplit_input_gives() {
    for input in mixed_inputs() {
        let expected = model(&input);
        assert_eq!(lines_of(&[&input]), expected, "{:?}", String::from_utf8_lossy(&input));
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let packets = [&input[..first], &input[first..second], &input[second..]];
                assert_eq!(lines_of(&packets), expected, "cut at {first} and {second}");
            }
        }
    }
}

#[test]
fn what_the_model_says_is_what_the_rules_say() {
    let long = "y".repeat(MAX_LINE + 1);
    let input = format!("ping\r\n\nsay \u{1}\n{long}\nsay hi\nsay h");
    let expected = ["Text(\"ping\")", "Blank(\"\")", "NotText([115, 97, 121, 32, 1])", "TooLong"];
    let lines = model(input.as_bytes());
    assert_eq!(lines[..4], expected);
    assert_eq!(lines[4..], ["Text(\"say hi\")", "Incomplete([115, 97, 121, 32, 104])"]);
    assert_eq!(model(b"GET / HTTP/1.1\nping\n"), ["Foreign(Http)"]);
    assert_eq!(model(b"ping\nGET /\nhost: x\nping\n").last().unwrap(), "Foreign(Http)");
    assert_eq!(model(b"\x16\x03\x01"), ["Foreign(Tls)"]);
}

#[test]
fn the_committed_corpora_hold() {
    type Property = fn(&[u8]);
    let targets: [(&str, Property); 4] = [
        ("hub", simulation::day),
        ("line_buffer", properties::line_buffer),
        ("command", properties::command),
        ("reply", properties::reply),
    ];
    for (target, property) in targets {
        let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let mut files = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            eprintln!("{}", path.display());
            property(&std::fs::read(&path).unwrap());
            files += 1;
        }
        assert!(files >= 10, "{folder} has {files} files only");
    }
}
