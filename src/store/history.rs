//! Tables `event` and `audit`: what happened, and who changed what. Newest first, in pages.

use super::{Result, Store};
use crate::{
    id::{AuditId, CameraId, EventId},
    model::{Audit, Event, WallRange},
    proto::time::WallTime,
};

impl Store {
    /// Notes what happened (idempotent).
    pub async fn insert_event(&self, event: Event) -> Result<()> {
        let _ = event;
        todo!()
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
        let _ = (camera, range, before, limit);
        todo!()
    }

    /// Notes a change (idempotent).
    pub async fn insert_audit(&self, audit: Audit) -> Result<()> {
        let _ = audit;
        todo!()
    }

    /// Changes made in the range, newest first, those before the cursor; at most `limit`.
    pub async fn audit_page(
        &self,
        range: WallRange,
        before: Option<(WallTime, AuditId)>,
        limit: u32,
    ) -> Result<Vec<Audit>> {
        let _ = (range, before, limit);
        todo!()
    }
}
