//! The one rule for who may do what.

use super::{Denied, Principal};
use crate::{id::Slug, model::UserRole};

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// See a camera's live picture.
    ViewLive,
    /// See a camera's recorded footage: timeline, segments, playback.
    ViewRecorded,
    /// See that cameras exist and how they are set up (never their passwords).
    ReadCameras,
    /// Send a camera's picture to us.
    Publish,
    /// Add, change, delete cameras, and probe addresses.
    ManageCameras,
    /// See whether cameras run and volumes have room.
    ReadStatus,
    /// Scrape metrics.
    ReadMetrics,
    /// Mint, list and revoke one's own tokens.
    ManageOwnTokens,
    /// Protect footage from retention, and take such protection away.
    ManageLocks,
    /// Put marks on the timeline.
    MarkEvents,
    /// Tell retention what to do: confirm the clock.
    ManageStorage,
    /// Read who changed what.
    ReadAudit,
}

/// The one rule for who may do what, for every protocol. `camera` is the one it is about, if any.
///
/// Accounts limited to some cameras are still to come; asking with the camera now means that
/// no caller has to change then.
pub fn decide(principal: &Principal, action: Action, _camera: Option<&Slug>) -> Result<(), Denied> {
    use Action::{
        ManageCameras, ManageLocks, ManageOwnTokens, ManageStorage, MarkEvents, Publish, ReadAudit,
        ReadCameras, ReadMetrics, ReadStatus, ViewLive, ViewRecorded,
    };
    let allowed = match action {
        ViewLive | ViewRecorded | ReadCameras | ReadStatus | ManageOwnTokens => true,
        ManageLocks | MarkEvents => principal.role != UserRole::Viewer,
        ManageCameras | ManageStorage | Publish | ReadAudit | ReadMetrics => {
            principal.role == UserRole::Admin
        }
    };
    if allowed { Ok(()) } else { Err(Denied::Forbidden) }
}
