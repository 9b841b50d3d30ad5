//! One round: unlink what waits, ask, plan, carry out.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    OnHold, Parts, RESERVE_SECONDS, Report, Result, Retention, StreamReport,
    lanes::Lanes,
    notes::Notes,
    plan::{self, Input, Plan, Step, StreamInput, VolumeInput, Want},
    report,
    settle::Observed,
    unlink::Unlinker,
};
use crate::{
    disk::{Volume, VolumeState, deleted::DeletedSegment},
    id::{SegmentId, StreamId},
    model::{FootageStream, VolumeUse},
    proto::time::WallTime,
};

/// Times a plan may ask for more before it is carried out as far as it goes.
const LOADS: usize = 64;
/// Between two steps, while no volume is full: the index is others' too.
const PAUSE: Duration = Duration::from_millis(20);
/// Freed at once where a quota leaves no room: more than a full volume needs to be taken for well.
const QUOTA_STEP: u64 = 2 << 20;
/// Meta key of a rebuild under way; not empty while locks may not be back.
const REBUILD: &str = "rebuild";

/// What a round keeps for the next.
#[derive(Debug)]
pub(super) struct Work {
    lanes: Lanes,
    unlinker: Unlinker,
    notes: Notes,
    /// Volumes whose files could be deleted in the last round.
    usable: BTreeSet<String>,
}

impl Work {
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            lanes: Lanes::new(),
            unlinker: Unlinker::new(parts.store.clone(), Arc::clone(&parts.volumes)),
            notes: Notes::new(parts.store.clone(), Arc::clone(&parts.volumes)),
            usable: BTreeSet::new(),
        }
    }
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Segments deleted.
    pub deleted: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files unlinked.
    pub unlinked: u64,
    /// There is more to delete: the next round is due at once.
    pub more: bool,
}

/// A volume as it stands.
struct Standing {
    usable: bool,
    full: bool,
    free: u64,
    total: u64,
    written: u64,
}

impl Retention {
    /// One whole round.
    ///
    /// # Errors
    ///
    /// When the index did not answer; what was done stays done.
    pub async fn round(&self) -> Result<Round> {
        self.round_until(&CancellationToken::new()).await
    }

    /// How it would stand with all limits if a round began now, and what would go next, also where
    /// nothing has to go yet. Deletes nothing.
    ///
    /// # Errors
    ///
    /// When the index did not answer.
    pub async fn plan(&self) -> Result<Arc<Report>> {
        let mut lanes = Lanes::new();
        lanes.begin(*self.parts.store.watch_state().borrow());
        let waiting = |_: &str| 0;
        let (_, _, report) = self.look(&mut lanes, true, waiting).await?;
        Ok(Arc::new(report))
    }

    pub(super) async fn round_until(&self, stop: &CancellationToken) -> Result<Round> {
        let began = Instant::now();
        let mut guard = self.work.lock().await;
        let work = &mut *guard;
        let mut round = Round::default();
        if let Some(on_hold) = self.on_hold().await? {
            let at = self.parts.clock.now();
            let report = Report { at, on_hold: Some(on_hold), ..Report::default() };
            self.report.send_replace(Arc::new(report));
            return Ok(round);
        }
        self.unlink(work, &mut round).await?;
        work.lanes.begin(*self.parts.store.watch_state().borrow());
        let Work { lanes, unlinker, .. } = &mut *work;
        let (plan, input, report) =
            self.look(lanes, false, |volume| unlinker.waiting(volume)).await?;
        self.tell(report);
        round.more = plan.more || !plan.wants.is_empty();
        for step in &plan.steps {
            if stop.is_cancelled() {
                break;
            }
            self.carry_out(work, step, &mut round).await?;
            self.unlink(work, &mut round).await?;
            if !input.volumes.iter().any(|v| v.full) {
                tokio::time::sleep(PAUSE).await;
            }
        }
        work.notes.tidy(work.usable.iter().map(String::as_str)).await?;
        // A plan whose every pick was refused would come back at once, for ever.
        round.more &= round.deleted > 0;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.round_us.store(took, Relaxed);
        self.counters.rounds.fetch_add(1, Relaxed);
        if round.deleted > 0 {
            let Round { deleted, bytes, .. } = round;
            tracing::debug!(segments = deleted, bytes, duration_ms = took / 1_000, "deleted");
        }
        Ok(round)
    }

    /// Why nothing at all may be deleted.
    async fn on_hold(&self) -> Result<Option<OnHold>> {
        let rebuild = self.parts.store.meta(REBUILD).await?;
        Ok(rebuild.filter(|why| !why.is_empty()).map(OnHold::Rebuild))
    }

    /// Asks and plans.
    async fn look(
        &self,
        lanes: &mut Lanes,
        preview: bool,
        waiting: impl Fn(&str) -> u64,
    ) -> Result<(Plan, Input, Report)> {
        let store = &self.parts.store;
        let streams = store.footage_streams().await?;
        let uses = store.volume_use().await?;
        let mut by_stream: HashMap<StreamId, Vec<VolumeUse>> = HashMap::new();
        for used in uses.into_iter().filter(|u| u.segments > 0) {
            by_stream.entry(used.stream).or_default().push(used);
        }
        let (now, age_held) = match self.parts.age.now() {
            Ok(now) => (now, None),
            Err(held) => (self.parts.clock.now(), Some(held)),
        };
        let mut loads = 0;
        let standings: Vec<Standing> =
            self.parts.volumes.all().iter().map(|v| self.standing(v.name())).collect();
        let (input, plan) = loop {
            lanes.find_epochs(store, now).await?;
            let mut input = self.input(lanes, &streams, &by_stream, &standings, &waiting, now);
            (input.age_held, input.preview) = (age_held.is_some(), preview);
            let plan = plan::plan(&input);
            loads += 1;
            if plan.wants.is_empty() || loads > LOADS {
                break (input, plan);
            }
            for Want { stream, lane } in &plan.wants {
                let of = streams.get(*stream).and_then(|s| {
                    let used = by_stream.get(&s.stream)?.get(*lane)?;
                    Some((s, used))
                });
                if let Some((stream, used)) = of {
                    lanes.load(store, stream.camera, stream.stream, &used.volume).await?;
                }
            }
        };
        let oldest = store.usage().await?;
        let mut report = Report::new(plan.clone(), &input);
        report.age_held = age_held;
        report.streams = streams
            .iter()
            .map(|s| StreamReport {
                stream: s.stream,
                bytes: s.bytes,
                oldest: oldest.get(&s.stream).map(|(_, start)| *start),
            })
            .collect();
        let observed = self.observed();
        report.volumes =
            report::volumes(&input, |name| observed.get(name).map(|observed| &observed.pace));
        drop(observed);
        Ok((plan, input, report))
    }

    /// What a plan goes by.
    fn input(
        &self,
        lanes: &Lanes,
        streams: &[FootageStream],
        uses: &HashMap<StreamId, Vec<VolumeUse>>,
        standings: &[Standing],
        waiting: &impl Fn(&str) -> u64,
        now: WallTime,
    ) -> Input {
        let volumes = &self.parts.volumes;
        let names: Vec<&str> = volumes.all().iter().map(|v| v.name()).collect();
        let index: HashMap<&str, usize> = names.iter().enumerate().map(|(i, n)| (*n, i)).collect();
        // By volume: bytes in open segments, and the largest segment of each stream recorded there.
        let mut open_on = vec![(0_u64, 0_u64); names.len()];
        let mut used_on = vec![0_u64; names.len()];
        let mut inputs = Vec::with_capacity(streams.len());
        for stream in streams {
            let mut largest = lanes.largest(stream.stream);
            let mut open_bytes = 0_u64;
            let open = volumes.open_segments().of(stream.stream);
            for segment in &open {
                let bytes = segment.progress().bytes;
                largest = largest.max(bytes);
                open_bytes = open_bytes.saturating_add(bytes);
            }
            for segment in &open {
                let at = index.get(segment.opened.volume.as_str());
                if let Some((bytes, most)) = at.and_then(|at| open_on.get_mut(*at)) {
                    *bytes = bytes.saturating_add(segment.progress().bytes);
                    *most = most.saturating_add(largest);
                }
            }
            let leased = volumes.leases().of(stream.stream);
            let lane = |used: &VolumeUse| {
                let at = index.get(used.volume.as_str()).copied();
                lanes.lane(stream.stream, &used.volume, at, used.bytes, &leased)
            };
            let own = uses.get(&stream.stream).map_or(&[][..], Vec::as_slice);
            for used in own {
                let at = index.get(used.volume.as_str());
                if let Some(bytes) = at.and_then(|at| used_on.get_mut(*at)) {
                    *bytes = bytes.saturating_add(used.bytes);
                }
            }
            inputs.push(StreamInput {
                id: stream.stream,
                limits: stream.retention,
                created: stream.created,
                open_bytes,
                largest,
                epochs: lanes.epochs(stream.stream),
                lanes: own.iter().map(lane).collect(),
            });
        }
        let mut observed = self.observed();
        let all = volumes.all().iter().zip(standings).enumerate();
        let volume = |(at, (volume, standing)): (usize, (&Arc<Volume>, &Standing))| {
            let (name, settings) = (volume.name(), volume.settings());
            let (open_bytes, largest) = open_on.get(at).copied().unwrap_or_default();
            let used = used_on.get(at).copied().unwrap_or_default().saturating_add(open_bytes);
            let seen: &mut Observed = observed.entry(name.to_owned()).or_default();
            seen.note(standing.written, used);
            let rate = seen.pace.peak_rate().unwrap_or(0);
            let settling = seen.settling(standing.free, standing.written, standing.full);
            VolumeInput {
                name: name.into(),
                max_bytes: settings.max_bytes,
                min_free: settings.min_free_bytes,
                space: (standing.total > 0).then_some((standing.free, standing.total)),
                usable: standing.usable,
                full: standing.full,
                reserve: rate.saturating_mul(RESERVE_SECONDS).max(largest),
                open_bytes,
                freeing: waiting(name).saturating_add(settling),
            }
        };
        Input {
            now,
            age_held: false,
            preview: false,
            volumes: all.map(volume).collect(),
            streams: inputs,
        }
    }

    /// How a volume stands now.
    fn standing(&self, name: &str) -> Standing {
        let volumes = &self.parts.volumes;
        let state = volumes.state(name);
        let counters = volumes.counters().into_iter().find(|(n, _)| n == name);
        let (mut free, total, written) = counters.map_or((0, 0, 0), |(_, c)| {
            let get = |counter: &AtomicU64| counter.load(Relaxed);
            (get(&c.free_bytes), get(&c.total_bytes), get(&c.bytes_written))
        });
        let least = volumes.get(name).map_or(0, |v| v.settings().min_free_bytes);
        // Of one that fails, is read-only or missing nothing can be unlinked; it may come back.
        let usable = matches!(state, Some(VolumeState::Ready | VolumeState::Full));
        let full = usable && (state == Some(VolumeState::Full) || (total > 0 && free <= least));
        if full && free > least {
            // Writes find no room where the file system says that there is some: a quota. What is
            // deleted lets a write through; the volume is then tried, and not full any more.
            free = least.saturating_sub(QUOTA_STEP);
        }
        Standing { usable, full, free, total, written }
    }

    /// Deletes the rows of a step.
    async fn carry_out(&self, work: &mut Work, step: &Step, round: &mut Round) -> Result<()> {
        let leases = self.parts.volumes.leases();
        let mut ids = Vec::with_capacity(step.segments.len());
        for pick in &step.segments {
            let range = pick.start..pick.end;
            if pick.breaks_lease {
                leases.break_over(pick.stream, &range);
            } else if leases.holds(pick.stream, &range) {
                // Since the plan was made.
                continue;
            }
            ids.push(pick.id);
        }
        let volume = self.parts.volumes.all().get(step.volume).map(|v| v.name().to_owned());
        let volume = volume.unwrap_or_default();
        let noted = self.being_deleted(step, &ids).await?;
        work.notes.add(&volume, noted).await?;
        let deleted = self.parts.store.delete_segments(&ids).await?;
        if deleted.deleted.len() < ids.len() {
            let kept: Vec<SegmentId> =
                ids.iter().filter(|id| !deleted.deleted.contains(id)).copied().collect();
            work.notes.keep(&volume, &kept).await;
        }
        work.lanes.forget(&ids.into_iter().collect::<HashSet<_>>());
        let segments = deleted.deleted.len() as u64;
        self.counters.deleted(step.reason, segments, deleted.bytes);
        round.deleted += segments;
        round.bytes = round.bytes.saturating_add(deleted.bytes);
        Ok(())
    }

    /// What is to be noted of segments before they are deleted.
    async fn being_deleted(&self, step: &Step, ids: &[SegmentId]) -> Result<Vec<DeletedSegment>> {
        let files = self.parts.store.files_of(ids).await?.into_iter();
        let noted = files.filter_map(|file| {
            let pick = step.segments.iter().find(|pick| pick.id == file.segment)?;
            Some(DeletedSegment {
                segment: file.segment,
                stream: pick.stream,
                path: file.path,
                bytes: file.bytes,
                start_us: pick.start.as_micros(),
                end_us: pick.end.as_micros(),
            })
        });
        Ok(noted.collect())
    }

    /// Unlinks what waits.
    async fn unlink(&self, work: &mut Work, round: &mut Round) -> Result<()> {
        let standing: HashMap<String, (bool, bool)> = self
            .parts
            .volumes
            .all()
            .iter()
            .map(|v| {
                let Standing { usable, full, .. } = self.standing(v.name());
                (v.name().to_owned(), (usable, full))
            })
            .collect();
        let usable: BTreeSet<String> =
            standing.iter().filter(|(_, (usable, _))| *usable).map(|(n, _)| n.clone()).collect();
        if !usable.is_subset(&work.usable) {
            work.unlinker.again();
        }
        work.usable = usable;
        let may = |volume: &str| standing.get(volume).filter(|s| s.0).map(|(_, full)| *full);
        let late = |volume: &str, bytes: u64| {
            let Standing { free, written, .. } = self.standing(volume);
            self.observed().entry(volume.to_owned()).or_default().unlinked(bytes, free, written);
        };
        let unlinked = work.unlinker.pass(may, late).await?;
        work.notes.unlinked(&unlinked.gone);
        if unlinked.files > 0 {
            for volume in self.parts.volumes.all() {
                // One that is full is tried at once.
                self.parts.volumes.look_at_room(volume.name());
            }
        }
        round.unlinked += unlinked.files;
        self.counters.unlinked.fetch_add(unlinked.files, Relaxed);
        self.counters.unlink_failures.fetch_add(unlinked.failed, Relaxed);
        self.counters.unlink_waiting.store(work.unlinker.waiting_files(), Relaxed);
        Ok(())
    }

    /// Publishes a report, and logs what it says that the one before did not.
    fn tell(&self, report: Report) {
        let before = self.report();
        let known: HashSet<_> =
            before.blocked().map(|(l, why)| (l.reason, l.scope.clone(), why)).collect();
        for (limit, why) in report.blocked() {
            if !known.contains(&(limit.reason, limit.scope.clone(), why)) {
                let (limit_name, scope) = (limit.reason.as_str(), &limit.scope);
                tracing::warn!(limit = limit_name, %scope, why = why.as_str(), "a limit cannot be kept");
            }
        }
        self.report.send_replace(Arc::new(report));
    }

    fn observed(&self) -> MutexGuard<'_, std::collections::BTreeMap<String, Observed>> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
