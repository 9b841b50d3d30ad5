//! A connection's publisher: from SETUP and RECORD to the packets handed down to [`ingest::publish`].
//!
//! Nothing here waits: packets that find the recorder behind are dropped and counted
//! ([`ingest::publish::Feed`]), so a publisher's connection is read as fast as it sends.
//!
//! [`ingest::publish`]: crate::ingest::publish
//! [`ingest::publish::Feed`]: crate::ingest::publish::Feed

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::{
    Shared, counters,
    delivery::Event,
    questions::Asker,
    udp::{Heard, Pair},
    writer::Queue,
};
use crate::{
    access::Action,
    id::Slug,
    ingest::publish::{Announcement, Claim, Feed, Kind, Left, Line, Reports},
    proto::{
        access_unit::TrackIndex,
        rtsp::{
            client::describe::Description,
            server::{Admitted, Carrier, Content, Credentials, Parting, Place, Refusal},
        },
    },
};

/// How often media over UDP is told to the state machine, at most.
const ALIVE: std::time::Duration = std::time::Duration::from_secs(1);

/// Somebody who publishes on a connection. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Publishing {
    camera: Slug,
    claim: Claim,
    announcement: Announcement,
    lines: BTreeMap<usize, Way>,
    feed: Option<Feed>,
    listeners: Vec<DropGuard>,
    _present: counters::Present,
}

#[derive(Clone, Debug)]
enum Way {
    Channels { rtcp: u8 },
    Udp(Pair),
}

/// An ANNOUNCE that is granted.
pub(super) struct Announced {
    camera: Slug,
    claim: Claim,
    announcement: Announcement,
}

/// A SETUP that is granted.
pub(super) struct Entry {
    media: usize,
    way: Way,
    pub(super) admitted: Admitted,
}

impl Asker {
    pub(super) async fn announce(
        self,
        who: Credentials,
        place: Place,
        description: Arc<Description>,
    ) -> Result<Announced, Refusal> {
        debug_assert_eq!(place.content, Content::Live);
        let stream = self.find(&who, &place, Action::Publish).await?.0;
        let camera = stream.camera;
        let Some(berth) = self.shared.parts.berths.get(stream.stream) else {
            let words = format!("{camera} is not published to: it is pulled, or switched off");
            return Err(Refusal::NotPublished(words));
        };
        let announcement = Announcement::new((*description).clone(), berth.audio());
        let announcement = announcement.map_err(|e| Refusal::Unusable(e.to_string()))?;
        let claim = berth.claim().map_err(|busy| Refusal::Busy(busy.to_string()))?;
        Ok(Announced { camera, claim, announcement })
    }

    /// Whether they may still publish.
    pub(super) async fn may_publish(
        &self,
        who: &Credentials,
        camera: &Slug,
    ) -> Result<(), Refusal> {
        let principal = self.gate.identify(who).await?;
        self.gate.decide(&principal, Action::Publish, camera)
    }

    pub(super) async fn admit(
        self,
        who: Credentials,
        camera: Option<Slug>,
        media: usize,
        carrier: Carrier,
    ) -> Result<Entry, Refusal> {
        let camera = camera.ok_or(Refusal::Internal)?;
        self.may_publish(&who, &camera).await?;
        let (way, server_port) = match carrier {
            Carrier::Interleaved { rtcp, .. } => (Way::Channels { rtcp }, None),
            Carrier::Udp { rtp, rtcp } => {
                let pair = self.pair((rtp, rtcp))?;
                pair.expect_much();
                let ports = pair.ports();
                (Way::Udp(pair), Some(ports))
            }
            Carrier::Multicast => return Err(Refusal::NoCarrier),
        };
        let admitted = Admitted { address: self.local, server_port };
        Ok(Entry { media, way, admitted })
    }
}

impl Publishing {
    pub(super) fn new(announced: Announced, shared: &Arc<Shared>) -> Self {
        let Announced { camera, claim, announcement } = announced;
        for left_out in announcement.left_out() {
            warn!(camera.slug = %camera, "announced, and not recorded: {left_out}");
        }
        Self {
            camera,
            claim,
            announcement,
            lines: BTreeMap::new(),
            feed: None,
            listeners: Vec::new(),
            _present: shared.counters.publisher(),
        }
    }

    pub(super) const fn camera(&self) -> &Slug {
        &self.camera
    }

    pub(super) fn enter(&mut self, entry: Entry) -> Admitted {
        self.lines.insert(entry.media, entry.way);
        entry.admitted
    }

    /// RECORD: media flow from here on.
    pub(super) fn record(
        &mut self,
        shared: &Arc<Shared>,
        queue: &Queue,
        events: &mpsc::Sender<Event>,
    ) -> Result<(), Refusal> {
        let taken = |media: &usize| self.announcement.track(*media);
        let ways: BTreeMap<TrackIndex, Way> = self
            .lines
            .iter()
            .filter_map(|(media, way)| Some((taken(media)?, way.clone())))
            .collect();
        if ways.is_empty() {
            return Err(Refusal::Unusable("no track that can be recorded is set up".to_owned()));
        }
        let line = |(track, way): (&TrackIndex, &Way)| Line {
            track: *track,
            rtcp_channel: match way {
                Way::Channels { rtcp } => Some(*rtcp),
                Way::Udp(_) => None,
            },
        };
        let lines = ways.iter().map(line).collect();
        let (back, queue) = (ways.clone(), queue.clone());
        let reports = Reports::new(move |track, report: Bytes| match back.get(&track) {
            Some(Way::Channels { .. }) => {
                // When the connection is gone, so is the feed.
                let _ = queue.report(report);
            }
            Some(Way::Udp(pair)) => {
                pair.report(&report);
            }
            None => {}
        });
        let feed = self.claim.record(&self.announcement, lines, reports);
        let feed = feed.ok_or_else(|| Refusal::Busy("another publisher took over".to_owned()))?;
        for (track, way) in ways {
            let Way::Udp(pair) = way else { continue };
            let listening = CancellationToken::new();
            self.listeners.push(listening.clone().drop_guard());
            let (feed, events, counters) =
                (feed.clone(), events.clone(), Arc::clone(&shared.counters));
            shared.tracker.spawn(async move {
                let mut told: Option<Instant> = None;
                let listen = pair.receive(|heard, data| {
                    let now = Instant::now();
                    if told.is_none_or(|told| now - told >= ALIVE) {
                        told = Some(now);
                        // Another comes.
                        let _ = events.try_send(Event::Published);
                    }
                    let kind = match heard {
                        Heard::Rtp => Kind::Rtp,
                        Heard::Rtcp => Kind::Rtcp,
                    };
                    counters.count_published(data.len(), feed.push(track, kind, data, now));
                });
                listening.run_until_cancelled(listen).await;
            });
        }
        info!(camera.slug = %self.camera, "a publisher records");
        self.feed = Some(feed);
        Ok(())
    }

    /// A frame of the connection.
    pub(super) fn frame(&self, shared: &Shared, media: usize, rtcp: bool, data: Bytes) {
        let Some((feed, track)) = self.feed.as_ref().zip(self.announcement.track(media)) else {
            return;
        };
        let kind = if rtcp { Kind::Rtcp } else { Kind::Rtp };
        let length = data.len();
        shared.counters.count_published(length, feed.push(track, kind, data, Instant::now()));
    }

    /// Media end, and the run with them.
    pub(super) fn rest(&mut self, parting: Parting) {
        let left = match parting {
            Parting::Goodbye => Left::SaidGoodbye,
            Parting::Pause => Left::Paused,
            Parting::Silence => Left::Silent,
            Parting::Gone => Left::Gone,
        };
        self.listeners.clear();
        if let Some(feed) = self.feed.take() {
            feed.leave(left);
        }
    }

    /// Until it has to go: another took over, the camera is published to no more, or what comes
    /// cannot be recorded. Never, without one.
    pub(super) async fn over(publishing: Option<&Self>) {
        let Some(publishing) = publishing else { return std::future::pending().await };
        let evicted = publishing.claim.evicted().cancelled();
        match &publishing.feed {
            None => evicted.await,
            Some(feed) => tokio::select! {
                () = evicted => feed.leave(Left::Replaced),
                () = feed.closed() => {}
            },
        }
    }

    /// The server stops.
    pub(super) fn stop(&mut self) {
        if let Some(feed) = self.feed.take() {
            feed.leave(Left::Stopping);
        }
    }
}
