//! Against oxvif's simulated camera where it does what is wanted, and against a small SOAP server of
//! our own where a camera has to misbehave.

mod asking;
mod finding;
mod listening;
mod soap;

use oxvif::mock::{AckOnlyOperation, MockServer, state::ChangeHook};

use super::*;
use crate::{
    clock::Clock,
    model::{Onvif, Secret},
};

const PASSWORD: &str = "s3cr3t-of-the-camera";

fn place(port: u16, path: &str) -> Onvif {
    Onvif { host: "127.0.0.1".to_owned(), port, path: path.to_owned(), events: true }
}

fn login(password: &str) -> Option<Login> {
    Some(Login { username: "admin".to_owned(), password: Secret::new(password.to_owned()) })
}

/// oxvif's camera, which wants a login.
async fn simulated() -> MockServer {
    simulated_telling(std::sync::Arc::new(|_| {})).await
}

/// The same; says each time that it changes, as it does with each event it tells.
async fn simulated_telling(changed: ChangeHook) -> MockServer {
    let server = MockServer::builder()
        .on_change(changed)
        .enforce_auth(true)
        .with_acknowledgment_only(AckOnlyOperation::EventsRenew)
        .with_acknowledgment_only(AckOnlyOperation::EventsUnsubscribe)
        .start()
        .await
        .unwrap();
    server.device().modify(|state| {
        for user in &mut state.users {
            user.password = PASSWORD.to_owned();
        }
    });
    server
}

fn asked(server: &MockServer, password: &str) -> std::sync::Arc<dyn Device> {
    device(place(server.port(), "/onvif/device"), login(password), Clock::system())
}
