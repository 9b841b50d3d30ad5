//! A disk that was replaced on purpose.
//!
//! A folder that does not carry the id it should is not the volume (`marker.rs`), until a person says
//! that it is from now on. That is done in an order that a crash may interrupt anywhere: the new
//! disk is given its id ([`Volumes::stand_in`]), the index remembers that id, and then it is taken into
//! use ([`Volumes::accept`]). Before the index remembers, nothing has changed; after, the next start
//! does the rest.

use std::{io, sync::Arc};

use super::{Volumes, marker, reader::blocking, state::VolumeState};

/// Why what stands in a volume's place is not taken for it.
#[derive(Debug, thiserror::Error)]
pub enum NotAccepted {
    /// No volume is called so.
    #[error("no volume has this name")]
    Unknown,
    /// It is itself, or nothing is there.
    #[error("nothing else stands in its place: it is {}{}", .state.as_str(),
        .why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default())]
    NotReplaced {
        /// How it is.
        state: VolumeState,
        /// Why it is not ready.
        why: Option<String>,
    },
    /// The disk that stands there is another volume of this recorder.
    #[error("the disk that stands there is the volume {0}: they were mixed up")]
    IsOther(String),
    /// The new disk cannot be read or written.
    #[error("the new disk cannot be used")]
    Disk(#[source] io::Error),
}

impl Volumes {
    /// The id of what stands in a volume's place; a disk without one is given one. Nothing else
    /// changes.
    ///
    /// # Errors
    ///
    /// [`NotAccepted`].
    pub async fn stand_in(&self, name: &str) -> Result<String, NotAccepted> {
        let volume = self.get(name).ok_or(NotAccepted::Unknown)?;
        let ground = Arc::clone(&volume.ground);
        if ground.replaced().is_none() {
            let (state, why) = (volume.state(), ground.availability.why());
            return Err(NotAccepted::NotReplaced { state, why });
        }
        let (fs, root) = (Arc::clone(&ground.fs), ground.root.clone());
        let found = blocking(move || match marker::read(&*fs, &root)? {
            Some(id) => Ok((id, false)),
            None => {
                fs.create_folder(&marker::own_folder(&root))?;
                marker::make(&*fs, &root).map(|id| (id, true))
            }
        });
        let (id, new) = found.await.map_err(NotAccepted::Disk)?;
        let other = |v: &&Arc<super::Volume>| {
            v.name() != name && v.ground.expected().as_deref() == Some(&*id)
        };
        match self.all().iter().find(other).filter(|_| !new) {
            Some(other) => Err(NotAccepted::IsOther(other.name().to_owned())),
            None => Ok(id),
        }
    }

    /// Has what carries this id be the volume from now on. To be called when the index remembers it.
    pub fn accept(&self, name: &str, id: &str) {
        if let Some(volume) = self.get(name) {
            volume.ground.expect(id);
        }
    }
}
