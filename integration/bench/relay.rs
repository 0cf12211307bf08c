//! Makes servers look far away: `relay ROUND_TRIP_MS LISTEN:TARGET...`.
//!
//! Connections to the port LISTEN of this machine are passed on to its port TARGET. Data arrives half
//! a round trip late, in both directions, and a new connection takes one round trip before it carries
//! anything. Bandwidth is not limited.
//!
//! netem would do this, but not every kernel has it. Data is moved with splice(2), so that the relay
//! takes little processor time from the programs that are measured.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, pipe, splice};

/// The most that is moved at a time, in bytes.
const CHUNK: usize = 128 << 10;

/// The most chunks that are in flight in one direction of a connection: more than loopback sends in
/// half a round trip, so that only a client that reads slowly holds the server up.
const IN_FLIGHT: usize = 1024;

/// Capacity of a pipe, in bytes; the most that Linux allows without privileges by default.
const PIPE_SIZE: usize = 1 << 20;

struct Pipe {
    output: OwnedFd,
    input: OwnedFd,
}

impl Pipe {
    fn new() -> io::Result<Arc<Self>> {
        let (output, input) = pipe()?;
        fcntl_setpipe_size(&input, PIPE_SIZE)?;
        Ok(Arc::new(Self { output, input }))
    }
}

/// So many bytes in a pipe, and when to deliver them. Zero bytes are the end of the data.
struct Chunk {
    due: Instant,
    length: usize,
    pipe: Arc<Pipe>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [round_trip, routes @ ..] = arguments.as_slice() else {
        return Err("usage: relay ROUND_TRIP_MS LISTEN:TARGET...".into());
    };
    let round_trip = Duration::from_millis(round_trip.parse()?);
    let mut relays = Vec::new();
    for route in routes {
        let (listen, target) = route.split_once(':').ok_or("usage: LISTEN:TARGET")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, listen.parse()?))?;
        let target = target.parse()?;
        relays.push(thread::spawn(move || relay(&listener, target, round_trip)));
    }
    for relay in relays {
        relay.join().map_err(|_| "a relay panicked")??;
    }
    Ok(())
}

/// Passes the connections of `listener` on to the port `target` of this machine. Returns only if
/// `listener` fails.
pub fn relay(listener: &TcpListener, target: u16, round_trip: Duration) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept()?;
        let accepted = Instant::now();
        // A client whose server is not there is disconnected.
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else { continue };
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        let (client, server) = (Arc::new(client), Arc::new(server));
        let delay = round_trip / 2;
        // The client may send when its connection is established, one round trip from now; a server
        // that speaks first is heard at that time.
        let established = accepted + round_trip;
        carry(&client, &server, move || (Instant::now() + delay).max(established + delay));
        carry(&server, &client, move || (Instant::now() + delay).max(established));
    }
}

/// Starts to carry one direction of a connection. `due` says when what arrives now is delivered.
///
/// If the sink is gone, the receiver of what the source sends is gone too, and the source is closed
/// with the last thread that uses it.
fn carry(
    source: &Arc<TcpStream>,
    sink: &Arc<TcpStream>,
    due: impl Fn() -> Instant + Send + 'static,
) {
    let (sender, receiver) = sync_channel(IN_FLIGHT);
    let (source, sink) = (Arc::clone(source), Arc::clone(sink));
    thread::spawn(move || receive(&source, &sender, due));
    thread::spawn(move || deliver(&receiver, &sink));
}

/// Moves what arrives into pipes, until the source has ended or the receiver is gone.
fn receive(
    source: &TcpStream,
    chunks: &SyncSender<Chunk>,
    due: impl Fn() -> Instant,
) -> io::Result<()> {
    let mut pipe = Pipe::new()?;
    loop {
        wait_for(source, PollFlags::IN)?;
        let length = match splice(source, None, &pipe.input, None, CHUNK, SpliceFlags::NONBLOCK) {
            // There is data, so it is the pipe that is not ready: it is full.
            Err(Errno::AGAIN) => {
                pipe = Pipe::new()?;
                continue;
            }
            // A connection that was reset ends like a closed one.
            moved => moved.unwrap_or(0),
        };
        let chunk = Chunk { due: due(), length, pipe: Arc::clone(&pipe) };
        if chunks.send(chunk).is_err() || length == 0 {
            return Ok(());
        }
    }
}

/// Moves each chunk to the sink when it is due, then closes this direction.
fn deliver(chunks: &Receiver<Chunk>, sink: &TcpStream) -> io::Result<()> {
    for Chunk { due, mut length, pipe } in chunks {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        while length > 0 {
            wait_for(sink, PollFlags::OUT)?;
            length -= splice(&pipe.output, None, sink, None, length, SpliceFlags::NONBLOCK)?;
        }
    }
    sink.shutdown(Shutdown::Write)
}

/// Waits until a socket is ready. splice(2) is not left to wait: it locks the pipe meanwhile, at both
/// ends.
fn wait_for(socket: &TcpStream, readiness: PollFlags) -> rustix::io::Result<()> {
    poll(&mut [PollFd::new(socket, readiness)], None).map(drop)
}
