//! The protocol by a simple reading of it: what each client must be told, kept for each by itself.
//!
//! It is told of each line in the order in which the hub executes them, and works out what everybody
//! gets. Where the hub has one feed and cursors, here is a queue for each client; nothing is fast.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use oyez::hub::{AllowShutdown, Reason, SlowConsumerPolicy};
use oyez::protocol::{COMMANDS, Command, FeedId, Line, LineBuffer, Recipient};

pub const FEED: FeedId = FeedId(0xc0ffee);
pub const USER_SECRET: &str = "sesame";
pub const ADMIN_SECRET: &str = "swordfish";

/// What is said to whom, and what has been.
pub struct Model {
    pub max_line: usize,
    pub slow_clients: SlowConsumerPolicy,
    pub has_user_secret: bool,
    pub has_admin_secret: bool,
    pub allow_shutdown: AllowShutdown,
    pub has_rate_limit: bool,
    /// Every line that was broadcast, the first one's number being 1.
    pub feed: Vec<String>,
    /// The numbers that the oldest line may have that is still kept: it moves on while a turn lasts.
    pub oldest: RangeInclusive<u64>,
    pub clients: BTreeMap<u64, Client>,
    /// The server has begun to end.
    pub is_shutting_down: bool,
}

/// One client, as far as it can know itself.
pub struct Client {
    pub stage: Stage,
    is_local: bool,
    name: Option<String>,
    is_admin: bool,
    wrong_tries: u8,
    is_quiet: bool,
    /// It has asked for what was before, and may be lapped by its own doing.
    pub is_rewound: bool,
    lines: LineBuffer,
    /// What it must be told, in order.
    expected: VecDeque<Item>,
    /// The beginning of a line that has come.
    unfinished: String,
    /// It cannot be told anything any more.
    pub is_deaf: bool,
    /// Its input has ended.
    is_ended: bool,
    /// It was the line that the hub tells of next.
    has_left_by_this_line: bool,
    /// How many lines it was told that it misses.
    pub missed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Arriving,
    Outside,
    Inside,
    Leaving(Reason),
}

#[derive(Debug, PartialEq, Eq)]
enum Item {
    /// A line for it alone; after a `*`, anything.
    Line(String),
    /// A line for it that it may have been too busy for.
    Perhaps(String),
    /// The line of the feed with this number.
    Feed(u64),
    /// Its cursor moves here.
    Move,
}

impl Client {
    fn new(max_line: usize, is_local: bool) -> Self {
        Self {
            stage: Stage::Arriving,
            is_local,
            name: None,
            is_admin: false,
            wrong_tries: 0,
            is_quiet: false,
            is_rewound: false,
            lines: LineBuffer::new(max_line),
            expected: VecDeque::new(),
            unfinished: String::new(),
            is_deaf: false,
            is_ended: false,
            has_left_by_this_line: false,
            missed: 0,
        }
    }

    /// Its lines, from the next one that is not blank.
    fn take_lines(&mut self) -> LineBuffer {
        let mut lines = std::mem::replace(&mut self.lines, LineBuffer::new(0));
        while let Some(Line::Blank(_)) = lines.peek() {
            lines.advance();
        }
        lines
    }

    /// What it is owed of the feed is lost, but for the end of a line that it has got a part of.
    fn lose_feed(&mut self) {
        let mut is_half_sent = !self.unfinished.is_empty();
        self.expected.retain(|item| match item {
            Item::Move => false,
            Item::Feed(_) => std::mem::take(&mut is_half_sent),
            Item::Perhaps(_) => true,
            Item::Line(line) => {
                is_half_sent = false;
                !line.starts_with("goodbye ")
            }
        });
    }

    /// It misses so many lines of what comes before its cursor moves the next time.
    fn skip(&mut self, count: u64) {
        self.pass_moves();
        for _ in 0..count {
            let moves = self.expected.iter().position(|item| *item == Item::Move);
            let end = moves.unwrap_or(self.expected.len());
            let next =
                self.expected.iter().take(end).position(|item| matches!(item, Item::Feed(_)));
            self.expected.remove(next.expect("there is something to miss"));
        }
        self.missed += count;
    }

    /// It may have moved its cursor before its connection broke; it is told nothing in any case.
    fn rewind_unseen(&mut self) {
        self.is_quiet = false;
        self.is_rewound = true;
    }

    fn pass_moves(&mut self) {
        while let Some(Item::Move) = self.expected.front() {
            self.expected.pop_front();
        }
    }

    /// It is told this line.
    fn take(&mut self, id: u64, line: &str, feed: &[String]) {
        self.pass_moves();
        while let Some(Item::Perhaps(perhaps)) = self.expected.front() {
            let is_it = perhaps == line;
            self.expected.pop_front();
            if is_it {
                return;
            }
            self.pass_moves();
        }
        let next = self.expected.pop_front();
        let expected = match &next {
            Some(Item::Feed(seq)) => &feed[*seq as usize - 1],
            Some(Item::Line(line)) => line,
            Some(Item::Move | Item::Perhaps(_)) | None => {
                panic!("client {id}: {line:?}, and nothing is to come")
            }
        };
        let is_it = match expected.strip_suffix('*') {
            Some(beginning) if matches!(next, Some(Item::Line(_))) => line.starts_with(beginning),
            _ => line == expected,
        };
        assert!(is_it, "client {id}: {expected:?} was to come, and {line:?} came");
    }

    fn expect(&mut self, line: impl Into<String>) {
        self.expected.push_back(Item::Line(line.into()));
    }

    fn is_heard(&self) -> bool {
        matches!(self.stage, Stage::Outside | Stage::Inside)
    }

    /// Whether it has been told everything.
    pub fn is_told_all(&self) -> bool {
        let is_due = |item: &Item| matches!(item, Item::Line(_) | Item::Feed(_));
        self.unfinished.is_empty() && !self.expected.iter().any(is_due)
    }

    /// Whether all that it has said was executed.
    pub fn is_heard_out(&mut self) -> bool {
        while let Some(Line::Blank(_)) = self.lines.peek() {
            self.lines.advance();
        }
        !self.is_heard() || self.lines.peek().is_none()
    }

    /// What is still to come, for a message.
    pub fn outstanding(&self) -> String {
        let next: Vec<&Item> = self.expected.iter().take(3).collect();
        format!("{next:?} and {} in all, after {:?}", self.expected.len(), self.unfinished)
    }
}

impl Model {
    pub fn connect(&mut self, id: u64, is_local: bool) {
        self.clients.insert(id, Client::new(self.max_line, is_local));
    }

    pub fn client(&mut self, id: u64) -> &mut Client {
        self.clients.get_mut(&id).expect("it has connected")
    }

    fn newest(&self) -> u64 {
        self.feed.len() as u64
    }

    pub fn finish_handshake(&mut self, id: u64) {
        let welcome = format!("welcome {id} {FEED} {} oyezd/*", self.newest());
        let stage = if self.has_user_secret { Stage::Outside } else { Stage::Inside };
        let client = self.client(id);
        client.stage = stage;
        client.expect(welcome);
    }

    /// The hub has got these bytes of a client's, or its end.
    pub fn hear(&mut self, id: u64, bytes: Option<&[u8]>) {
        let client = self.client(id);
        match bytes {
            _ if !client.is_heard() => {}
            Some(bytes) => client.lines.push(bytes),
            None => {
                client.lines.end();
                client.is_ended = true;
            }
        }
    }

    /// The hub has executed the client's next line, and answered it with this in the end. It is believed
    /// where only it can know: whether somebody is busy, and what is kept.
    pub fn execute(&mut self, id: u64, answered: &str) {
        if std::mem::take(&mut self.client(id).has_left_by_this_line) {
            return;
        }
        let client = self.client(id);
        assert!(client.is_heard(), "client {id} is not heard");
        let mut lines = client.take_lines();
        match lines.peek().expect("a line was said before it was executed") {
            Line::Text(text) => self.request(id, text, answered),
            Line::NotText(_) => self.client(id).expect("error not-text *"),
            Line::TooLong => self.client(id).expect("error line-too-long *"),
            Line::Incomplete(_) => self.client(id).expect("error incomplete-line *"),
            line => panic!("client {id} has stayed after {line:?}"),
        }
        lines.advance();
        self.client(id).lines = lines;
    }

    fn request(&mut self, id: u64, text: &str, answered: &str) {
        let word = text.split(' ').next().unwrap_or_default().to_ascii_lowercase();
        let newest = self.newest();
        let client = self.client(id);
        let is_for_all = ["ping", "help", "auth", "quit"].contains(&word.as_str());
        if client.stage != Stage::Inside && !is_for_all {
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
                    client.expected.push_back(Item::Move);
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
            Command::Quit | Command::Shutdown => panic!("client {id} has stayed after {text}"),
        }
    }

    fn name_of(&self, id: u64) -> String {
        self.clients[&id].name.clone().unwrap_or_else(|| id.to_string())
    }

    fn broadcast(&mut self, id: u64, text: &str) {
        let seq = self.newest() + 1;
        self.feed.push(format!("broadcast {seq} {} {text}", self.name_of(id)));
        for client in self.clients.values_mut() {
            if client.stage == Stage::Inside && !client.is_quiet {
                client.expected.push_back(Item::Feed(seq));
            }
        }
        if self.client(id).is_quiet {
            self.client(id).expect(format!("ok broadcast {seq}"));
        }
    }

    fn find(&self, recipient: Recipient<'_>) -> Option<u64> {
        let typed = recipient.as_str();
        let mut inside = self.clients.iter().filter(|(_, client)| client.stage == Stage::Inside);
        let is_meant = |id: u64, client: &Client| match recipient {
            Recipient::Id { id: wanted, .. } => id == wanted,
            Recipient::Name(_) => {
                client.name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(typed))
            }
        };
        inside.find(|(id, client)| is_meant(**id, client)).map(|(id, _)| *id)
    }

    fn send(&mut self, id: u64, recipient: Recipient<'_>, text: &str, answered: &str) {
        let from = self.name_of(id);
        let Some(to) = self.find(recipient) else {
            return self.client(id).expect("error no-such-client *");
        };
        if answered.starts_with("error busy ") {
            let to = &self.clients[&to];
            assert!(to.is_deaf || !to.expected.is_empty(), "one who is told all is not busy");
            return self.client(id).expect("error busy *");
        }
        let direct = format!("direct {from} {text}");
        if self.client(id).is_deaf {
            return self.client(to).expected.push_back(Item::Perhaps(direct));
        }
        self.client(to).expect(direct);
        self.client(id).expect(format!("ok send {}", recipient.as_str()));
    }

    fn rename(&mut self, id: u64, name: &str) {
        let try_send_bytes = self.clients.iter().any(|(other, client)| {
            let has_it = |own: &String| own.eq_ignore_ascii_case(name);
            *other != id
                && client.stage == Stage::Inside
                && client.name.as_ref().is_some_and(has_it)
        });
        if try_send_bytes {
            return self.client(id).expect("error name-taken *");
        }
        self.client(id).name = Some(name.to_owned());
        self.client(id).expect(format!("ok name {name}"));
    }

    fn list(&mut self, id: u64, after: u64) {
        let inside = self.clients.iter().filter(|(_, client)| client.stage == Stage::Inside);
        let inside: Vec<(u64, String)> = inside
            .map(|(id, client)| (*id, client.name.clone().unwrap_or_else(|| "-".to_owned())))
            .collect();
        let total = inside.len();
        let shown: Vec<_> = inside.into_iter().filter(|(id, _)| *id > after).take(500).collect();
        for (listed, name) in &shown {
            self.client(id).expect(format!("client {listed} {name}"));
        }
        self.client(id).expect(format!("ok clients {} {total}", shown.len()));
    }

    fn history(&mut self, id: u64, count: u64, answered: &str) {
        let newest = self.newest();
        if self.client(id).is_deaf {
            return self.client(id).rewind_unseen();
        }
        let lines = answered.strip_prefix("ok history ").and_then(|number| number.parse().ok());
        let lines: u64 = lines.unwrap_or_else(|| panic!("history was answered {answered:?}"));
        assert!(lines <= count);
        if lines < count {
            assert!(self.oldest.contains(&(newest + 1 - lines)), "all that is kept comes");
        }
        self.client(id).expect(format!("ok history {lines}"));
        self.give_again(id, newest - lines);
    }

    fn resume(&mut self, id: u64, seq: u64, feed: Option<FeedId>, answered: &str) {
        let newest = self.newest();
        if self.client(id).is_deaf {
            return self.client(id).rewind_unseen();
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
        self.give_again(id, seq);
    }

    /// From the line after this one on, the feed comes again.
    fn give_again(&mut self, id: u64, seq: u64) {
        let newest = self.newest();
        let client = self.client(id);
        client.is_quiet = false;
        client.is_rewound |= seq < newest;
        client.expected.push_back(Item::Move);
        client.expected.extend((seq + 1..=newest).map(Item::Feed));
    }

    fn stats(&mut self, id: u64) {
        let inside = self.clients.values().filter(|client| client.stage == Stage::Inside).count();
        let (newest, total) = (self.newest(), self.clients.len());
        for stat in [
            "uptime_seconds *".to_owned(),
            format!("clients {inside}"),
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
            client.wrong_tries += 1;
            assert!(client.wrong_tries < 3, "client {id} has stayed after its third try");
            return client.expect("error auth-failed *");
        }
        client.wrong_tries = 0;
        client.is_admin |= is_admin;
        let role = if client.is_admin { "admin" } else { "user" };
        client.expect(format!("ok auth {role}"));
        client.stage = Stage::Inside;
    }

    fn may_shut_down(&self, id: u64) -> bool {
        let client = &self.clients[&id];
        match self.allow_shutdown {
            AllowShutdown::Nobody => false,
            AllowShutdown::Local => client.is_local || client.is_admin,
            AllowShutdown::Admin => client.is_admin,
        }
    }

    /// The hub says that a client leaves, and there must be a reason for it.
    pub fn leave(&mut self, id: u64, reason: Reason) {
        let may_shut_down = self.may_shut_down(id);
        let (policy, is_shutting_down) = (self.slow_clients, self.is_shutting_down);
        let has_rate_limit = self.has_rate_limit;
        let client = self.client(id);
        let stage = client.stage;
        let mut lines = client.take_lines();
        let next = if client.is_heard() { lines.peek() } else { None };
        let command = match next {
            Some(Line::Text(text)) => Command::parse(text).ok(),
            _ => None,
        };
        let is_by_line = match reason {
            Reason::Quit => command == Some(Command::Quit),
            Reason::Shutdown => command == Some(Command::Shutdown) && may_shut_down,
            Reason::AuthFailed => {
                matches!(command, Some(Command::Auth { .. })) && client.wrong_tries == 2
            }
            Reason::Foreign(_) => matches!(next, Some(Line::Foreign(_))),
            _ => false,
        };
        // Of who is gone nobody keeps count here; the hub may not have seen yet that it is.
        let may_be_owed = client.is_deaf || !client.expected.is_empty();
        let may_leave = match reason {
            Reason::Shutdown => is_by_line || is_shutting_down,
            Reason::Quit | Reason::AuthFailed => is_by_line,
            Reason::Foreign(_) => is_by_line || stage == Stage::Leaving(reason),
            Reason::EndOfInput => next.is_none() && client.is_ended,
            // Who says more than it may, and is gone, is not heard out.
            Reason::Lost => client.is_deaf && (next.is_none() || has_rate_limit),
            Reason::TooSlow => match policy {
                SlowConsumerPolicy::Disconnect => may_be_owed,
                SlowConsumerPolicy::Skip => false,
                SlowConsumerPolicy::Block => client.is_rewound,
            },
            Reason::Stalled => policy == SlowConsumerPolicy::Block && may_be_owed,
            Reason::Idle => stage == Stage::Inside,
            Reason::AuthTimeout => matches!(stage, Stage::Arriving | Stage::Outside),
            Reason::HandshakeFailed => stage == Stage::Arriving,
        };
        assert!(may_leave, "client {id} leaves for {reason:?}, with {next:?} to come");
        client.has_left_by_this_line = is_by_line && stage != Stage::Leaving(reason);
        client.stage = Stage::Leaving(reason);
        if let Stage::Arriving = stage {
            return;
        }
        let is_lapped = match reason {
            Reason::TooSlow | Reason::Stalled => true,
            // It was leaving for that before, and is told nothing of it.
            Reason::Foreign(_) => stage == client.stage,
            _ => false,
        };
        if is_lapped {
            client.lose_feed();
        }
        if let Some(word) = reason.goodbye() {
            client.expect(format!("goodbye {word}"));
        }
    }

    /// The client was told this. It must be what comes next.
    pub fn tell(&mut self, id: u64, bytes: &[u8]) {
        let most = self.max_line + 64;
        let skips = self.slow_clients == SlowConsumerPolicy::Skip;
        let feed = std::mem::take(&mut self.feed);
        let client = self.client(id);
        client.unfinished.push_str(std::str::from_utf8(bytes).expect("all that is said is text"));
        while let Some((line, rest)) = client.unfinished.split_once('\n') {
            assert!(line.len() < most, "client {id}: a line of {} bytes", line.len());
            let (line, rest) = (line.to_owned(), rest.to_owned());
            match line.strip_prefix("lagged ") {
                Some(count) if skips => client.skip(count.parse().unwrap()),
                _ => client.take(id, &line, &feed),
            }
            client.unfinished = rest;
        }
        client.is_rewound &= !client.is_told_all();
        self.feed = feed;
    }
}
