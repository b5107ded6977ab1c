//! A relay on loopback in front of an S3 server: it adds a latency to each request, and counts the requests.

use std::io;
use std::net::SocketAddr;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, client};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::background::Background;
use crate::faults::Faults;
use crate::{Cut, whole};

/// A relay that runs until it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    faults: Faults,
    _background: Background,
}

impl Relay {
    /// Starts a relay on an unused port of 127.0.0.1 in front of `server`. The server sees the relay's address as the host of each
    /// request, which the client has signed.
    ///
    /// # Errors
    /// If there is no free port, or no thread can be started.
    pub fn start(server: SocketAddr) -> io::Result<Relay> {
        let (background, listener, address) = Background::listen()?;
        let faults = Faults::default();
        background.spawn(serve(listener, server, faults.clone()));
        Ok(Relay { address, faults, _background: background })
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the faults, of which a relay knows the latency alone, and the journal of requests.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Returns the requests since the last call, as `METHOD path`.
    pub fn take_requests(&self) -> Vec<String> {
        self.faults.take_requests()
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, faults: Faults) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let faults = faults.clone();
        // A side that disconnects ends the connection with the other side.
        tokio::spawn(async move {
            let _ended = connection(client, server, faults).await;
        });
    }
}

/// Serves one connection of a client by one connection to the server.
async fn connection(client: TcpStream, server: SocketAddr, faults: Faults) -> Result<(), Cut> {
    let upstream = TcpStream::connect(server).await.map_err(|_| Cut)?;
    for stream in [&client, &upstream] {
        let _slower_without = stream.set_nodelay(true);
    }
    let (sender, connection) =
        client::conn::http1::handshake(TokioIo::new(upstream)).await.map_err(|_| Cut)?;
    tokio::spawn(connection);
    let sender = Mutex::new(sender);
    let answer = service_fn(|request: Request<Incoming>| async {
        faults.strike(request.method().as_str(), request.uri().path(), false);
        let (head, body) = request.into_parts();
        let body = whole(body).await?;
        tokio::time::sleep(faults.latency()).await;
        let request = Request::from_parts(head, Full::new(body));
        sender.lock().await.send_request(request).await.map_err(|_| Cut)
    });
    http1::Builder::new().serve_connection(TokioIo::new(client), answer).await.map_err(|_| Cut)
}
