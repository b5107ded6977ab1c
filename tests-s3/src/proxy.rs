//! A proxy on loopback that breaks connections below HTTP: it knows only connections and bytes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// The trouble of one connection. Offsets count the bytes of one direction since the connection began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// The connection is closed as soon as it was accepted.
    pub refuse: bool,
    /// The connection ends after this many bytes from the client to the server.
    pub cut_up: Option<u64>,
    /// The connection ends after this many bytes from the server to the client: the remainder of an answer, or all of
    /// it, is lost.
    pub cut_down: Option<u64>,
    /// One bit of this byte to the server is flipped.
    pub flip_up: Option<u64>,
    /// One bit of this byte to the client is flipped.
    pub flip_down: Option<u64>,
    /// The delay of each piece to the client.
    pub delay: Duration,
    /// After this many bytes nothing is sent to the client, and the connection stays open.
    pub silent_after: Option<u64>,
    /// After this many bytes nothing is read from the client, and the connection stays open: the client cannot continue
    /// to send.
    pub deaf_after: Option<u64>,
    /// The server receives all bytes a second time, on another connection, with answers that are discarded.
    pub twice: bool,
}

type Plan = dyn Fn(u64) -> Trouble + Send + Sync;

/// A proxy that runs until it is dropped. Connections that are open then continue until they end by themselves.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    connections: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts a proxy on an unused port of 127.0.0.1 in front of `target`. `plan` returns the trouble of the nth
    /// connection.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn start(
        target: SocketAddr,
        plan: impl Fn(u64) -> Trouble + Send + Sync + 'static,
    ) -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (stopped, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let plan: Arc<Plan> = Arc::new(plan);
        let (ends, count) = (stopped.clone(), connections.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let trouble = plan(count.fetch_add(1, Ordering::Relaxed));
                // A failure to connect counts as another trouble.
                let _refused = connect(&client, target, trouble);
            }
        });
        Ok(Proxy { address, stopped, connections })
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        let _it_is_gone_already = TcpStream::connect(self.address);
    }
}

fn connect(client: &TcpStream, target: SocketAddr, trouble: Trouble) -> io::Result<()> {
    if trouble.refuse {
        return client.shutdown(Shutdown::Both);
    }
    let server = TcpStream::connect(target)?;
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
    }
    let mut also = None;
    if trouble.twice {
        let second = TcpStream::connect(target)?;
        let mut answers = second.try_clone()?;
        thread::spawn(move || io::copy(&mut answers, &mut io::sink()));
        also = Some(second);
    }
    let up = Way {
        cut: trouble.cut_up,
        flip: trouble.flip_up,
        deaf_after: trouble.deaf_after,
        also,
        ..Way::default()
    };
    let down = Way {
        cut: trouble.cut_down,
        flip: trouble.flip_down,
        delay: trouble.delay,
        silent_after: trouble.silent_after,
        ..Way::default()
    };
    for (from, to, way) in
        [(client.try_clone()?, server.try_clone()?, up), (server, client.try_clone()?, down)]
    {
        thread::spawn(move || {
            // Whatever happened, neither side waits for the other any more.
            let _ended = pass(&from, &to, way);
            let _closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        });
    }
    Ok(())
}

/// One direction of a connection.
#[derive(Default)]
struct Way {
    cut: Option<u64>,
    flip: Option<u64>,
    delay: Duration,
    silent_after: Option<u64>,
    deaf_after: Option<u64>,
    also: Option<TcpStream>,
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, mut way: Way) -> io::Result<()> {
    let mut piece = vec![0; 16 << 10];
    let mut passed = 0u64;
    loop {
        if way.deaf_after.is_some_and(|after| passed >= after) {
            // Wait until the client closes the connection.
            let mut one = [0];
            while from.peek(&mut one)? > 0 && to.take_error()?.is_none() {
                thread::sleep(Duration::from_millis(20));
            }
            return Ok(());
        }
        let length = from.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        thread::sleep(way.delay);
        let mut bytes = &mut piece[..length];
        if let Some(at) = way.flip.and_then(|at| at.checked_sub(passed))
            && let Some(byte) = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at))
        {
            *byte ^= 0x04;
        }
        if way.silent_after.is_some_and(|after| passed >= after) {
            continue;
        }
        let left = way.cut.map_or(u64::MAX, |cut| cut - passed.min(cut));
        let cuts = left <= bytes.len() as u64;
        if cuts {
            bytes = &mut bytes[..left as usize];
        }
        if let Some(second) = &mut way.also {
            let _its_fate_does_not_matter = second.write_all(bytes);
        }
        to.write_all(bytes)?;
        if cuts {
            return Ok(());
        }
        passed += length as u64;
    }
}
