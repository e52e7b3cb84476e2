//! How long a `ping` takes while lines go out to thousands of clients.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::contender::{Contender, RunningServer};
use crate::load::{Load, Shape};
use crate::machine::Cores;
use crate::quantiles::Quantiles;

/// What there is for a ping to wait for.
#[derive(Debug)]
pub(crate) struct Storm {
    pub(crate) readers: usize,
    /// The times of pings while lines go out to all of the readers, in seconds.
    pub(crate) broadcasts: Quantiles,
    /// The same, while another client says lines as fast as it can besides.
    pub(crate) flooded: Quantiles,
}

pub(crate) fn measure(
    oyezd: &Contender,
    cores: Cores,
    readers: usize,
    time: Duration,
) -> Result<Storm, String> {
    let server = RunningServer::start(oyezd, cores, readers + 3, None)?;
    // More than the sockets hold: that is when a server has most to do at once.
    let shape = Shape { window: 4, ..crate::to(readers, 64) };
    let mut load = Load::connect(oyezd.wire(), server.port, None, shape)?;
    let mut during = |floods: bool| {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let pings = scope.spawn(|| ping(server.port, &is_over));
            let flood = floods.then(|| scope.spawn(|| flood(server.port, &is_over)));
            let run = load.run(time);
            is_over.store(true, Ordering::Relaxed);
            let times = pings.join().map_err(|_| "the pings failed")?;
            if let Some(flood) = flood {
                flood
                    .join()
                    .map_err(|_| "the flood failed")?
                    .map_err(|error| format!("flood: {error}"))?;
            }
            run?;
            times.map(Quantiles::of).map_err(|error| format!("ping: {error}"))
        })
    };
    Ok(Storm { readers, broadcasts: during(false)?, flooded: during(true)? })
}

/// Pings, again and again with a pause: how long each took, in seconds.
fn ping(port: u16, is_over: &AtomicBool) -> std::io::Result<Vec<f64>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.write_all(b"quiet\n")?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut times = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let since = Instant::now();
        stream.write_all(b"ping\n")?;
        for line in &mut lines {
            if line? == "pong" {
                break;
            }
        }
        times.push(since.elapsed().as_secs_f64());
        thread::sleep(Duration::from_millis(2));
    }
    Ok(times)
}

/// Says commands as fast as the server takes them, and reads what it answers.
fn flood(port: u16, is_over: &AtomicBool) -> std::io::Result<()> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let mut reader = BufReader::with_capacity(64 * 1024, stream.try_clone()?);
    let mut writer = &stream;
    let lines = "stats\nclients\nping\nnonsense\n".repeat(100);
    writer.write_all(b"quiet\n")?;
    thread::scope(|scope| {
        scope.spawn(move || {
            // Until the end of it all: the other half has ended the connection.
            while let Ok(len @ 1..) = reader.fill_buf().map(<[u8]>::len) {
                reader.consume(len);
            }
        });
        while !is_over.load(Ordering::Relaxed) {
            writer.write_all(lines.as_bytes())?;
        }
        stream.shutdown(std::net::Shutdown::Both)
    })
}
