//! Table `volume`: the root folders that footage lies on, and how each is recognised.

use super::{Result, Store};
use crate::model::VolumeRow;

impl Store {
    /// Volumes that the index knows.
    pub async fn known_volumes(&self) -> Result<Vec<VolumeRow>> {
        todo!()
    }

    /// Remembers the id in a volume's marker file; adds the volume when it is new.
    pub async fn set_volume_marker(&self, volume: &str, marker: &str) -> Result<()> {
        let _ = (volume, marker);
        todo!()
    }
}
