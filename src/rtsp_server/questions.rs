//! What the state machine asks, answered: who is this, is there such footage, which ports.

use std::{net::IpAddr, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::{error, warn};

use super::{
    Shared,
    delivery::{Command, Sink},
    directory::StreamRef,
    footage::{Kind, Resource},
    gate::Gate,
    multicast::Group,
    orphans::Adopted,
    udp::Pair,
    writer::Queue,
};
use crate::{
    access::Action,
    playback::Asked,
    proto::{
        access_unit::TrackIndex,
        rtsp::{
            sdp,
            server::{
                Carrier, Content, Credentials, Described, Place, Refusal, SessionId, Started, Wish,
            },
        },
    },
};

/// A connection's way to the rest of the server. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) shared: Arc<Shared>,
    pub(super) gate: Arc<Gate>,
    pub(super) local: IpAddr,
    pub(super) peer: IpAddr,
    pub(super) queue: Queue,
}

/// A SETUP that can be granted.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) session: Option<SessionId>,
    pub(super) resource: Arc<Resource>,
    pub(super) track: TrackIndex,
    pub(super) sink: Sink,
    pub(super) server_port: Option<(u16, u16)>,
    /// What it watches, by multicast; `sink` is then that of all who do.
    pub(super) group: Option<Arc<Group>>,
    /// Login of whoever it is for.
    pub(super) owner: String,
}

impl Asker {
    /// Ports of ours for the client's.
    pub(super) fn pair(&self, to: (u16, u16)) -> Result<Pair, Refusal> {
        let ports = self.shared.ports.as_ref();
        let pair = ports.and_then(|ports| ports.open(self.local, self.peer, to));
        pair.ok_or_else(|| {
            warn!("no UDP ports are left for RTP");
            Refusal::NoCarrier
        })
    }

    pub(super) async fn describe(
        self,
        who: Credentials,
        place: Place,
    ) -> Result<Described, Refusal> {
        let (resource, _) = self.resolve(&who, &place).await?;
        let name = resource.stream.name.clone();
        let id = resource.stream.stream.0.unsigned_abs();
        let tracks = Arc::clone(&resource.tracks);
        let described = |version, extent, token| Described {
            name,
            id,
            version,
            address: self.local,
            tracks,
            extent,
            token,
        };
        Ok(match &resource.kind {
            Kind::Live(channel) => {
                let run = channel.current().map_or(0, |run| run.id.0.unsigned_abs());
                described(run, sdp::Extent::Live, None)
            }
            Kind::Recorded(_, clip) => {
                let (start, end, length) = (clip.start(), clip.end(), clip.duration());
                let version = end.as_micros().unsigned_abs();
                let extent = sdp::Extent::Recorded { start, end, length };
                described(version, extent, Some(clip.token()))
            }
            #[cfg(test)]
            Kind::Scripted(script) => {
                let (length, end) = script.end();
                let extent = sdp::Extent::Recorded { start: script.start(), end, length };
                described(1, extent, Some("script".to_owned()))
            }
        })
    }

    pub(super) async fn set_up(
        self,
        who: Credentials,
        place: Place,
        session: Option<(SessionId, Arc<Resource>)>,
        carrier: Carrier,
    ) -> Result<Granted, Refusal> {
        let (session, resource, owner) = match session {
            Some((session, resource)) => {
                let principal = self.gate.identify(&who).await?;
                self.gate.decide(&principal, action(&resource), &resource.stream.camera)?;
                (Some(session), resource, principal.name)
            }
            None => {
                let (resource, owner) = self.resolve(&who, &place).await?;
                (None, resource, owner)
            }
        };
        let track = match (place.track, resource.tracks.len()) {
            (Some(track), _) => track,
            (None, 1) => TrackIndex(0),
            (None, _) => return Err(Refusal::Aggregate),
        };
        if track.as_usize() >= resource.tracks.len() {
            return Err(Refusal::NotFound(format!("there is no track {}", track.0)));
        }
        let mut group = None;
        let (sink, server_port) = match carrier {
            Carrier::Interleaved { rtp, rtcp } => {
                (Sink::Interleaved { queue: self.queue.clone(), rtp, rtcp }, None)
            }
            Carrier::Udp { rtp, rtcp } => {
                let pair = self.pair((rtp, rtcp))?;
                let server_port = pair.ports();
                (Sink::Udp(pair), Some(server_port))
            }
            Carrier::Multicast => {
                let groups = self.shared.groups.as_ref().ok_or(Refusal::NoCarrier)?;
                let joined = groups.join(&self.shared, &resource).await?;
                let sink = joined.sink(track).ok_or(Refusal::NoCarrier)?;
                group = Some(joined);
                (sink, None)
            }
        };
        Ok(Granted { session, resource, track, sink, server_port, group, owner })
    }

    pub(super) async fn start(
        self,
        who: Credentials,
        resource: Arc<Resource>,
        player: Option<mpsc::Sender<Command>>,
        wish: Wish,
        tracks: Vec<TrackIndex>,
        play: u64,
    ) -> Result<Started, Refusal> {
        let principal = self.gate.identify(&who).await?;
        self.gate.decide(&principal, action(&resource), &resource.stream.camera)?;
        let player = player.ok_or(Refusal::Internal)?;
        let (answer, started) = oneshot::channel();
        let command = Command::Start { wish, tracks, play, answer };
        player.send(command).await.map_err(|_| Refusal::Internal)?;
        started.await.map_err(|_| Refusal::Internal)?
    }

    pub(super) async fn adopt(
        self,
        who: Credentials,
        session: SessionId,
    ) -> Result<Option<Adopted>, Refusal> {
        let principal = self.gate.identify(&who).await?;
        Ok(self.shared.orphans.claim(&session, self.peer, &principal.name).await)
    }

    /// What the place is, and the login of whoever asks for it and may see it.
    async fn resolve(
        &self,
        who: &Credentials,
        place: &Place,
    ) -> Result<(Arc<Resource>, String), Refusal> {
        let wanted = match place.content {
            Content::Live => Action::ViewLive,
            Content::Recording { .. } | Content::Clip { .. } => Action::ViewRecorded,
        };
        let (stream, owner) = self.find(who, place, wanted).await?;
        let resource = match &place.content {
            Content::Live => self.live(stream).await?,
            Content::Recording { start, end } => {
                let asked = Asked { start: *start, end: *end };
                self.recorded(stream, Err(asked)).await?
            }
            Content::Clip { token } => self.recorded(stream, Ok(token)).await?,
        };
        Ok((Arc::new(resource), owner))
    }

    /// The stream of a place, and the login of whoever asks for it and may do this to it.
    pub(super) async fn find(
        &self,
        who: &Credentials,
        place: &Place,
        wanted: Action,
    ) -> Result<(StreamRef, String), Refusal> {
        let principal = self.gate.identify(who).await?;
        let directory = &self.shared.parts.directory;
        let stream = match directory.resolve(&place.camera, place.stream.as_deref()).await {
            Ok(Some(stream)) => stream,
            Ok(None) => return Err(Refusal::NotFound("there is no such camera or stream".into())),
            Err(error) => {
                error!(%error, cause = ?std::error::Error::source(&error), "look up a stream");
                return Err(Refusal::Internal);
            }
        };
        self.gate.decide(&principal, wanted, &stream.camera)?;
        Ok((stream, principal.name))
    }

    /// Waits for the camera's parameters, for it may just be coming up.
    async fn live(&self, stream: StreamRef) -> Result<Resource, Refusal> {
        let channel = self.shared.parts.hub.channel(stream.stream);
        let wait = self.shared.settings.describe_wait;
        let Ok(run) = timeout(wait, channel.wait_for_run()).await else {
            let why = format!("camera {} is not connected", stream.camera);
            return Err(Refusal::Unavailable { retry_after: wait, why });
        };
        Ok(Resource { stream, tracks: Arc::clone(&run.tracks), kind: Kind::Live(channel) })
    }

    async fn recorded(
        &self,
        stream: StreamRef,
        which: Result<&String, Asked>,
    ) -> Result<Resource, Refusal> {
        #[cfg(test)]
        if let Some(script) = &self.shared.script {
            let tracks = script.tracks();
            return Ok(Resource { stream, tracks, kind: Kind::Scripted(Arc::clone(script)) });
        }
        let Some(archive) = &self.shared.parts.archive else {
            return Err(Refusal::NotFound("nothing is recorded here".into()));
        };
        let clip = match which {
            Err(asked) => archive
                .clip(stream.stream, asked)
                .await
                .map(|clip| clip.ok_or_else(|| Refusal::NotFound(no_footage(&stream, asked)))),
            Ok(token) => archive
                .clip_from_token(stream.stream, token)
                .await
                .map(|clip| clip.map_err(|_| Refusal::NotFound("there is no such clip".into()))),
        };
        let clip = clip.map_err(|error| {
            warn!(camera.slug = %stream.camera, %error, "look up footage");
            Refusal::Unavailable {
                retry_after: std::time::Duration::from_secs(5),
                why: "the index of footage does not answer".into(),
            }
        })??;
        let tracks = Arc::clone(clip.tracks());
        Ok(Resource { stream, tracks, kind: Kind::Recorded(archive.as_ref().clone(), clip) })
    }
}

fn action(resource: &Resource) -> Action {
    if resource.kind.is_live() { Action::ViewLive } else { Action::ViewRecorded }
}

fn no_footage(stream: &StreamRef, asked: Asked) -> String {
    let camera = &stream.camera;
    match (asked.start, asked.end) {
        (None, None) => format!("there is no footage of {camera}"),
        (Some(a), None) => format!("there is no footage of {camera} since {a}"),
        (None, Some(b)) => format!("there is no footage of {camera} before {b}"),
        (Some(a), Some(b)) => format!("there is no footage of {camera} from {a} to {b}"),
    }
}
