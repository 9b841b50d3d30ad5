#!/usr/bin/python3
"""A foreign camera: gst-rtsp-server (GStreamer's, not ours) serving clips made by ffmpeg, in real time, looped without end.

    camera.py [--address 127.0.0.1] [--port 0] [--user U --password P --digest|--basic] --sent FILE STREAM…

A STREAM is `PATH=CLIP.mp4` (H.264 or H.265 video, AAC audio if it has some), or `PATH=( … )` with a pipeline of which nothing is logged. Each access unit of video gets a SEI with its running
number ("vedette-unit:N"), so that a reader can say exactly which one it holds. FILE gets a line of JSON for each unit handed to the
payloader: {"path","track","number","md5","pts"} (pts in seconds of the media's own time; md5 over the bytes of the slices or the
raw AAC frame). `ready PORT` is printed once connections are taken. The camera runs until its standard input ends.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

START = b"\x00\x00\x00\x01"


def run(*command):
    return subprocess.run(command, check=True, capture_output=True).stdout


def nal_units(annex_b):
    """NAL units of a byte stream, without start codes."""
    at = annex_b.find(b"\x00\x00\x01")
    while at >= 0:
        begin = at + 3
        at = annex_b.find(b"\x00\x00\x01", begin)
        unit = annex_b[begin:at if at >= 0 else len(annex_b)]
        yield unit.rstrip(b"\x00") if at >= 0 else unit


class Clip:
    """The units of a file: video as lists of NAL units with pts and dts, audio as raw AAC frames."""

    def __init__(self, path):
        probe = json.loads(run("ffprobe", "-v", "error", "-show_streams", "-show_packets", "-of", "json", path))
        self.video = next(s for s in probe["streams"] if s["codec_type"] == "video")
        audio = [s for s in probe["streams"] if s["codec_type"] == "audio"]
        self.hevc = self.video["codec_name"] == "hevc"
        name = "hevc" if self.hevc else "h264"
        stream = run("ffmpeg", "-v", "error", "-i", path, "-map", "0:v", "-c", "copy", "-bsf:v",
                     f"{name}_mp4toannexb,{name}_metadata=aud=insert", "-f", name, "-")
        units, current = [], None
        for nal in nal_units(stream):
            kind = (nal[0] >> 1) & 63 if self.hevc else nal[0] & 31
            if kind == (35 if self.hevc else 9):
                current = []
                units.append(current)
            else:
                current.append(nal)
        packets = [p for p in probe["packets"] if p["codec_type"] == "video"]
        assert len(packets) == len(units), (len(packets), len(units))
        rate = self.video["avg_frame_rate"].split("/")
        self.frame = int(Gst.SECOND * int(rate[1]) / int(rate[0]))
        first = min(float(p["pts_time"]) for p in packets)
        base = float(packets[0]["dts_time"])
        self.pictures = [(u, int(round((float(p["pts_time"]) - first) * 1e9)), int(round((float(p["dts_time"]) - base) * 1e9)))
                         for u, p in zip(units, packets)]
        self.length = self.frame * len(units)
        self.frames, self.rate, self.channels = [], 0, 0
        if audio:
            self.rate, self.channels = int(audio[0]["sample_rate"]), int(audio[0]["channels"])
            adts = run("ffmpeg", "-v", "error", "-i", path, "-map", "0:a", "-c", "copy", "-f", "adts", "-")
            while adts:
                size = ((adts[3] & 3) << 11) | (adts[4] << 3) | (adts[5] >> 5)
                self.frames.append(adts[7:size])
                adts = adts[size:]

    def config(self):
        index = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000].index(self.rate)
        return bytes([(2 << 3) | (index >> 1), ((index & 1) << 7) | (self.channels << 3)])


class Feed:
    """Hands one clip's units to the appsrcs of one media, on need-data."""

    def __init__(self, name, clip, log):
        self.name, self.clip, self.log = name, clip, log
        self.video, self.audio = 0, 0

    def sei(self, number):
        text = b"vedette-unit:%d" % number
        body = bytes([5, 16 + len(text)]) + b"vedette-sei-uuid" + text + b"\x80"
        return (b"\x4e\x01" if self.clip.hevc else b"\x06") + body

    def push_video(self, source, _length):
        clip = self.clip
        loop, at = divmod(self.video, len(clip.pictures))
        nals, pts, dts = clip.pictures[at]
        vcl = [n for n in nals if ((n[0] >> 1) & 63) < 32] if clip.hevc else [n for n in nals if n[0] & 31 in (1, 5)]
        head = nals[: nals.index(vcl[0])]
        parts = head + [self.sei(self.video)] + nals[len(head):]
        buffer = Gst.Buffer.new_wrapped(b"".join(START + n for n in parts))
        buffer.pts = pts + loop * clip.length
        buffer.dts = dts + loop * clip.length
        buffer.duration = clip.frame
        self.write("video", self.video, b"".join(vcl), buffer.pts)
        self.video += 1
        source.emit("push-buffer", buffer)

    def push_audio(self, source, _length):
        clip = self.clip
        frame = clip.frames[self.audio % len(clip.frames)]
        buffer = Gst.Buffer.new_wrapped(frame)
        buffer.pts = buffer.dts = self.audio * 1024 * Gst.SECOND // clip.rate
        buffer.duration = 1024 * Gst.SECOND // clip.rate
        self.write("audio", self.audio, frame, buffer.pts)
        self.audio += 1
        source.emit("push-buffer", buffer)

    def write(self, track, number, payload, pts):
        line = {"path": self.name, "track": track, "number": number, "md5": hashlib.md5(payload).hexdigest(), "pts": pts / 1e9}
        self.log(json.dumps(line))


class Factory(GstRtspServer.RTSPMediaFactory):
    def __init__(self, name, clip, log):
        super().__init__()
        self.name, self.clip, self.log = name, clip, log
        kind = "h265" if clip.hevc else "h264"
        queue = "is-live=false block=false format=time max-bytes=200000"
        launch = (f"appsrc name=video {queue} caps=video/x-{kind},stream-format=byte-stream,alignment=au,"
                  f"width={clip.video['width']},height={clip.video['height']},framerate={clip.video['r_frame_rate']}"
                  f" ! rtp{kind}pay name=pay0 pt=96 config-interval=-1")
        if clip.frames:
            launch += (f" appsrc name=audio {queue} caps=audio/mpeg,mpegversion=4,stream-format=raw,rate={clip.rate},"
                       f"channels={clip.channels},codec_data=(buffer){clip.config().hex()} ! rtpmp4gpay name=pay1 pt=97")
        self.set_launch(f"( {launch} )")
        self.set_shared(True)
        self.set_suspend_mode(GstRtspServer.RTSPSuspendMode.NONE)
        self.connect("media-configure", self.configured)

    def configured(self, _factory, media):
        feed = Feed(self.name, self.clip, self.log)
        element = media.get_element()
        element.get_by_name_recurse_up("video").connect("need-data", feed.push_video)
        if self.clip.frames:
            element.get_by_name_recurse_up("audio").connect("need-data", feed.push_audio)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--address", default="127.0.0.1")
    options.add_argument("--port", default="0")
    options.add_argument("--user")
    options.add_argument("--password")
    options.add_argument("--digest", action="store_true")
    options.add_argument("--basic", action="store_true")
    options.add_argument("--sent", required=True)
    options.add_argument("streams", nargs="+")
    args = options.parse_args()

    Gst.init(None)
    lock, sent = threading.Lock(), open(args.sent, "a", buffering=1, encoding="ascii")

    def log(line):
        with lock:
            sent.write(line + "\n")

    server = GstRtspServer.RTSPServer()
    server.set_address(args.address)
    server.set_service(args.port)
    if args.user:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "user")
        if args.digest:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(args.user, args.password, token)
        else:
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(args.user, args.password), token)
        server.set_auth(auth)
    mounts = server.get_mount_points()
    for stream in args.streams:
        name, path = stream.split("=", 1)
        if path.startswith("("):
            factory = GstRtspServer.RTSPMediaFactory()
            factory.set_launch(path)
        else:
            factory = Factory(name, Clip(path), log)
        if args.user:
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role("user", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS, True)
            permissions.add_permission_for_role("user", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, True)
            factory.set_permissions(permissions)
        mounts.add_factory("/" + name, factory)
    if server.attach(None) == 0:
        sys.exit("cannot listen")
    print("ready", server.get_bound_port(), flush=True)

    loop = GLib.MainLoop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.quit()), daemon=True).start()
    loop.run()


main()
