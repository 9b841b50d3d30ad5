//! Sessions on UDP whose connection is gone: they play on until they time out, and whoever comes
//! back for one from the same address and as the same user gets it.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{mpsc, oneshot};

use super::{connection::Player, footage::Resource};
use crate::proto::rtsp::server::{Session, SessionId};

/// A session with what plays it.
pub(super) type Adopted = (Session<Arc<Resource>>, Player);

/// Somebody asks for a session.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) session: SessionId,
    pub(super) peer: IpAddr,
    pub(super) owner: String,
    pub(super) answer: oneshot::Sender<Option<Adopted>>,
}

/// Where each of them is kept. Locked for a look-up only.
#[derive(Debug, Default)]
pub(super) struct Orphans(Mutex<HashMap<SessionId, mpsc::Sender<Claim>>>);

impl Orphans {
    pub(super) fn add(&self, session: SessionId, keeper: mpsc::Sender<Claim>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(session, keeper);
    }

    pub(super) fn remove(&self, session: &SessionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(session);
    }

    /// The session, if its keeper gives it to this asker.
    pub(super) async fn claim(
        &self,
        session: &SessionId,
        peer: IpAddr,
        owner: &str,
    ) -> Option<Adopted> {
        let keeper = {
            let orphans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            orphans.get(session).cloned()
        }?;
        let (answer, adopted) = oneshot::channel();
        let claim = Claim { session: session.clone(), peer, owner: owner.to_owned(), answer };
        keeper.send(claim).await.ok()?;
        adopted.await.ok().flatten()
    }
}
