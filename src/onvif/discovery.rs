//! WS-Discovery: who is there on the local network. One question to a multicast group on each
//! interface, asked twice since UDP may lose it, and answers collected for some seconds.
//!
//! Anybody on the network can answer, and say anything. So an answer counts only with an address of
//! its sender's own, at most [`MOST`] of them are kept, and nobody is contacted because of one.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use percent_encoding::percent_decode_str;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};
use url::{Host, Url};

use super::{tidy, xml};

/// Where devices listen.
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 3_702);
/// Devices kept.
const MOST: usize = 256;
/// Datagrams looked at, of one interface.
const MOST_ANSWERS: usize = 2_048;
/// One datagram, bytes; larger ones are cut and so are not read.
const DATAGRAM: usize = 16 << 10;
/// Interfaces asked.
const INTERFACES: usize = 32;
/// Devices of one answer; each speaks for itself.
const IN_ONE: usize = 4;
/// Addresses of one device.
const ADDRESSES: usize = 8;

/// How to search.
#[derive(Clone, Debug)]
pub struct Search {
    /// By the addresses of these interfaces; every one that can multicast unless told.
    pub interfaces: Option<Vec<Ipv4Addr>>,
    /// Whom to ask.
    pub group: SocketAddrV4,
    /// How long answers are waited for.
    pub wait: Duration,
}

impl Default for Search {
    fn default() -> Self {
        Self { interfaces: None, group: GROUP, wait: Duration::from_secs(4) }
    }
}

/// A device that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Who answered.
    pub ip: IpAddr,
    /// Port of its ONVIF service.
    pub port: u16,
    /// Path of its ONVIF service.
    pub path: String,
    /// Its own unchanging id.
    pub endpoint: String,
    /// What it is called.
    pub name: Option<String>,
    /// Its model.
    pub hardware: Option<String>,
    /// Where it says it is: country, city, building.
    pub location: Vec<String>,
    /// Its services' addresses, those at the host that answered.
    pub addresses: Vec<String>,
}

/// Asks, and waits for answers. In order of addresses.
///
/// # Errors
///
/// When no interface can be asked.
pub async fn search(how: &Search) -> std::io::Result<Vec<Found>> {
    let interfaces = match &how.interfaces {
        Some(given) => given.clone(),
        None => interfaces()?,
    };
    let deadline = Instant::now() + how.wait;
    // Full: the answer is dropped. The reader does next to nothing.
    let (answers, mut answered) = mpsc::channel::<(SocketAddr, String)>(256);
    let mut asking = JoinSet::new();
    let mut refused = None;
    for interface in interfaces.into_iter().take(INTERFACES) {
        match socket_on(interface) {
            Ok(socket) => drop(asking.spawn(ask(socket, how.group, deadline, answers.clone()))),
            Err(error) => {
                tracing::debug!(%interface, %error, "cannot ask here who is there");
                refused = Some(error);
            }
        }
    }
    drop(answers);
    if asking.is_empty() {
        return Err(refused.unwrap_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::AddrNotAvailable, "no network interface")
        }));
    }
    let mut found: Vec<Found> = Vec::new();
    while let Some((from, text)) = answered.recv().await {
        for device in read(from.ip(), &text) {
            let known = found.iter().position(|f| {
                f.ip == device.ip && (f.endpoint == device.endpoint || f.port == device.port)
            });
            if let Some(known) = known.and_then(|at| found.get_mut(at)) {
                known.learn(device);
            } else if found.len() < MOST {
                found.push(device);
            }
        }
    }
    found.sort_by_key(|f| (f.ip, f.port));
    Ok(found)
}

/// Those that are up and can multicast, loopback left out.
fn interfaces() -> std::io::Result<Vec<Ipv4Addr>> {
    use nix::net::if_::InterfaceFlags as Flags;
    let wanted = Flags::IFF_UP | Flags::IFF_MULTICAST;
    let found: BTreeSet<_> = nix::ifaddrs::getifaddrs()?
        .filter(|i| i.flags.contains(wanted) && !i.flags.contains(Flags::IFF_LOOPBACK))
        .filter_map(|i| Some(i.address?.as_sockaddr_in()?.ip()))
        .collect();
    Ok(found.into_iter().collect())
}

fn socket_on(interface: Ipv4Addr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((interface, 0)).into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    let options = SockRef::from(&socket);
    options.set_multicast_if_v4(&interface)?;
    // One hop: who answers is on this network.
    options.set_multicast_ttl_v4(1)?;
    Ok(socket)
}

async fn ask(
    socket: UdpSocket,
    group: SocketAddrV4,
    deadline: Instant,
    answers: mpsc::Sender<(SocketAddr, String)>,
) {
    /// When the question is asked again.
    const AGAIN: Duration = Duration::from_millis(700);
    let mut again = Some(Instant::now() + AGAIN);
    send(&socket, group).await;
    let mut buffer = vec![0; DATAGRAM];
    for _ in 0..MOST_ANSWERS {
        let received = async {
            loop {
                let second = again.unwrap_or(deadline);
                tokio::select! {
                    received = socket.recv_from(&mut buffer) => break received,
                    () = sleep_until(second), if again.is_some() => {
                        again = None;
                        send(&socket, group).await;
                    }
                }
            }
        };
        match timeout_at(deadline, received).await {
            Err(_) => return,
            // An answer of "nobody there" from one host says nothing of the others.
            Ok(Err(_)) => {}
            Ok(Ok((length, from))) => {
                let text = buffer.get(..length).map(String::from_utf8_lossy);
                if let Some(text) = text {
                    let _ = answers.try_send((from, text.into_owned()));
                }
            }
        }
    }
}

/// Asks for cameras, and for devices: some answer to the one only, some to the other.
async fn send(socket: &UdpSocket, group: SocketAddrV4) {
    for (prefix, space, kind) in [
        ("dn", "http://www.onvif.org/ver10/network/wsdl", "NetworkVideoTransmitter"),
        ("tds", "http://www.onvif.org/ver10/device/wsdl", "Device"),
    ] {
        if let Err(error) = socket.send_to(question(prefix, space, kind).as_bytes(), group).await {
            tracing::debug!(%error, "cannot ask here who is there");
        }
    }
}

/// WS-Discovery of April 2005 with WS-Addressing of August 2004, as ONVIF Core §7.3 has it.
fn question(prefix: &str, space: &str, kind: &str) -> String {
    let id: u128 = rand::random();
    // A UUID of version 4.
    let id = (id & !(0xf000 << 64) & !(3 << 62)) | (0x4000 << 64) | (2 << 62);
    let hex = format!("{id:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    let (a, b, c, d, e) = (part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
         xmlns:d=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\" xmlns:{prefix}=\"{space}\">\
         <s:Header><a:Action s:mustUnderstand=\"1\">\
         http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action>\
         <a:MessageID>urn:uuid:{a}-{b}-{c}-{d}-{e}</a:MessageID>\
         <a:ReplyTo><a:Address>\
         http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>\
         <a:To s:mustUnderstand=\"1\">urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To></s:Header>\
         <s:Body><d:Probe><d:Types>{prefix}:{kind}</d:Types></d:Probe></s:Body></s:Envelope>"
    )
}

/// The devices of an answer that are where it came from.
fn read(from: IpAddr, text: &str) -> Vec<Found> {
    if xml::check(text).is_err_and(|unfit| unfit != xml::Unfit::Broken) {
        return Vec::new();
    }
    let mut devices = Vec::new();
    for said in xml::probe_matches(text, IN_ONE) {
        let own = said.addresses.split_whitespace().filter_map(|text| {
            let url = Url::parse(text).ok()?;
            let is_sender = match url.host()? {
                Host::Ipv4(ip) => IpAddr::V4(ip) == from,
                Host::Ipv6(ip) => IpAddr::V6(ip) == from,
                Host::Domain(_) => false,
            };
            (is_sender && matches!(url.scheme(), "http" | "https")).then_some(url)
        });
        let own: Vec<_> = own.take(ADDRESSES).collect();
        let Some(first) = own.iter().find(|url| url.scheme() == "http").or(own.first()) else {
            continue;
        };
        let scopes = || said.scopes.split_whitespace();
        devices.push(Found {
            ip: from,
            port: first.port_or_known_default().unwrap_or(80),
            path: tidy(first.path()),
            endpoint: tidy(&said.endpoint),
            name: scope(scopes(), "name"),
            hardware: scope(scopes(), "hardware"),
            location: scoped(scopes(), "location").take(ADDRESSES).collect(),
            addresses: own.iter().map(|url| tidy(url.as_str())).collect(),
        });
    }
    devices
}

impl Found {
    /// The same device, heard again.
    fn learn(&mut self, other: Self) {
        self.name = self.name.take().or(other.name);
        self.hardware = self.hardware.take().or(other.hardware);
        if self.location.is_empty() {
            self.location = other.location;
        }
        for address in other.addresses {
            if self.addresses.len() < ADDRESSES && !self.addresses.contains(&address) {
                self.addresses.push(address);
            }
        }
    }
}

/// What a scope of that kind says.
pub(super) fn scope<'a>(scopes: impl Iterator<Item = &'a str>, kind: &'a str) -> Option<String> {
    scoped(scopes, kind).next()
}

fn scoped<'a>(
    scopes: impl Iterator<Item = &'a str>,
    kind: &'a str,
) -> impl Iterator<Item = String> {
    scopes.filter_map(move |scope| {
        let rest = scope.trim().strip_prefix("onvif://www.onvif.org/")?;
        let value = rest.strip_prefix(kind)?.strip_prefix('/')?;
        let value = tidy(&percent_decode_str(value).decode_utf8_lossy().replace('_', " "));
        (!value.is_empty()).then_some(value)
    })
}
