//! Tables `event` and `audit`: what happened, and who changed what. Newest first, in pages.

use super::{Result, Store, columns::wall, failed};
use crate::{
    id::{AuditId, CameraId, EventId, StreamId},
    model::{Audit, Event, EventKind, WallRange},
    proto::time::WallTime,
};

#[derive(sqlx::FromRow)]
struct EventRow {
    id: EventId,
    at_us: i64,
    kind: String,
    camera: Option<CameraId>,
    stream: Option<StreamId>,
    detail: String,
}

impl EventRow {
    fn into_event(self) -> Event {
        Event {
            id: self.id,
            at: wall(self.at_us),
            kind: self.kind.parse().unwrap_or(EventKind::Other),
            camera: self.camera,
            stream: self.stream,
            detail: self.detail,
        }
    }
}

#[derive(sqlx::FromRow)]
struct AuditRow {
    id: AuditId,
    at_us: i64,
    who: String,
    origin: Option<String>,
    action: String,
    target: String,
    detail: String,
}

impl AuditRow {
    fn into_audit(self) -> Audit {
        Audit {
            id: self.id,
            at: wall(self.at_us),
            who: self.who,
            origin: self.origin,
            action: self.action,
            target: self.target,
            detail: self.detail,
        }
    }
}

/// (?3, ?4) is the cursor: SQLite takes one upper bound for its search, so it is never later than
/// the range's end.
macro_rules! events {
    ($of:literal) => {
        concat!(
            "select id, at_us, kind, camera, stream, detail from event
             where ",
            $of,
            " at_us >= ?1 and at_us < ?2 and (at_us, id) < (?3, ?4)
             order by at_us desc, id desc limit ?5"
        )
    };
}

pub(super) const EVENTS: &str = events!("");
pub(super) const EVENTS_OF: &str = events!("camera = ?6 and");
pub(super) const AUDIT: &str = "
    select id, at_us, who, origin, action, target, detail from audit
    where at_us >= ?1 and at_us < ?2 and (at_us, id) < (?3, ?4)
    order by at_us desc, id desc limit ?5";
const INSERT_EVENT: &str = "
    insert into event (id, at_us, kind, camera, stream, detail) values (?1, ?2, ?3, ?4, ?5, ?6)
    on conflict (id) do nothing";
const INSERT_AUDIT: &str = "
    insert into audit (id, at_us, who, origin, action, target, detail)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    on conflict (id) do nothing";

impl Store {
    /// Notes what happened, in one transaction (idempotent).
    pub async fn insert_events(&self, events: Vec<Event>) -> Result<()> {
        self.writer
            .write("note events", move |db| {
                Box::pin(async move {
                    for event in events {
                        sqlx::query(INSERT_EVENT)
                            .bind(event.id)
                            .bind(event.at.as_micros())
                            .bind(event.kind.as_str())
                            .bind(event.camera)
                            .bind(event.stream)
                            .bind(event.detail)
                            .execute(&mut *db)
                            .await
                            .map_err(failed("note an event"))?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Events of the range, of all cameras or of one, newest first, those before the cursor; at
    /// most `limit`.
    pub async fn events_page(
        &self,
        camera: Option<CameraId>,
        range: WallRange,
        before: Option<(WallTime, EventId)>,
        limit: u32,
    ) -> Result<Vec<Event>> {
        let (at, id) = before.unwrap_or((range.end, EventId(i64::MIN)));
        let mut query = sqlx::query_as(if camera.is_some() { EVENTS_OF } else { EVENTS })
            .bind(range.start.as_micros())
            .bind(upper(&range, before.map(|(at, _)| at)))
            .bind(at.as_micros())
            .bind(id)
            .bind(limit);
        if let Some(camera) = camera {
            query = query.bind(camera);
        }
        let rows: Vec<EventRow> =
            query.fetch_all(&self.readers).await.map_err(failed("list events"))?;
        Ok(rows.into_iter().map(EventRow::into_event).collect())
    }

    /// Notes a change (idempotent).
    pub async fn insert_audit(&self, audit: Audit) -> Result<()> {
        self.writer
            .write("note a change", move |db| {
                Box::pin(async move {
                    sqlx::query(INSERT_AUDIT)
                        .bind(audit.id)
                        .bind(audit.at.as_micros())
                        .bind(audit.who)
                        .bind(audit.origin)
                        .bind(audit.action)
                        .bind(audit.target)
                        .bind(audit.detail)
                        .execute(db)
                        .await
                        .map(|_| ())
                        .map_err(failed("note a change"))
                })
            })
            .await
    }

    /// Changes made in the range, newest first, those before the cursor; at most `limit`.
    pub async fn audit_page(
        &self,
        range: WallRange,
        before: Option<(WallTime, AuditId)>,
        limit: u32,
    ) -> Result<Vec<Audit>> {
        let (at, id) = before.unwrap_or((range.end, AuditId(i64::MIN)));
        let rows: Vec<AuditRow> = sqlx::query_as(AUDIT)
            .bind(range.start.as_micros())
            .bind(upper(&range, before.map(|(at, _)| at)))
            .bind(at.as_micros())
            .bind(id)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(failed("list changes"))?;
        Ok(rows.into_iter().map(AuditRow::into_audit).collect())
    }
}

/// The first instant that is too late: the range's end, or just behind the cursor.
fn upper(range: &WallRange, cursor: Option<WallTime>) -> i64 {
    let end = range.end.as_micros();
    cursor.map_or(end, |at| end.min(at.as_micros().saturating_add(1)))
}
