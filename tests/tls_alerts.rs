//! What the server sends when a TLS connection ends: a close_notify, or a fatal alert that names
//! the fault, even for faults that rustls does not report by itself.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, RootCertStore, StreamOwned,
};
use support::{Address, Server, TIMEOUT};

// Types of records.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

// Alerts: the level and the description.
const CLOSE_NOTIFY: [u8; 2] = [1, 0];
const UNEXPECTED_MESSAGE: [u8; 2] = [2, 10];
const BAD_RECORD_MAC: [u8; 2] = [2, 20];
const DECODE_ERROR: [u8; 2] = [2, 50];

/// The TLS 1.3 keys of one direction.
struct Keys {
    key: LessSafeKey,
    iv: [u8; 12],
    seq: u64,
}

impl Keys {
    fn new((seq, secrets): (u64, ConnectionTrafficSecrets)) -> Self {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
            _ => panic!("another algorithm was negotiated"),
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).unwrap());
        Self { key, iv: iv.as_ref().try_into().unwrap(), seq }
    }

    fn next_nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, seq) in nonce[4..].iter_mut().zip(self.seq.to_be_bytes()) {
            *byte ^= seq;
        }
        self.seq += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// A TLS 1.3 connection, after the handshake and the welcome, that can send any record.
struct Records {
    stream: TcpStream,
    send: Keys,
    receive: Keys,
}

impl Records {
    fn connect(server: &Server) -> Self {
        let Address::Tls(address, roots) = &server.address else { panic!("not a TLS server") };
        let mut store = RootCertStore::empty();
        store.add(CertificateDer::from_pem_file(roots).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_root_certificates(store)
            .with_no_client_auth();
        config.enable_secret_extraction = true;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut tls = BufReader::new(StreamOwned::new(tls, stream));
        let mut line = String::new();
        tls.read_line(&mut line).unwrap();
        assert!(line.starts_with("welcome "), "{line}");
        let (tls, stream) = tls.into_inner().into_parts();
        let secrets = tls.dangerous_extract_secrets().unwrap();
        Self { stream, send: Keys::new(secrets.tx), receive: Keys::new(secrets.rx) }
    }

    /// Sends a record with these contents, which should end with the record's type.
    fn send(&mut self, contents: &[u8]) {
        let mut contents = contents.to_vec();
        let len = (contents.len() + 16) as u16;
        let mut record = [&[DATA, 3, 3], &len.to_be_bytes()[..]].concat();
        let aad = Aad::from(<[u8; 5]>::try_from(&record[..]).unwrap());
        let nonce = self.send.next_nonce();
        self.send.key.seal_in_place_append_tag(nonce, aad, &mut contents).unwrap();
        record.extend(contents);
        self.stream.write_all(&record).unwrap();
    }

    /// Receives the next record: its contents and its type.
    #[track_caller]
    fn receive(&mut self) -> (Vec<u8>, u8) {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header).unwrap();
        let mut record = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        self.stream.read_exact(&mut record).unwrap();
        let nonce = self.receive.next_nonce();
        let contents = self.receive.key.open_in_place(nonce, Aad::from(header), &mut record);
        let (kind, contents) = contents.unwrap().split_last().unwrap();
        (contents.to_vec(), *kind)
    }

    /// Expects this alert as the next record, and nothing after it.
    #[track_caller]
    fn expect_last(mut self, alert: [u8; 2], fault: &str) {
        assert_eq!(self.receive(), (alert.to_vec(), ALERT), "{fault}");
        assert_eq!(self.stream.read(&mut [0; 1]).unwrap(), 0, "{fault}: nothing follows the alert");
    }
}

#[test]
fn fault_after_the_handshake_gets_a_fatal_alert() {
    let mut server = Server::start_tls(&[]);
    // The beginning of a key update.
    let fragment = [24, 0, 0, HANDSHAKE];
    let faults: [(&str, Vec<Vec<u8>>, _); 4] = [
        ("contents without a type", vec![vec![0, 0, 0]], "illegal tls inner plaintext"),
        (
            "data between the fragments of a handshake message",
            vec![fragment.to_vec(), b"ping\n\x17".to_vec()],
            "message interleaved with handshake message",
        ),
        ("too many warnings", vec![vec![1, 90, ALERT]; 10], "too many warning alerts received"),
        ("too many empty records", vec![vec![DATA]; 40], "too many empty fragments"),
    ];
    for (fault, records, logged) in faults {
        let mut client = Records::connect(&server);
        for record in records {
            client.send(&record);
        }
        client.expect_last(UNEXPECTED_MESSAGE, fault);
        let line = server.wait_for_log("disconnected: the client violated the TLS protocol (");
        assert!(line.contains(logged), "{fault}: {line}");
    }
    let mut client = Records::connect(&server);
    client.send(&[1, 2, 3, 99]);
    client.expect_last(DECODE_ERROR, "an unknown type of record");
    server.wait_for_log("the TLS protocol (malformed message, invalid content type); update");
    let mut client = Records::connect(&server);
    client.send.seq += 1;
    client.send(b"ping\n\x17");
    client.expect_last(BAD_RECORD_MAC, "a record out of order");
}

/// Lines before the fault are executed, even if they arrive together with it.
#[test]
fn lines_before_a_fault_are_executed_and_the_fault_is_logged() {
    let mut server = Server::start_tls(&[]);
    let mut other = server.client();
    let mut client = Records::connect(&server);
    // While the server is stopped, both records arrive.
    server.signal("STOP");
    client.send(b"say before\n\x17");
    client.send(&[0, 0, 0]);
    server.signal("CONT");
    other.expect("broadcast 1 2 before");
    server.wait_for_log("disconnected: the client violated the TLS protocol");
}

/// A reset would destroy the alert.
#[test]
fn alert_arrives_although_more_input_follows_the_fault() {
    let mut server = Server::start_tls(&[]);
    let mut client = Records::connect(&server);
    server.signal("STOP");
    client.send(&[0, 0, 0]);
    for _ in 0..20 {
        client.send(&[&[b'x'; 10_000][..], &[DATA]].concat());
    }
    server.signal("CONT");
    client.expect_last(UNEXPECTED_MESSAGE, "contents without a type");
    server.wait_for_log("disconnected: the client violated the TLS protocol");
}

#[test]
fn close_notify_is_answered_with_a_close_notify() {
    let mut server = Server::start_tls(&["--log-level", "debug"]);
    let mut client = Records::connect(&server);
    client.send(&[1, 0, ALERT]);
    client.expect_last(CLOSE_NOTIFY, "close_notify");
    server.wait_for_log("disconnected: end of input");
}

/// After a close_notify, no alert may follow.
#[test]
fn fault_after_the_servers_close_notify_is_ignored() {
    let mut server = Server::start_tls(&[]);
    let mut client = Records::connect(&server);
    client.send(b"quit\n\x17");
    assert_eq!(client.receive(), (b"goodbye quit\n".to_vec(), DATA));
    assert_eq!(client.receive(), (CLOSE_NOTIFY.to_vec(), ALERT));
    client.send.seq += 1;
    client.send(b"ping\n\x17");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.stream.read(&mut [0; 1]).unwrap(), 0);
    server.wait_for_log("disconnected: quit");
    server.client().ask("ping", "pong");
}

#[test]
fn received_fatal_alert_is_not_answered() {
    let mut server = Server::start_tls(&[]);
    let mut client = Records::connect(&server);
    client.send(&[2, 40, ALERT]);
    assert_eq!(client.stream.read(&mut [0; 1]).unwrap(), 0);
    server.wait_for_log("the client found no TLS settings in common (handshake failure); oyez");
}

/// Before the keys are negotiated, alerts are not encrypted.
#[test]
fn fault_at_the_start_of_the_handshake_gets_a_fatal_alert() {
    let mut server = Server::start_tls(&[]);
    // A record with the header of a ClientHello of 65,540 bytes, and its beginning.
    let mut long = vec![HANDSHAKE, 3, 1, 0x10, 0, 1, 1, 0, 4];
    long.resize(5 + 0x1000, 0);
    let fragment = [HANDSHAKE, 3, 1, 0, 4, 1, 0, 1, 0];
    let warning = [ALERT, 3, 1, 0, 2, 1, 90];
    for (hello, alert, logged) in [
        (long, DECODE_ERROR, "the client sent a handshake message of more than 64 KiB; shorten"),
        (
            [&fragment[..], &warning].concat(),
            UNEXPECTED_MESSAGE,
            "the client violated the TLS protocol (message interleaved with handshake message); ",
        ),
        (
            warning.repeat(10),
            UNEXPECTED_MESSAGE,
            "the client violated the TLS protocol (too many warning alerts received); update",
        ),
        (b"say hi\r\n".to_vec(), DECODE_ERROR, "the client does not speak TLS; it must use TLS"),
    ] {
        let mut stream = TcpStream::connect(server.tcp()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(&hello).unwrap();
        let mut received = vec![];
        stream.read_to_end(&mut received).unwrap();
        assert_eq!(received, [&[ALERT, 3, 3, 0, 2], &alert[..]].concat(), "{logged}");
        drop(stream);
        server.wait_for_log(logged);
    }
}

/// A client that presents too many certificates receives an alert.
#[test]
fn certificate_chain_of_more_than_64_kib_gets_a_fatal_alert() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["cert", "key"].map(|name| folder.path().join(name));
    support::tls::self_sign("me", 4000, &certificate, &key);
    let mut server = Server::start_tls(&["--tls-client-ca", certificate.to_str().unwrap()]);
    let Address::Tls(address, roots) = &server.address else { panic!("not a TLS server") };
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from_pem_file(roots).unwrap()).unwrap();
    let own = CertificateDer::from_pem_file(&certificate).unwrap();
    let chain = vec![own.clone(); 85_000 / own.len()];
    let config = ClientConfig::builder()
        .with_root_certificates(store)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&key).unwrap())
        .unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let error = StreamOwned::new(tls, stream).read(&mut [0; 100]).unwrap_err();
    assert!(error.to_string().contains("DecodeError"), "{error}");
    server.wait_for_log("the client sent a handshake message of more than 64 KiB; shorten its");
}
