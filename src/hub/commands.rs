//! Command semantics: the effect of each command, and its reply.

use crate::limits::CLIENTS_PER_PAGE;
use crate::protocol::{
    COMMANDS, Command, CommandSpec, DecimalBuf, ErrorCode, FeedId, Line, Name, OkReply, Recipient,
    Reply,
};

use super::Hub;
use super::event::Reason;
use super::execute::Blocked;

impl Hub {
    pub(super) fn dispatch(&mut self, key: usize, line: Line<'_>) -> Result<(), Blocked> {
        match line {
            Line::Text(text) => return self.request(key, text),
            Line::Blank(_) => {}
            Line::NotText(_) => {
                self.error(key, ErrorCode::NOT_TEXT, "not UTF-8, or has control characters");
            }
            Line::TooLong => {
                let max_line = self.config.limits.max_line;
                self.error(key, ErrorCode::LINE_TOO_LONG, &format!("at most {max_line} bytes"));
            }
            Line::Incomplete(_) => {
                self.error(key, ErrorCode::INCOMPLETE_LINE, "the last line has no line feed");
            }
            Line::Telnet(command) => {
                if let Some(answer) = command.answer() {
                    self.queue_output(key, |line| line.extend_from_slice(&answer));
                }
            }
            Line::Foreign(foreign) => self.begin_close(key, Reason::Foreign(foreign)),
        }
        Ok(())
    }

    fn request(&mut self, key: usize, text: &str) -> Result<(), Blocked> {
        let is_allowed = || CommandSpec::of_line(text).is_some_and(|spec| spec.before_auth);
        if !self.clients[key].is_active() && !is_allowed() {
            self.error(key, ErrorCode::AUTH_REQUIRED, "auth <secret> first");
            return Ok(());
        }
        match Command::parse(text) {
            Ok(command) => return self.command(key, command),
            Err(error) => match error.usage {
                Some(usage) => self.error(key, error.code, &format!("usage: {usage}")),
                None => self.error(key, error.code, "help lists the commands"),
            },
        }
        Ok(())
    }

    fn command(&mut self, key: usize, command: Command<'_>) -> Result<(), Blocked> {
        match command {
            Command::Ping { text } => self.reply(key, Reply::Pong(text)),
            Command::Broadcast { text } => return self.broadcast(key, text),
            Command::Send { client, text } => self.send(key, client, text),
            Command::Name { name } => self.rename(key, name),
            Command::Clients { after } => self.list_clients(key, after.unwrap_or(0)),
            Command::Quiet => {
                self.clients[key].outbox.unfollow(self.channel.feed.head());
                self.ok(key, OkReply::Quiet);
            }
            Command::Listen => {
                self.ok(key, OkReply::Listen { seq: self.channel.feed.newest_seq() });
                self.clients[key].outbox.follow(self.channel.feed.head());
            }
            Command::Stats => self.stats(key),
            Command::Help => self.help(key),
            Command::Quit => self.begin_close(key, Reason::Quit),
            Command::Shutdown => self.request_shutdown(key),
            Command::Auth { secret } => self.authenticate(key, secret),
            Command::History { count } => return self.history(key, count),
            Command::Resume { seq, feed } => return self.resume(key, seq, feed),
        }
        Ok(())
    }

    fn broadcast(&mut self, key: usize, text: &str) -> Result<(), Blocked> {
        let seq = self.append(key, text)?;
        if !self.clients[key].outbox.follows() {
            self.ok(key, OkReply::Broadcast { seq });
        }
        Ok(())
    }

    fn send(&mut self, key: usize, recipient: Recipient<'_>, text: &str) {
        let Some(to) = self.directory.find(recipient) else {
            return self.error(key, ErrorCode::NO_SUCH_CLIENT, "clients lists ids and names");
        };
        let sender = &self.clients[key];
        let from = sender.attribution(&mut DecimalBuf::default()).to_owned();
        let client = &self.clients[to];
        // Direct messages must not use the room reserved for replies: without it, the recipient
        // could not run its own commands.
        if client.outbox.is_closed() || !self.has_reply_room(client) {
            return self.error(key, ErrorCode::BUSY, "the recipient is not reading; try later");
        }
        self.counters.directs += 1;
        self.reply(to, Reply::Direct { from: &from, text });
        self.ok(key, OkReply::Send { client: recipient.as_str() });
    }

    fn rename(&mut self, key: usize, name: Name<'_>) {
        let client = &mut self.clients[key];
        if !self.directory.rename(client.id, client.name.as_deref(), name) {
            return self.error(key, ErrorCode::NAME_TAKEN, "choose another name");
        }
        client.name = Some(name.as_str().into());
        self.ok(key, OkReply::Name { name: name.as_str() });
    }

    fn list_clients(&mut self, key: usize, after: u64) {
        let page: Vec<usize> = self.directory.after(after).take(CLIENTS_PER_PAGE).collect();
        let total = self.directory.len() as u64;
        for &listed in &page {
            let client = &self.clients[listed];
            let (id, name) = (client.id, client.name.clone());
            self.reply(key, Reply::Client { id, name: name.as_deref() });
        }
        self.ok(key, OkReply::Clients { shown: page.len() as u64, total });
    }

    fn history(&mut self, key: usize, count: u64) -> Result<(), Blocked> {
        let lines = count.min(self.channel.feed.kept_lines());
        let seq = self.channel.feed.newest_seq() - lines;
        self.replay_after(key, seq, OkReply::History { lines })
    }

    fn resume(&mut self, key: usize, seq: u64, feed: Option<FeedId>) -> Result<(), Blocked> {
        let id = self.channel.feed.id();
        let oldest = self.channel.feed.oldest_available();
        let is_other_feed = feed.is_some_and(|feed| feed != id);
        if is_other_feed || seq.saturating_add(1) < oldest {
            let why = if is_other_feed { "not this feed" } else { "older lines were dropped" };
            self.error(key, ErrorCode::GONE, &format!("{oldest} {id} {why}"));
            return Ok(());
        }
        if seq > self.channel.feed.newest_seq() {
            let explanation = format!("the newest line is {}", self.channel.feed.newest_seq());
            self.error(key, ErrorCode::BAD_ARGUMENT, &explanation);
            return Ok(());
        }
        self.replay_after(key, seq, OkReply::Resume { seq })
    }

    /// Sends `reply`, then replays the lines after `seq`, which must still be kept, by moving the
    /// client's cursor back.
    fn replay_after(&mut self, key: usize, seq: u64, reply: OkReply<'_>) -> Result<(), Blocked> {
        if seq < self.channel.feed.newest_seq() {
            // Check before the scan: many clients may be waiting, and retry.
            self.check_source(key)?;
        }
        let head = self.head();
        let (offset, scanned) = self.channel.feed.offset_after(seq).unwrap_or((head, 0));
        self.budget.charge_scan(scanned);
        self.charge_replay(key, head - offset)?;
        self.ok(key, reply);
        self.clients[key].outbox.seek(head, offset);
        self.channel.backpressure.note_progress();
        Ok(())
    }

    fn stats(&mut self, key: usize) {
        let counters = self.counters;
        let stats = [
            ("uptime_seconds", self.now_ms / 1000),
            ("clients", self.directory.len() as u64),
            ("clients_total", counters.clients_total),
            ("refused", counters.refused),
            ("lines_in", counters.lines_in),
            ("errors", counters.errors),
            ("broadcasts", counters.broadcasts),
            ("directs", counters.directs),
            ("bytes_in", counters.bytes_in),
            ("bytes_out", counters.bytes_out),
            ("feed_bytes", self.channel.feed.kept_bytes()),
            ("feed_oldest", self.channel.feed.oldest_seq()),
            ("feed_newest", self.channel.feed.newest_seq()),
            ("too_slow", counters.too_slow),
            ("lagged", counters.lagged),
            ("held", counters.held),
            ("log_dropped", counters.log_dropped),
            ("max_line", self.config.limits.max_line as u64),
        ];
        for (name, value) in stats {
            self.reply(key, Reply::Stat { key: name, value });
        }
        self.ok(key, OkReply::Stats);
    }

    fn help(&mut self, key: usize) {
        for spec in &COMMANDS {
            let text = format!("{} - {}", spec.usage, spec.help);
            self.reply(key, Reply::Help { text: &text });
        }
        self.ok(key, OkReply::Help);
    }

    pub(super) fn ok(&mut self, key: usize, reply: OkReply<'_>) {
        self.reply(key, Reply::Ok(reply));
    }

    pub(super) fn error(&mut self, key: usize, code: ErrorCode, explanation: &str) {
        self.counters.errors += 1;
        self.reply(key, Reply::Error { code: code.as_str(), explanation });
    }
}
