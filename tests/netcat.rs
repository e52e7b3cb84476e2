//! Real programs as clients: what people have at hand.
//!
//! A program that is not installed makes its tests ignored; under CI it makes them fail.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::RangeInclusive;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use libtest_mimic::{Arguments, Failed};
use support::installed::trial;
use support::{Server, TIMEOUT};

/// A way to connect: its name, the program it needs, and the command, for a shell.
struct Program {
    name: &'static str,
    needs: &'static str,
    command: &'static str,
    /// Whether it ends by itself at the end of its input, with every reply.
    ends: bool,
}

const PROGRAMS: [Program; 11] = [
    Program { name: "nc", needs: "nc", command: "exec nc 127.0.0.1 $PORT", ends: false },
    Program { name: "nc_N", needs: "nc", command: "exec nc -N 127.0.0.1 $PORT", ends: true },
    Program { name: "nc_q1", needs: "nc", command: "exec nc -q 1 127.0.0.1 $PORT", ends: true },
    Program { name: "ncat", needs: "ncat", command: "exec ncat 127.0.0.1 $PORT", ends: true },
    Program { name: "ncat_C", needs: "ncat", command: "exec ncat -C 127.0.0.1 $PORT", ends: true },
    Program {
        name: "socat",
        needs: "socat",
        command: "exec socat - TCP:127.0.0.1:$PORT",
        ends: true,
    },
    Program {
        name: "telnet",
        needs: "telnet",
        command: "exec telnet 127.0.0.1 $PORT",
        ends: false,
    },
    Program {
        name: "dev_tcp",
        needs: "bash",
        command: "exec 3<>/dev/tcp/127.0.0.1/$PORT; cat <&3 & while IFS= read -r line; \
                  do printf '%s\\n' \"$line\" >&3; done; kill $!",
        ends: false,
    },
    Program {
        name: "openssl",
        needs: "openssl",
        command: "exec openssl s_client -quiet -connect 127.0.0.1:$TLS_PORT",
        ends: false,
    },
    Program {
        name: "ncat_ssl",
        needs: "ncat",
        command: "exec ncat --ssl 127.0.0.1 $TLS_PORT",
        ends: true,
    },
    Program {
        name: "socat_openssl",
        needs: "socat",
        command: "exec socat - OPENSSL:127.0.0.1:$TLS_PORT,verify=0",
        ends: true,
    },
];

/// Those that this build of the server can talk to.
fn programs() -> impl Iterator<Item = &'static Program> {
    let is_served = |program: &&Program| cfg!(feature = "tls") || !program.needs_tls();
    PROGRAMS.iter().filter(is_served)
}

impl Program {
    fn needs_tls(&self) -> bool {
        self.command.contains("$TLS_PORT")
    }
}

/// A server with a plain and an encrypted port.
struct Ports {
    server: Server,
    tls_port: u16,
    _folder: tempfile::TempDir,
}

impl Ports {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        if cfg!(not(feature = "tls")) {
            return Self { server: Server::start(&[]), tls_port: 0, _folder: folder };
        }
        let path = folder.path().to_str().unwrap();
        let tls = ["--listen-tls", "127.0.0.1:0", "--tls-self-signed", path];
        let mut server = Server::start(&tls);
        let line = server.wait_for_log("listening on ");
        let tls_port = match support::address_in(&line) {
            support::Address::Tcp(address) => address.port(),
            other => panic!("{other}"),
        };
        Self { server, tls_port, _folder: folder }
    }

    /// A shell that knows them.
    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        command.env("PORT", self.server.port().to_string());
        command.env("TLS_PORT", self.tls_port.to_string());
        command
    }
}

/// A running program that one talks to and listens to.
struct Talker {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Talker {
    /// Starts the program, and waits for its welcome.
    fn start(program: &Program, ports: &Ports) -> Self {
        let mut child = ports
            .shell(program.command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines() {
                // telnet turns line ends into its terminal's.
                let line = line.unwrap().trim_end_matches('\r').to_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let talker = Self { child, stdin, lines };
        while !talker.line().unwrap().starts_with("welcome ") {}
        talker
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn line(&self) -> Result<String, Failed> {
        self.lines.recv_timeout(TIMEOUT).map_err(|_| Failed::from("no line came"))
    }

    fn expect(&self, line: &str) -> Result<(), Failed> {
        let said = self.line()?;
        if said == line {
            Ok(())
        } else {
            Err(format!("expected {line:?}, and got {said:?}").into())
        }
    }

    /// Reads lines up to this one.
    fn read_through(&self, last: &str) -> Result<Vec<String>, Failed> {
        let mut lines = vec![];
        while lines.last().map(String::as_str) != Some(last) {
            lines.push(self.line()?);
        }
        Ok(lines)
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three of a kind do all that the tables say.
fn talk(program: &Program) -> Result<(), Failed> {
    let server = Ports::start();
    let mut a = Talker::start(program, &server);
    let mut b = Talker::start(program, &server);
    let c = Talker::start(program, &server);
    a.say("ping are you there?");
    a.expect("pong are you there?")?;
    a.say("broadcast hello");
    for client in [&a, &b, &c] {
        client.expect("broadcast 1 1 hello")?;
    }
    b.say("name bob");
    b.expect("ok name bob")?;
    b.say("say Grüße, 你好");
    for client in [&a, &b, &c] {
        client.expect("broadcast 2 bob Grüße, 你好")?;
    }
    a.say("send bob psst");
    a.expect("ok send bob")?;
    b.expect("direct 1 psst")?;
    a.say("clients");
    let listed = a.read_through("ok clients 3 3")?;
    assert_eq!(listed[..3], ["client 1 -", "client 2 bob", "client 3 -"]);
    a.say("quiet");
    a.expect("ok quiet")?;
    a.say("say from the quiet one");
    a.expect("ok broadcast 3")?;
    b.expect("broadcast 3 1 from the quiet one")?;
    a.say("listen");
    a.expect("ok listen 3")?;
    a.say("stats");
    assert!(a.read_through("ok stats")?.contains(&"stat broadcasts 3".to_owned()));
    a.say("help");
    assert_eq!(a.read_through("ok help")?.len(), oyez::protocol::COMMANDS.len() + 1);
    a.say("nonsense");
    a.expect("error unknown-command help lists the commands")?;
    a.say("quit");
    a.expect("goodbye quit")?;
    b.say("clients");
    b.expect("client 2 bob")?;
    Ok(())
}

/// One who comes late sees what was said before, and then what is new, without a gap or a repeat.
fn look_back(program: &Program) -> Result<(), Failed> {
    let ports = Ports::start();
    let mut bob = ports.server.client();
    let mut say = |seqs: RangeInclusive<u64>| {
        for seq in seqs {
            bob.ask(&format!("say {seq}"), &format!("broadcast {seq} 1 {seq}"));
        }
    };
    say(1..=15);
    let mut late = Talker::start(program, &ports);
    let expect = |late: &Talker, seqs: RangeInclusive<u64>| {
        seqs.into_iter().try_for_each(|seq| late.expect(&format!("broadcast {seq} 1 {seq}")))
    };
    late.say("history 10");
    late.expect("ok history 10")?;
    expect(&late, 6..=15)?;
    say(16..=20);
    expect(&late, 16..=20)?;
    late.say("resume 13");
    late.expect("ok resume 13")?;
    expect(&late, 14..=20)?;
    say(21..=21);
    expect(&late, 21..=21)
}

/// What is piped in gets every reply, and then the end.
fn end(program: &Program) -> Result<(), Failed> {
    let server = Ports::start();
    let script = format!("printf 'ping\\nclients\\n' | ({})", program.command);
    let mut command = server.shell(&script);
    let (_, stdout, _) = support::Program::run(command.stdin(Stdio::null()));
    let (_, replies) = stdout.split_once('\n').unwrap_or_default();
    assert_eq!(replies, "pong\nclient 1 -\nok clients 1 1\n");
    Ok(())
}

/// All kinds together hear one another in one order.
fn together() -> Result<(), Failed> {
    let server = Ports::start();
    let mut talkers: Vec<_> = programs().map(|program| Talker::start(program, &server)).collect();
    for round in 0..20 {
        for talker in &mut talkers {
            talker.say(&format!("say {round}"));
        }
    }
    let lines = 20 * talkers.len();
    let mut heard = vec![];
    for talker in &talkers {
        let lines: Result<Vec<String>, Failed> = (0..lines).map(|_| talker.line()).collect();
        heard.push(lines?);
    }
    for (i, line) in heard[0].iter().enumerate() {
        assert!(line.starts_with(&format!("broadcast {} ", i + 1)), "{line}");
    }
    assert!(heard.iter().all(|lines| *lines == heard[0]), "they did not hear the same");
    Ok(())
}

/// The same programs at a Unix socket.
fn unix_socket() -> Result<(), Failed> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut command = support::oyezd();
    command.arg("--listen").arg(format!("unix:{}", path.display()));
    let _server = Server::spawn(command);
    for client in ["nc -N -U $SOCKET", "ncat -U $SOCKET", "socat - UNIX-CONNECT:$SOCKET"] {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("printf 'ping\\n' | {client}")]).env("SOCKET", &path);
        let (_, stdout, _) = support::Program::run(&mut command);
        assert!(stdout.ends_with("\npong\n"), "{client}: {stdout:?}");
    }
    Ok(())
}

fn main() {
    let mut trials = vec![
        trial(
            "all_together".to_owned(),
            &["nc", "ncat", "socat", "telnet", "bash", "openssl"],
            together,
        ),
        trial("at_a_unix_socket".to_owned(), &["nc", "ncat", "socat"], unix_socket),
    ];
    for program in programs() {
        trials.push(trial(format!("{}_talks", program.name), &[program.needs], || talk(program)));
        trials.push(trial(
            format!("{}_sees_what_was_before", program.name),
            &[program.needs],
            || look_back(program),
        ));
        if program.ends {
            trials.push(trial(
                format!("{}_gets_every_reply", program.name),
                &[program.needs],
                || end(program),
            ));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
