//! A byte stream of the public listener: TCP, with TLS where it is configured, and its write buffer.
//!
//! rustls is driven without IO of its own: what it wants to send goes through the same buffer as plain bytes, so
//! that one bound holds for both. Nothing here blocks; `poll_*` register the caller's waker.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

/// Why the certificate or its key cannot be used. Names the file; the caller names the key of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that is not there, not readable, or not PEM.
    #[error("{path}: {cause}; cure: a readable PEM file with {wanted}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
        /// What it should contain.
        wanted: &'static str,
    },
    /// Both are readable, but do not go together.
    #[error(
        "{certificate} and {key} do not go together: {cause}; cure: the key the certificate was made for"
    )]
    Pair {
        /// Certificate file.
        certificate: PathBuf,
        /// Key file.
        key: PathBuf,
        /// What rustls said.
        cause: rustls::Error,
    },
}

/// Reads a PEM certificate chain and its private key.
pub fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let file = |path: &Path, cause: String, wanted| TlsError::File {
        path: path.to_owned(),
        cause,
        wanted,
    };
    let chain_wanted = "a certificate chain (BEGIN CERTIFICATE)";
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|e| file(certificate, e.to_string(), chain_wanted))?;
    if chain.is_empty() {
        return Err(file(
            certificate,
            "no certificate inside".into(),
            chain_wanted,
        ));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|e| file(key, e.to_string(), "a private key (BEGIN PRIVATE KEY)"))?;
    let pair = |cause| TlsError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        cause,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// One connection.
pub(super) struct Stream {
    tcp: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// What TCP has given and TLS has not taken yet. Empty without TLS.
    sealed: Vec<u8>,
    /// What TCP has not taken yet, from `sent` on.
    out: Vec<u8>,
    sent: usize,
}

impl Stream {
    pub(super) fn new(tcp: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        // Signalling is small messages that somebody waits for.
        let _ = tcp.set_nodelay(true);
        let tls = match tls {
            Some(config) => {
                let mut tls = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
                // What is written is moved to `out` at once; the bound is on `out`.
                tls.set_buffer_limit(None);
                Some(Box::new(tls))
            }
            None => None,
        };
        Ok(Self {
            tcp,
            tls,
            sealed: Vec::new(),
            out: Vec::new(),
            sent: 0,
        })
    }

    /// Plain bytes to send; they leave with [`Stream::poll_flush`].
    pub(super) fn queue(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.out.extend_from_slice(bytes),
            Some(tls) => {
                tls.writer().write_all(bytes)?;
                self.collect_tls()?;
            }
        }
        Ok(())
    }

    /// Bytes that TCP has not taken yet.
    pub(super) fn queued(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Hands bytes to TCP until none are left.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.sent..)
            && !rest.is_empty()
        {
            match Pin::new(&mut self.tcp).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => self.sent += n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.out.clear();
        // One large message must not cost its size for the rest of the session.
        self.out.shrink_to(4096);
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Plain bytes received. 0 is the end. Drives the TLS handshake, and sends what that wants to send.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.queued() > 0
            && let Poll::Ready(Err(error)) = self.poll_flush(cx)
        {
            return Poll::Ready(Err(error));
        }
        loop {
            if let Some(tls) = &mut self.tls {
                match tls.reader().read(buf) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // The peer closed TCP without close_notify: an end like any other here.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Poll::Ready(Ok(0));
                    }
                    done => return Poll::Ready(done),
                }
            }
            if !self.sealed.is_empty() {
                let taken = self.take_tls();
                // Also the alert that says why the handshake failed.
                self.collect_tls()?;
                let flushed = self.poll_flush(cx);
                taken?;
                if let Poll::Ready(Err(error)) = flushed {
                    return Poll::Ready(Err(error));
                }
                continue;
            }
            match Pin::new(&mut self.tcp).poll_read(cx, buf) {
                Poll::Ready(Ok(n)) if n > 0 && self.tls.is_some() => {
                    self.sealed
                        .extend_from_slice(buf.get(..n).unwrap_or_default());
                }
                done => return done,
            }
        }
    }

    /// Nothing more will be sent: FIN after what is queued has been flushed.
    pub(super) async fn shutdown(&mut self) {
        let _ = self.tcp.shutdown(std::net::Shutdown::Write).await;
    }

    /// One step only: what it decrypts is to be read before the next, because rustls keeps little of it.
    fn take_tls(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        let taken = tls.read_tls(&mut self.sealed.as_slice())?;
        match taken {
            // After close_notify rustls takes nothing any more.
            0 => self.sealed.clear(),
            taken => drop(self.sealed.drain(..taken)),
        }
        tls.process_new_packets().map_err(io::Error::other)?;
        Ok(())
    }

    fn collect_tls(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut self.out)?;
            }
        }
        Ok(())
    }
}
