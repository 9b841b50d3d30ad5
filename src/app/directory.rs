//! Which stream an RTSP path means: the index knows, also for a camera that is off or new.

use futures_util::future::BoxFuture;

use crate::{
    id::{Role, Slug},
    rtsp_server::{Directory, DirectoryError, StreamRef},
    store::Store,
};

pub(super) struct Index(pub(super) Store);

impl Directory for Index {
    fn resolve<'a>(
        &'a self,
        camera: &'a str,
        stream: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<StreamRef>, DirectoryError>> {
        Box::pin(async move {
            let Ok(slug) = camera.parse::<Slug>() else { return Ok(None) };
            let Ok(role) = stream.map_or(Ok(Role::Main), str::parse) else { return Ok(None) };
            let found = self.0.camera_by_slug(&slug).await;
            let Some(camera) = found.map_err(|e| DirectoryError(Box::new(e)))? else {
                return Ok(None);
            };
            let stream = camera.streams.iter().find(|s| s.role == role);
            Ok(stream.map(|s| StreamRef {
                camera: camera.slug.clone(),
                role,
                stream: s.id,
                name: camera.name.clone(),
            }))
        })
    }
}
