//! RTSP.
