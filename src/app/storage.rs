//! Volumes, retention and the clock, as the API and the metrics see them.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::{
    disk::Volumes,
    http::{HoldReport, PlanReport, StorageControl, StreamFootage, VolumeCondition, VolumeReport},
    store::StoreError,
};

/// What is known of all that keeps footage.
pub(super) struct Storage {
    pub(super) volumes: Arc<Volumes>,
}

impl StorageControl for Storage {
    fn volumes(&self) -> Vec<VolumeReport> {
        let report = |v: crate::disk::VolumeHealth| VolumeReport {
            state: if v.writable { VolumeCondition::Ready } else { VolumeCondition::Failing },
            reason: v.last_error,
            path: v.path,
            since: None,
            bytes: 0,
            free_bytes: v.free_bytes,
            total_bytes: v.total_bytes,
            max_bytes: None,
            min_free_bytes: 0,
            write_bytes_per_second: None,
            days_left: None,
            holds_days: None,
        };
        self.volumes.health().into_iter().map(report).collect()
    }

    fn footage(&self) -> Vec<StreamFootage> {
        Vec::new()
    }

    fn plan(&self) -> BoxFuture<'_, Result<PlanReport, StoreError>> {
        Box::pin(async { Ok(PlanReport::default()) })
    }

    fn age_hold(&self) -> Option<HoldReport> {
        None
    }

    fn confirm_clock(&self) -> bool {
        false
    }

    fn problems(&self) -> Vec<String> {
        Vec::new()
    }

    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}
