//! A simple model of the protocol: what each client must receive.
//!
//! The model executes the same lines as the hub, in the same order. The hub has one feed and a
//! cursor for each client; the model has a queue of expected lines for each client instead. It has
//! no budgets, no sockets and no clock.
//!
//! The model frames and parses requests with the production [`LineBuffer`] and [`Command::parse`],
//! so it cannot detect a bug in either. `tests/lines.rs`, the parser's unit tests and the fuzz
//! targets `line_buffer` and `command` test those two. The model also accepts the hub's decisions
//! on which client's line is executed next, whether a recipient is busy, and how much of the feed
//! is kept.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use oyez::hub::{AllowShutdown, Reason, SlowConsumerPolicy};
use oyez::protocol::{COMMANDS, Command, FeedId, Line, LineBuffer, Recipient};

pub const FEED: FeedId = FeedId(0xc0ffee);
pub const USER_SECRET: &str = "sesame";
pub const ADMIN_SECRET: &str = "swordfish";

pub struct Model {
    pub max_line: usize,
    pub slow_clients: SlowConsumerPolicy,
    pub has_user_secret: bool,
    pub has_admin_secret: bool,
    pub allow_shutdown: AllowShutdown,
    pub has_rate_limit: bool,
    /// Every broadcast line. The first has sequence number 1.
    pub feed: Vec<String>,
    /// The sequence number of the oldest kept line, before and after the current turn.
    pub oldest: RangeInclusive<u64>,
    /// Every client so far, including closed ones, by id.
    pub clients: BTreeMap<u64, Client>,
    pub is_shutting_down: bool,
}

pub struct Client {
    pub stage: Stage,
    is_local: bool,
    name: Option<String>,
    is_admin: bool,
    wrong_secrets: u8,
    is_quiet: bool,
    /// It has moved its cursor back and not caught up. Until then it may be evicted even if its
    /// socket accepts bytes.
    pub is_replaying: bool,
    /// Input that the hub has read but not executed.
    input: LineBuffer,
    /// The output that it must still receive, in order.
    expected: VecDeque<Expected>,
    /// The output that it has received of a partial line.
    partial: String,
    /// Its connection is broken: it receives nothing more.
    pub write_closed: bool,
    /// The hub has read the end of its input.
    has_eof: bool,
    /// One of its lines has closed it, but the hub has not reported that line yet.
    was_closed_by_line: bool,
    /// The sum of its `lagged` counts.
    pub missed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Handshaking,
    Unauthenticated,
    Active,
    Closing(Reason),
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// A line only for this client. A `*` at its end matches any text.
    Line(String),
    /// A direct message that the hub may have refused with `busy`.
    MaybeLine(String),
    /// The broadcast with this sequence number.
    Broadcast(u64),
    /// A seek of the cursor. One `lagged` line does not count broadcasts on both sides of it.
    Seek,
}

impl Client {
    fn new(max_line: usize, is_local: bool) -> Self {
        Self {
            stage: Stage::Handshaking,
            is_local,
            name: None,
            is_admin: false,
            wrong_secrets: 0,
            is_quiet: false,
            is_replaying: false,
            input: LineBuffer::new(max_line),
            expected: VecDeque::new(),
            partial: String::new(),
            write_closed: false,
            has_eof: false,
            was_closed_by_line: false,
            missed: 0,
        }
    }

    /// Takes the client's input, without leading blank lines.
    fn take_input(&mut self) -> LineBuffer {
        let mut input = std::mem::replace(&mut self.input, LineBuffer::new(0));
        skip_blank_lines(&mut input);
        input
    }

    /// Drops a pending goodbye and all pending broadcasts, except for the rest of a partial line.
    fn drop_broadcasts(&mut self) {
        let mut is_partial = !self.partial.is_empty();
        self.expected.retain(|item| match item {
            Expected::Seek => false,
            Expected::Broadcast(_) => std::mem::take(&mut is_partial),
            Expected::MaybeLine(_) => true,
            Expected::Line(line) => {
                is_partial = false;
                !line.starts_with("goodbye ")
            }
        });
    }

    /// Drops the next `count` broadcasts. All of them must be before the next seek.
    fn skip_broadcasts(&mut self, count: u64) {
        self.skip_seeks();
        for _ in 0..count {
            let seek = self.expected.iter().position(|item| *item == Expected::Seek);
            let end = seek.unwrap_or(self.expected.len());
            let mut before_seek = self.expected.iter().take(end);
            let next = before_seek.position(|item| matches!(item, Expected::Broadcast(_)));
            self.expected.remove(next.expect("lagged counts only pending broadcasts"));
        }
        self.missed += count;
    }

    fn skip_seeks(&mut self) {
        while let Some(Expected::Seek) = self.expected.front() {
            self.expected.pop_front();
        }
    }

    /// Checks that this line is the next one expected.
    fn receive(&mut self, id: u64, line: &str, feed: &[String]) {
        self.skip_seeks();
        while let Some(Expected::MaybeLine(optional)) = self.expected.front() {
            let is_equal = optional == line;
            self.expected.pop_front();
            if is_equal {
                return;
            }
            self.skip_seeks();
        }
        let next = self.expected.pop_front();
        let expected = match &next {
            Some(Expected::Broadcast(seq)) => &feed[*seq as usize - 1],
            Some(Expected::Line(line)) => line,
            Some(Expected::Seek | Expected::MaybeLine(_)) | None => {
                panic!("client {id} received {line:?}, but no output was expected")
            }
        };
        let is_expected = match expected.strip_suffix('*') {
            Some(beginning) if matches!(next, Some(Expected::Line(_))) => {
                line.starts_with(beginning)
            }
            _ => line == expected,
        };
        assert!(is_expected, "client {id} received {line:?}, but {expected:?} was expected");
    }

    fn expect(&mut self, line: impl Into<String>) {
        self.expected.push_back(Expected::Line(line.into()));
    }

    /// Returns whether the hub executes its lines.
    fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Unauthenticated | Stage::Active)
    }

    /// Returns whether it has received all expected output.
    pub fn has_received_all(&self) -> bool {
        let is_due = |item: &Expected| matches!(item, Expected::Line(_) | Expected::Broadcast(_));
        self.partial.is_empty() && !self.expected.iter().any(is_due)
    }

    /// Returns whether the hub has no line of this client left to execute.
    pub fn is_input_done(&mut self) -> bool {
        skip_blank_lines(&mut self.input);
        !self.is_open() || self.input.peek().is_none()
    }

    /// Describes the output that it must still receive, for assert messages.
    pub fn outstanding(&self) -> String {
        let next: Vec<&Expected> = self.expected.iter().take(3).collect();
        let (count, partial) = (self.expected.len(), &self.partial);
        format!("{count} items from {next:?}, after the partial line {partial:?}")
    }
}

fn skip_blank_lines(input: &mut LineBuffer) {
    while let Some(Line::Blank(_)) = input.peek() {
        input.advance();
    }
}

impl Model {
    pub fn connect(&mut self, id: u64, is_local: bool) {
        self.clients.insert(id, Client::new(self.max_line, is_local));
    }

    pub fn client(&mut self, id: u64) -> &mut Client {
        self.clients.get_mut(&id).expect("the client has connected")
    }

    /// Returns the clients that receive broadcasts and direct messages and are listed.
    fn active(&self) -> impl Iterator<Item = (u64, &Client)> {
        let clients = self.clients.iter().map(|(id, client)| (*id, client));
        clients.filter(|(_, client)| client.stage == Stage::Active)
    }

    fn newest(&self) -> u64 {
        self.feed.len() as u64
    }

    pub fn finish_handshake(&mut self, id: u64) {
        let welcome = format!("welcome {id} {FEED} {} oyezd/*", self.newest());
        let stage = if self.has_user_secret { Stage::Unauthenticated } else { Stage::Active };
        let client = self.client(id);
        client.stage = stage;
        client.expect(welcome);
    }

    /// Handles bytes that the hub has read or, if `None`, the end of input.
    pub fn handle_input(&mut self, id: u64, bytes: Option<&[u8]>) {
        let client = self.client(id);
        match bytes {
            _ if !client.is_open() => {}
            Some(bytes) => client.input.push(bytes),
            None => {
                client.input.end();
                client.has_eof = true;
            }
        }
    }

    /// Executes the client's next line, as the hub has done. `answered` is the last line of its
    /// reply.
    pub fn execute(&mut self, id: u64, answered: &str) {
        if std::mem::take(&mut self.client(id).was_closed_by_line) {
            return;
        }
        let client = self.client(id);
        assert!(client.is_open(), "client {id}: a line was executed in stage {:?}", client.stage);
        let mut input = client.take_input();
        match input.peek().expect("the hub executes only lines that it has read") {
            Line::Text(text) => self.request(id, text, answered),
            Line::NotText(_) => self.client(id).expect("error not-text *"),
            Line::TooLong => self.client(id).expect("error line-too-long *"),
            Line::Incomplete(_) => self.client(id).expect("error incomplete-line *"),
            line => panic!("client {id} is still open after {line:?}"),
        }
        input.advance();
        self.client(id).input = input;
    }

    fn request(&mut self, id: u64, text: &str, answered: &str) {
        let word = text.split(' ').next().unwrap_or_default().to_ascii_lowercase();
        let newest = self.newest();
        let client = self.client(id);
        let is_before_auth = ["ping", "help", "auth", "quit"].contains(&word.as_str());
        if client.stage != Stage::Active && !is_before_auth {
            return client.expect("error auth-required *");
        }
        let command = match Command::parse(text) {
            Ok(command) => command,
            Err(error) => return client.expect(format!("error {} *", error.code.as_str())),
        };
        match command {
            Command::Ping { text: None } => client.expect("pong"),
            Command::Ping { text: Some(text) } => client.expect(format!("pong {text}")),
            Command::Broadcast { text } => self.broadcast(id, text),
            Command::Send { client, text } => self.send(id, client, text, answered),
            Command::Name { name } => self.rename(id, name.as_str()),
            Command::Clients { after } => self.list(id, after.unwrap_or(0)),
            Command::History { count } => self.history(id, count, answered),
            Command::Resume { seq, feed } => self.resume(id, seq, feed, answered),
            Command::Quiet => {
                client.is_quiet = true;
                client.expect("ok quiet");
            }
            Command::Listen => {
                client.expect(format!("ok listen {newest}"));
                if std::mem::take(&mut client.is_quiet) {
                    client.expected.push_back(Expected::Seek);
                }
            }
            Command::Stats => self.stats(id),
            Command::Help => {
                for spec in &COMMANDS {
                    client.expect(format!("help {} - {}", spec.usage, spec.help));
                }
                client.expect("ok help");
            }
            Command::Auth { secret } => self.authenticate(id, secret),
            Command::Shutdown if !self.may_shut_down(id) => {
                self.client(id).expect("error not-allowed *");
            }
            Command::Quit | Command::Shutdown => {
                panic!("client {id} is still open after {text:?}")
            }
        }
    }

    fn name_of(&self, id: u64) -> String {
        self.clients[&id].name.clone().unwrap_or_else(|| id.to_string())
    }

    fn broadcast(&mut self, id: u64, text: &str) {
        let seq = self.newest() + 1;
        self.feed.push(format!("broadcast {seq} {} {text}", self.name_of(id)));
        for client in self.clients.values_mut() {
            if client.stage == Stage::Active && !client.is_quiet {
                client.expected.push_back(Expected::Broadcast(seq));
            }
        }
        if self.client(id).is_quiet {
            self.client(id).expect(format!("ok broadcast {seq}"));
        }
    }

    fn find(&self, recipient: Recipient<'_>) -> Option<u64> {
        let typed = recipient.as_str();
        let is_recipient = |id: u64, client: &Client| match recipient {
            Recipient::Id { id: wanted, .. } => id == wanted,
            Recipient::Name(_) => has_name(client, typed),
        };
        self.active().find(|(id, client)| is_recipient(*id, client)).map(|(id, _)| id)
    }

    fn send(&mut self, id: u64, recipient: Recipient<'_>, text: &str, answered: &str) {
        let from = self.name_of(id);
        let Some(to) = self.find(recipient) else {
            return self.client(id).expect("error no-such-client *");
        };
        if answered.starts_with("error busy ") {
            let to = &self.clients[&to];
            assert!(
                to.write_closed || !to.expected.is_empty(),
                "client {id} received busy for a recipient without pending output"
            );
            return self.client(id).expect("error busy *");
        }
        let direct = format!("direct {from} {text}");
        if self.client(id).write_closed {
            // The sender's connection is broken and its reply lost, so the model does not know
            // whether the recipient was busy.
            return self.client(to).expected.push_back(Expected::MaybeLine(direct));
        }
        self.client(to).expect(direct);
        self.client(id).expect(format!("ok send {}", recipient.as_str()));
    }

    fn rename(&mut self, id: u64, name: &str) {
        let is_taken = self.active().any(|(other, client)| other != id && has_name(client, name));
        if is_taken {
            return self.client(id).expect("error name-taken *");
        }
        self.client(id).name = Some(name.to_owned());
        self.client(id).expect(format!("ok name {name}"));
    }

    fn list(&mut self, id: u64, after: u64) {
        let name = |client: &Client| client.name.clone().unwrap_or_else(|| "-".to_owned());
        let active: Vec<_> = self.active().map(|(id, client)| (id, name(client))).collect();
        let total = active.len();
        let page: Vec<_> = active.into_iter().filter(|(id, _)| *id > after).take(500).collect();
        for (listed, name) in &page {
            self.client(id).expect(format!("client {listed} {name}"));
        }
        self.client(id).expect(format!("ok clients {} {total}", page.len()));
    }

    fn history(&mut self, id: u64, count: u64, answered: &str) {
        let newest = self.newest();
        if self.client(id).write_closed {
            return self.replay_unseen(id);
        }
        let lines = answered.strip_prefix("ok history ").and_then(|number| number.parse().ok());
        let lines: u64 = lines.unwrap_or_else(|| panic!("the reply to history is {answered:?}"));
        assert!(lines <= count, "the reply to history {count} is {answered:?}");
        if lines < count {
            let from = newest + 1 - lines;
            assert!(
                self.oldest.contains(&from),
                "history {count} begins at {from}, which is not the oldest kept line"
            );
        }
        self.client(id).expect(format!("ok history {lines}"));
        self.replay(id, newest - lines);
    }

    fn resume(&mut self, id: u64, seq: u64, feed: Option<FeedId>, answered: &str) {
        let newest = self.newest();
        if self.client(id).write_closed {
            return self.replay_unseen(id);
        }
        let may_be_gone = seq.saturating_add(1) < *self.oldest.end();
        let must_be_gone = seq.saturating_add(1) < *self.oldest.start();
        if feed.is_some_and(|feed| feed != FEED) || must_be_gone {
            return self.client(id).expect("error gone *");
        }
        if may_be_gone && answered.starts_with("error gone ") {
            return self.client(id).expect("error gone *");
        }
        if seq > newest {
            return self.client(id).expect("error bad-argument *");
        }
        self.client(id).expect(format!("ok resume {seq}"));
        self.replay(id, seq);
    }

    /// Moves the cursor back: expects all lines after `seq` again.
    fn replay(&mut self, id: u64, seq: u64) {
        let newest = self.newest();
        let client = self.client(id);
        client.is_quiet = false;
        client.is_replaying |= seq < newest;
        client.expected.push_back(Expected::Seek);
        client.expected.extend((seq + 1..=newest).map(Expected::Broadcast));
    }

    /// Like `replay`, for a broken connection: it receives nothing.
    fn replay_unseen(&mut self, id: u64) {
        let client = self.client(id);
        client.is_quiet = false;
        client.is_replaying = true;
    }

    fn stats(&mut self, id: u64) {
        let active = self.active().count();
        let (newest, total) = (self.newest(), self.clients.len());
        for stat in [
            "uptime_seconds *".to_owned(),
            format!("clients {active}"),
            format!("clients_total {total}"),
            "refused *".to_owned(),
            "lines_in *".to_owned(),
            "errors *".to_owned(),
            format!("broadcasts {newest}"),
            "directs *".to_owned(),
            "bytes_in *".to_owned(),
            "bytes_out *".to_owned(),
            "feed_bytes *".to_owned(),
            "feed_oldest *".to_owned(),
            format!("feed_newest {newest}"),
            "too_slow *".to_owned(),
            "lagged *".to_owned(),
            "held *".to_owned(),
            "log_dropped *".to_owned(),
            format!("max_line {}", self.max_line),
        ] {
            self.client(id).expect(format!("stat {stat}"));
        }
        self.client(id).expect("ok stats");
    }

    fn authenticate(&mut self, id: u64, secret: &str) {
        if !self.has_user_secret && !self.has_admin_secret {
            return self.client(id).expect("error not-allowed *");
        }
        let is_admin = self.has_admin_secret && secret == ADMIN_SECRET;
        let is_user = self.has_user_secret && secret == USER_SECRET;
        let client = self.client(id);
        if !is_admin && !is_user {
            client.wrong_secrets += 1;
            assert!(client.wrong_secrets < 3, "client {id} is still open after 3 wrong secrets");
            return client.expect("error auth-failed *");
        }
        client.wrong_secrets = 0;
        client.is_admin |= is_admin;
        let role = if client.is_admin { "admin" } else { "user" };
        client.expect(format!("ok auth {role}"));
        client.stage = Stage::Active;
    }

    fn may_shut_down(&self, id: u64) -> bool {
        let client = &self.clients[&id];
        match self.allow_shutdown {
            AllowShutdown::Nobody => false,
            AllowShutdown::Local => client.is_local || client.is_admin,
            AllowShutdown::Admin => client.is_admin,
        }
    }

    /// Starts closing a client, as the hub has done. Checks that the reason is valid.
    pub fn begin_close(&mut self, id: u64, reason: Reason) {
        let may_shut_down = self.may_shut_down(id);
        let (policy, is_shutting_down) = (self.slow_clients, self.is_shutting_down);
        let has_rate_limit = self.has_rate_limit;
        let client = self.client(id);
        let stage = client.stage;
        let mut input = client.take_input();
        let next = if client.is_open() { input.peek() } else { None };
        let command = match next {
            Some(Line::Text(text)) => Command::parse(text).ok(),
            _ => None,
        };
        let is_by_line = match reason {
            Reason::Quit => command == Some(Command::Quit),
            Reason::Shutdown => command == Some(Command::Shutdown) && may_shut_down,
            Reason::AuthFailed => {
                matches!(command, Some(Command::Auth { .. })) && client.wrong_secrets == 2
            }
            Reason::Foreign(_) => matches!(next, Some(Line::Foreign(_))),
            _ => false,
        };
        // The model does not track the pending output of a broken connection. The hub still has it
        // until a read or write fails.
        let may_be_behind = client.write_closed || !client.expected.is_empty();
        let is_valid = match reason {
            Reason::Shutdown => is_by_line || is_shutting_down,
            Reason::Quit | Reason::AuthFailed => is_by_line,
            Reason::Foreign(_) => is_by_line || stage == Stage::Closing(reason),
            Reason::EndOfInput => next.is_none() && client.has_eof,
            // With a rate limit, a client that hung up may be closed before its last line is
            // executed.
            Reason::Lost => client.write_closed && (next.is_none() || has_rate_limit),
            Reason::TooSlow => match policy {
                SlowConsumerPolicy::Disconnect => may_be_behind,
                SlowConsumerPolicy::Skip => false,
                SlowConsumerPolicy::Block => client.is_replaying,
            },
            Reason::Stalled => policy == SlowConsumerPolicy::Block && may_be_behind,
            Reason::Idle => stage == Stage::Active,
            Reason::AuthTimeout => matches!(stage, Stage::Handshaking | Stage::Unauthenticated),
            Reason::HandshakeFailed => stage == Stage::Handshaking,
        };
        assert!(
            is_valid,
            "client {id} in stage {stage:?} was closed for {reason:?} before {next:?}"
        );
        client.was_closed_by_line = is_by_line && stage != Stage::Closing(reason);
        client.stage = Stage::Closing(reason);
        if let Stage::Handshaking = stage {
            return;
        }
        let is_evicted = match reason {
            Reason::TooSlow | Reason::Stalled => true,
            // An eviction does not replace this reason, so a repeated event means an eviction.
            Reason::Foreign(_) => stage == client.stage,
            _ => false,
        };
        if is_evicted {
            client.drop_broadcasts();
        }
        if let Some(word) = reason.goodbye() {
            client.expect(format!("goodbye {word}"));
        }
    }

    /// Checks that the bytes that a client has received are the output expected next.
    pub fn handle_output(&mut self, id: u64, bytes: &[u8]) {
        let max_len = self.max_line + 64;
        let skips = self.slow_clients == SlowConsumerPolicy::Skip;
        let feed = std::mem::take(&mut self.feed);
        let client = self.client(id);
        client.partial.push_str(std::str::from_utf8(bytes).expect("all output is text"));
        while let Some((line, rest)) = client.partial.split_once('\n') {
            assert!(line.len() < max_len, "client {id} received a line of {} bytes", line.len());
            let (line, rest) = (line.to_owned(), rest.to_owned());
            match line.strip_prefix("lagged ") {
                Some(count) if skips => client.skip_broadcasts(count.parse().unwrap()),
                _ => client.receive(id, &line, &feed),
            }
            client.partial = rest;
        }
        client.is_replaying &= !client.has_received_all();
        self.feed = feed;
    }
}

fn has_name(client: &Client, name: &str) -> bool {
    client.name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name))
}
