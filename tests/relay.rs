//! The relay of the benchmark: what passes through it arrives whole, in order, and late.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

#[path = "../integration/bench/relay.rs"]
#[expect(dead_code, reason = "main is not run here")]
mod relay;

const ROUND_TRIP: Duration = Duration::from_millis(40);

/// More than a pipe holds, and not a multiple of what is moved at a time.
const LARGE: usize = 5_000_003;

/// More than may be in flight.
const BOUND: usize = 256 << 20;

/// Connects to a server through a relay. The server is `serve` on the connection that it gets.
fn connect<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (TcpStream, JoinHandle<T>) {
    let [server, relayed] =
        [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    let target = server.local_addr().expect("an address").port();
    let address = relayed.local_addr().expect("an address");
    thread::spawn(move || relay::relay(&relayed, target, ROUND_TRIP));
    let serving = thread::spawn(move || {
        let (stream, _) = server.accept().expect("a connection");
        serve(impatient(stream))
    });
    (impatient(TcpStream::connect(address).expect("a relay")), serving)
}

/// A test whose data never arrives fails instead of waiting for ever.
fn impatient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream.set_write_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream
}

/// Bytes without repetition, so that none can be lost or swapped unnoticed.
fn content(length: usize) -> Vec<u8> {
    let words = 0u64..;
    let mix = |word: u64| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    words.flat_map(mix).take(length).collect()
}

fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    let mut content = Vec::new();
    stream.read_to_end(&mut content).expect("an end");
    content
}

/// Not `assert_eq`, which would print megabytes.
fn assert_same(got: &[u8], sent: &[u8]) {
    assert_eq!(got.len(), sent.len());
    assert!(got == sent, "the content differs");
}

#[test]
fn a_request_is_answered_after_its_sender_has_closed_its_side() {
    let (mut client, server) = connect(|mut stream| {
        let request = read_to_end(&stream);
        stream.write_all(&content(LARGE)).expect("an answer is sent");
        request
    });
    client.write_all(&content(LARGE)).expect("a request is sent");
    client.shutdown(Shutdown::Write).expect("one side is closed");
    assert_same(&read_to_end(&client), &content(LARGE));
    assert_same(&server.join().expect("a request"), &content(LARGE));
}

#[test]
fn both_sides_send_at_the_same_time() {
    let (client, server) = connect(exchange);
    assert_same(&exchange(client), &content(LARGE));
    assert_same(&server.join().expect("what was sent"), &content(LARGE));
}

/// Sends and receives on one connection at the same time; returns what was received.
fn exchange(stream: TcpStream) -> Vec<u8> {
    let mut writer = stream.try_clone().expect("a second handle");
    let sending = thread::spawn(move || {
        writer.write_all(&content(LARGE)).expect("all is sent");
        writer.shutdown(Shutdown::Write).expect("one side is closed");
    });
    let received = read_to_end(&stream);
    sending.join().expect("all is sent");
    received
}

#[test]
fn an_answer_is_not_earlier_than_the_round_trips_it_takes() {
    let begin = Instant::now();
    let (mut client, server) = connect(|mut stream| {
        let mut byte = [0];
        while stream.read(&mut byte).expect("a request") == 1 {
            stream.write_all(&byte).expect("an answer is sent");
        }
    });
    for (byte, round_trips) in [(1, 2), (2, 3), (3, 4)] {
        client.write_all(&[byte]).expect("a request is sent");
        let mut answer = [0];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, [byte]);
        assert!(begin.elapsed() >= ROUND_TRIP * round_trips, "answer {byte}");
    }
    client.shutdown(Shutdown::Write).expect("one side is closed");
    server.join().expect("a server that has ended");
}

#[test]
fn a_server_that_speaks_first_is_not_heard_before_the_connection_is_established() {
    let begin = Instant::now();
    let (client, _server) =
        connect(|mut stream| stream.write_all(b"220 ready").expect("a greeting"));
    assert_eq!(read_to_end(&client), b"220 ready");
    assert!(begin.elapsed() >= ROUND_TRIP);
}

#[test]
fn a_client_that_reads_nothing_holds_the_server_up() {
    let (client, server) = connect(|mut stream| {
        stream.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        let chunk = vec![0; 1 << 20];
        let mut sent = 0;
        loop {
            match stream.write(&chunk) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return sent,
                Err(error) => panic!("{error}"),
            }
            assert!(sent < BOUND, "nothing holds the server up");
        }
    });
    let sent = server.join().expect("a server that was held up");
    assert_eq!(read_to_end(&client).len(), sent);
}

#[test]
fn a_server_hears_that_its_client_is_gone() {
    let (client, server) = connect(|mut stream| {
        let chunk = content(1 << 20);
        (0..BOUND / chunk.len()).find_map(|_| stream.write_all(&chunk).err())
    });
    drop(client);
    let error = server.join().expect("a server that has ended").expect("a failure to send");
    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
}

#[test]
fn a_client_whose_server_is_not_there_is_disconnected() {
    let vacant = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let target = vacant.local_addr().expect("an address").port();
    drop(vacant);
    let relayed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = relayed.local_addr().expect("an address");
    thread::spawn(move || relay::relay(&relayed, target, ROUND_TRIP));
    assert_eq!(read_to_end(&impatient(TcpStream::connect(address).expect("a relay"))), b"");
}
