//! Who is there.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use tokio::{net::UdpSocket, task::JoinSet};

use super::*;

fn answer(endpoint: &str, scopes: &str, addresses: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:d=\"d\" \
         xmlns:a=\"a\"><s:Body><d:ProbeMatches><d:ProbeMatch><a:EndpointReference><a:Address>{endpoint}\
         </a:Address></a:EndpointReference><d:Scopes>{scopes}</d:Scopes><d:XAddrs>{addresses}</d:XAddrs>\
         </d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"
    )
}

/// Sends `answers` to each question.
async fn responder(socket: UdpSocket, answers: Vec<String>) {
    let mut buffer = vec![0; 4_096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let question = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(question.contains("<d:Probe>") && question.contains("urn:uuid:"), "{question}");
        for answer in &answers {
            let _ = socket.send_to(answer.as_bytes(), from).await;
        }
    }
}

/// Searches on the loopback interface only, by unicast.
async fn found(answers: Vec<String>) -> Vec<Found> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let SocketAddr::V4(group) = socket.local_addr().unwrap() else { unreachable!() };
    let mut tasks = JoinSet::new();
    tasks.spawn(responder(socket, answers));
    searched(group).await
}

async fn searched(group: SocketAddrV4) -> Vec<Found> {
    let wait = Duration::from_millis(1_000);
    search(&Search { interfaces: Some(vec![Ipv4Addr::LOCALHOST]), group, wait }).await.unwrap()
}

#[tokio::test]
async fn a_camera_that_answers_is_found_once_with_what_it_says() {
    let scopes = "onvif://www.onvif.org/name/Front%20Door onvif://www.onvif.org/hardware/X_1 \
                  onvif://www.onvif.org/location/country/nl onvif://www.onvif.org/location/city/Delft";
    let addresses = "http://10.9.9.9/onvif http://127.0.0.1:8899/onvif/device_service";
    let said = answer("urn:uuid:1", scopes, addresses);
    let found = found(vec![said.clone(), said]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let camera = &found[0];
    assert_eq!((camera.ip.to_string(), camera.port), ("127.0.0.1".to_owned(), 8_899));
    assert_eq!(camera.path, "/onvif/device_service");
    assert_eq!(camera.name.as_deref(), Some("Front Door"));
    assert_eq!(camera.hardware.as_deref(), Some("X 1"));
    assert_eq!(camera.location, ["country/nl", "city/Delft"]);
    assert_eq!(camera.addresses, ["http://127.0.0.1:8899/onvif/device_service"]);
}

#[tokio::test]
async fn an_address_that_is_not_the_senders_own_is_not_taken() {
    let strangers =
        ["http://10.9.9.9/onvif", "http://metadata.internal/", "file:///etc/passwd", "", "x"];
    let answers = strangers.map(|address| answer("urn:uuid:1", "", address));
    assert_eq!(found(answers.to_vec()).await, []);
}

#[tokio::test]
async fn garbage_and_a_flood_of_answers_do_no_harm() {
    let mut answers = vec!["<".to_owned(), "<a>".repeat(3_000), "no XML".to_owned(), String::new()];
    answers.extend((0..300).map(|n| {
        answer(&format!("urn:uuid:{n}"), "", &format!("http://127.0.0.1:{}/", 1_000 + n))
    }));
    let found = found(answers).await;
    assert!(!found.is_empty() && found.len() <= 256, "{}", found.len());
}

#[tokio::test]
async fn a_camera_in_the_multicast_group_hears_the_question() {
    let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
    let group = Ipv4Addr::new(239, 255, 255, 250);
    socket.join_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(responder(socket, vec![answer("urn:uuid:1", "", "http://127.0.0.1/onvif")]));
    let found = searched(SocketAddrV4::new(group, port)).await;
    assert_eq!(found.len(), 1, "the responder's answer comes from 127.0.0.1");
}
