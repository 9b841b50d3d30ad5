//! A camera through HTTP: the tunnels of a server that is not ours.

use crate::harness::{Camera, Clip, Vedette};

#[test]
fn the_tunnels_of_gstreamers_server_are_taken_with_and_without_a_login() {
    for login in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let streams = [("cam", Clip::H264Aac)];
        let camera = if login {
            Camera::with_digest(dir.path(), &streams)
        } else {
            Camera::start(dir.path(), &streams)
        };
        let mut vedette = Vedette::start(dir.path(), 2);
        vedette.add_camera("door", &camera.url("cam"), "http");
        vedette.wait_for_segments("door", 1);
        let status = vedette.get("/cameras/door/status");
        let stream = &status["streams"][0];
        assert_eq!(stream["reconnects"], 0, "{status:#}");
        assert_eq!(stream["audio"]["codec"], "AAC", "{status:#}");
        vedette.stop();
    }
}
