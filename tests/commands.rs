//! Every command and its replies, as transcripts over TCP, Unix sockets and TLS.

mod support;

use oyez::protocol::{COMMANDS, OkReply, Reply};
use support::Server;
use support::transcript::{play, play_with};

#[test]
fn pong_repeats_the_text_of_ping() {
    play(
        r"
        a+
        a> ping
        a< pong
        a> PING  two words\x20
        a< pong  two words\x20
        a> ping\r
        a< pong
        a> ping\x20
        a< pong
        ",
    );
}

#[test]
fn broadcasts_reach_every_client_in_one_order() {
    play(
        r"
        a+
        b+
        c+
        a> broadcast one
        b< broadcast 1 1 one
        b> say two
        a< broadcast 1 1 one
        a< broadcast 2 2 two
        b< broadcast 2 2 two
        c> SAY  three\t
        a< broadcast 3 3  three\t
        c< broadcast 1 1 one
        c< broadcast 2 2 two
        c< broadcast 3 3  three\t
        d+
        d> ping
        d< pong
        ",
    );
}

#[test]
fn replies_and_broadcasts_keep_the_order_of_the_commands() {
    play(
        r"
        a+
        a~ say a\nping\nsay b\nstats x\nping 2\n
        a< broadcast 1 1 a
        a< pong
        a< broadcast 2 1 b
        a< error bad-argument usage: stats
        a< pong 2
        ",
    );
}

#[test]
fn names_are_unique_ignoring_case_and_attribute_broadcasts() {
    play(
        r"
        a+
        b+
        a> name Alice
        a< ok name Alice
        b> name aLICE
        b< error name-taken *
        a> name alice
        a< ok name alice
        a> say hi
        b< broadcast 1 alice hi
        a< broadcast 1 alice hi
        a> name bob
        a< ok name bob
        b> name ALICE
        b< ok name ALICE
        a> name 1a
        a< error bad-argument usage: name <name>; a name has 1 to 32 of A-Z a-z 0-9 _ . -, and starts with a letter
        a> name
        a< error missing-argument usage: name <name>; a name has 1 to 32 of A-Z a-z 0-9 _ . -, and starts with a letter
        b> quit
        b< goodbye quit
        b|
        a> name alice
        a< ok name alice
        ",
    );
}

#[test]
fn send_reaches_only_its_recipient() {
    play(
        r"
        a+
        b+
        c+
        b> name Bob
        b< ok name Bob
        a> send bOB hi  there
        a< ok send bOB
        b< direct 1 hi  there
        b> send 001 hello
        b< ok send 001
        a< direct Bob hello
        a> send 1 to myself
        a< direct 1 to myself
        a< ok send 1
        c> ping
        c< pong
        a> send nobody hi
        a< error no-such-client *
        a> send 99 hi
        a< error no-such-client *
        a> send 2
        a< error missing-argument usage: send <client> <text>
        a> send +2 hi
        a< error bad-argument usage: send <client> <text>
        ",
    );
}

#[test]
fn clients_are_listed_by_ascending_id() {
    play(
        r"
        a+
        b+
        c+
        b> name bob
        b< ok name bob
        a> clients
        a< client 1 -
        a< client 2 bob
        a< client 3 -
        a< ok clients 3 3
        b> quit
        b< goodbye quit
        b|
        a> clients 1
        a< client 3 -
        a< ok clients 1 2
        a> clients 3
        a< ok clients 0 2
        a> clients x
        a< error bad-argument usage: clients [after-id]
        ",
    );
}

#[test]
fn clients_lists_500_clients_per_page() {
    let server = Server::start(&[]);
    let mut clients: Vec<_> = (0..600).map(|_| server.client()).collect();
    let asker = &mut clients[0];
    asker.send("clients");
    for id in 1..=500 {
        asker.expect(&format!("client {id} -"));
    }
    asker.expect("ok clients 500 600");
    asker.send("clients 500");
    for id in 501..=600 {
        asker.expect(&format!("client {id} -"));
    }
    asker.expect("ok clients 100 600");
}

#[test]
fn quiet_client_receives_no_broadcasts_until_listen() {
    play(
        r"
        a+
        b+
        a> say 1
        b< broadcast 1 1 1
        b~ quiet\nsay 2\n
        b< ok quiet
        b< ok broadcast 2
        a< broadcast 1 1 1
        a< broadcast 2 2 2
        a> say 3
        a< broadcast 3 1 3
        a> send 2 psst
        a< ok send 2
        b< direct 1 psst
        b> listen
        b< ok listen 3
        b> listen
        b< ok listen 3
        a> say 4
        b< broadcast 4 1 4
        b> quiet
        b< ok quiet
        b> quiet
        b< ok quiet
        b> ping
        b< pong
        ",
    );
}

#[test]
fn quiet_and_listen_take_effect_in_order() {
    play(
        r"
        a+
        a~ say 1\nquiet\nsay 2\nlisten\nsay 3\nping\n
        a< broadcast 1 1 1
        a< ok quiet
        a< ok broadcast 2
        a< ok listen 2
        a< broadcast 3 1 3
        a< pong
        ",
    );
}

#[test]
fn history_and_resume_replay_kept_lines() {
    play(
        r"
        a+
        a~ say 1\nsay 2\nsay 3\nping\n
        a< broadcast 1 1 1
        a< broadcast 2 1 2
        a< broadcast 3 1 3
        a< pong
        b+
        b> history 2
        b< ok history 2
        b< broadcast 2 1 2
        b< broadcast 3 1 3
        a> say 4
        b< broadcast 4 1 4
        b> resume 1
        b< ok resume 1
        b< broadcast 2 1 2
        b< broadcast 3 1 3
        b< broadcast 4 1 4
        b> resume 4
        b< ok resume 4
        b> resume 5
        b< error bad-argument the newest line is 4
        b> resume 4 00000000
        b< error gone 1 * not this feed
        b> history 0
        b< ok history 0
        b> history 18446744073709551615
        b< ok history 4
        b< broadcast 1 1 1
        b< broadcast 2 1 2
        b< broadcast 3 1 3
        b< broadcast 4 1 4
        a< broadcast 4 1 4
        a> say 5
        b< broadcast 5 1 5
        b> quiet
        b< ok quiet
        b> history 1
        b< ok history 1
        b< broadcast 5 1 5
        a> say 6
        b< broadcast 6 1 6
        ",
    );
}

#[test]
fn malformed_commands_are_errors_and_the_connection_stays_open() {
    play(
        r"
        a+
        a> pong
        a< error unknown-command help lists the commands
        a> \x20ping
        a< error unknown-command *
        a> \tping
        a< error unknown-command *
        a> ping\tx
        a< error unknown-command *
        a> \x20\t\x20
        a>
        a> say
        a< error missing-argument usage: broadcast <text>
        a> quit now
        a< error bad-argument usage: quit
        a> history
        a< error missing-argument usage: history <count>
        a> resume -1
        a< error bad-argument usage: resume <seq> [feed]
        a> auth secret
        a< error not-allowed *
        a> ping
        a< pong
        ",
    );
}

#[test]
fn lines_that_are_not_text_are_refused() {
    play(
        r"
        a+
        b+
        a> say \x1b[2J
        a< error not-text *
        a> say \xc2\x9b2J
        a< error not-text *
        a> say \0
        a< error not-text *
        a> say a\rb
        a< error not-text *
        a> say \xff
        a< error not-text *
        a> say \xe2\x80\xa8
        a< error not-text *
        a> \x7f
        a< error not-text *
        a> say 你好 👩‍🚀 שלום é
        a< broadcast 1 1 你好 👩‍🚀 שלום é
        b< broadcast 1 1 你好 👩‍🚀 שלום é
        ",
    );
}

#[test]
fn lines_longer_than_max_line_are_refused() {
    let longest = "x".repeat(200 - "say ".len());
    play_with(
        &["--max-line", "200"],
        &format!(
            r"
            a+
            a> say {longest}
            a< broadcast 1 1 {longest}
            a> say {longest}\r
            a< broadcast 2 1 {longest}
            a> say {longest}y
            a< error line-too-long at most 200 bytes
            a~ say {longest}y
            a< error line-too-long *
            a> {longest}{longest}{longest}
            a> ping {longest}
            a< error line-too-long *
            a> ping
            a< pong
            "
        ),
    );
}

#[test]
fn help_lists_every_command_and_stats_every_counter() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.send("help");
    for command in &COMMANDS {
        client.expect(&format!("help {} - {}", command.usage, command.help));
    }
    client.expect("ok help");
    client.send("stats");
    let mut keys = vec![];
    loop {
        match Reply::parse(&client.line()) {
            Some(Reply::Stat { key, .. }) => keys.push(key.to_owned()),
            reply => {
                assert_eq!(reply, Some(Reply::Ok(OkReply::Stats)));
                break;
            }
        }
    }
    let documented = "uptime_seconds clients clients_total refused lines_in errors broadcasts \
                      directs bytes_in bytes_out feed_bytes feed_oldest feed_newest too_slow \
                      lagged held log_dropped max_line";
    assert_eq!(keys, documented.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn stats_counts_clients_lines_and_bytes() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.ask("say one", "broadcast 1 1 one");
    client.ask("stats xx", "error bad-argument usage: stats");
    client.send("");
    let mut other = server.client();
    other.ask("send 1 hi", "ok send 1");
    client.expect("direct 2 hi");
    for (key, value) in [
        ("clients", 2),
        ("clients_total", 2),
        ("refused", 0),
        ("broadcasts", 1),
        ("directs", 1),
        ("errors", 1),
        ("feed_oldest", 1),
        ("feed_newest", 1),
        ("feed_bytes", "broadcast 1 1 one\n".len() as u64),
        ("too_slow", 0),
        ("held", 0),
        ("max_line", 4096),
    ] {
        assert_eq!(client.stat(key), value, "{key}");
    }
    let sent = "say one\nstats xx\n\n".len() + "send 1 hi\n".len() + 13 * "stats\n".len();
    assert_eq!(client.stat("bytes_in"), sent as u64, "twelve stats above, and this one");
}

#[test]
fn foreign_protocols_are_closed_and_nothing_is_executed() {
    let long = "x".repeat(5000);
    for request in [
        "POST / HTTP/1.1\\r\\nContent-Length: 30\\r\\n\\r\\nshutdown\\nbroadcast pwned\\n"
            .to_owned(),
        format!("POST /{long} HTTP/1.1\\r\\n\\r\\nshutdown\\nbroadcast pwned\\n"),
        "BREW /pot HTTP/1.0\\r\\n\\r\\nshutdown\\nbroadcast pwned\\n".to_owned(),
        "say / HTTP/1.1\\r\\nAccept: *\\r\\n\\r\\nshutdown\\nbroadcast pwned\\n".to_owned(),
        "name http://host/ HTTP/1.1\\r\\n\\r\\nshutdown\\nbroadcast pwned\\n".to_owned(),
        "hello\\nHost: localhost\\nshutdown\\nbroadcast pwned\\n".to_owned(),
        "\\x16\\x03\\x01\\x02\\x00\\nshutdown\\nbroadcast pwned\\n".to_owned(),
        "PROXY TCP4 192.0.2.1 192.0.2.2 40000 5050\\r\\nshutdown\\nbroadcast pwned\\n".to_owned(),
        "PROXY UNKNOWN\\r\\nshutdown\\nbroadcast pwned\\n".to_owned(),
        "\\r\\n\\r\\n\\x00\\r\\nQUIT\\n\\x20\\x00\\x00\\x00shutdown\\nbroadcast pwned\\n"
            .to_owned(),
    ] {
        let error = if request.starts_with("hello") { "h< error unknown-command *" } else { "" };
        play(&format!(
            "
            a+
            h+
            h~ {request}
            {error}
            h|
            a> ping
            a< pong
            "
        ));
    }
}

#[test]
fn overlong_first_line_that_ends_like_http_closes_the_connection() {
    let long = "x".repeat(5000);
    play(&format!(
        r"
        h+
        h~ BREW /{long} HTTP/1.1\r\nshutdown\n
        h< error line-too-long *
        h|
        i+
        i~ say /{long} HTTP/1.1\r\nshutdown\n
        i< error line-too-long *
        i|
        a+
        a> say {long} HTTP/1.1
        a< error line-too-long *
        a> ping
        a< pong
        "
    ));
}
