//! Which streams there are: asked by path, answered by whoever runs the server.

use futures_util::future::BoxFuture;

use crate::id::{Role, Slug, StreamId};

/// Finds streams by the names in a URL's path.
pub trait Directory: Send + Sync + 'static {
    /// The stream called `stream` (the main one when `None`) of `camera`, or `None`. The names come
    /// decoded from a URL: anything may stand in them.
    fn resolve<'a>(
        &'a self,
        camera: &'a str,
        stream: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<StreamRef>, DirectoryError>>;
}

/// A stream that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRef {
    /// Its camera.
    pub camera: Slug,
    /// Main or sub.
    pub role: Role,
    /// Its id.
    pub stream: StreamId,
    /// What people call the camera; shown by players.
    pub name: String,
}

/// The directory cannot answer now.
#[derive(Debug, thiserror::Error)]
#[error("look up a stream")]
pub struct DirectoryError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
