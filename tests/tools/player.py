#!/usr/bin/python3
"""A foreign player: GStreamer's rtspsrc. Prints a line of JSON for each video access unit it receives.

    player.py [--udp | --multicast] [--onvif yes|no] [--user U --password P] URL STEP…

STEPs: `units:N` (receive N more), `seek:SECONDS` (flushing, rate 1), `rate:R,FROM,TO` (flushing, at another speed; TO may be empty),
`pause:N` (pause, resume, and receive N more), `end` (until EOS). `--onvif` is `onvif-mode`, with rate control or without.
Lines: {"pts": seconds, "number": N or null, "md5": of the slices}, {"event": …}.
"""

import argparse
import hashlib
import json
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import Gst, GstApp  # noqa: E402,F401

MARK = b"vedette-unit:"
PATIENCE = 20 * Gst.SECOND


def say(**line):
    print(json.dumps(line), flush=True)


def nal_units(annex_b):
    at = annex_b.find(b"\x00\x00\x01")
    while at >= 0:
        begin = at + 3
        at = annex_b.find(b"\x00\x00\x01", begin)
        yield annex_b[begin:at].rstrip(b"\x00") if at >= 0 else annex_b[begin:]


class Player:
    def __init__(self, args):
        Gst.init(None)
        self.pipeline = Gst.Pipeline.new("player")
        source = Gst.ElementFactory.make("rtspsrc", "src")
        source.set_property("location", args.url)
        source.set_property("latency", 100)
        Gst.util_set_object_arg(source, "protocols", "udp-mcast" if args.multicast else "udp" if args.udp else "tcp")
        self.onvif = args.onvif is not None
        if self.onvif:
            source.set_property("onvif-mode", True)
            source.set_property("onvif-rate-control", args.onvif == "yes")
        if args.user:
            source.set_property("user-id", args.user)
            source.set_property("user-pw", args.password)
        self.pipeline.add(source)
        self.sink = None
        self.hevc = False
        source.connect("pad-added", self.linked)
        self.pipeline.set_state(Gst.State.PLAYING)

    def linked(self, _source, pad):
        caps = pad.get_current_caps() or pad.query_caps(None)
        fields = caps.get_structure(0)
        if fields.get_string("media") != "video":
            description = "fakesink sync=false async=false"
        else:
            self.hevc = fields.get_string("encoding-name") == "H265"
            kind = "h265" if self.hevc else "h264"
            # `async=false`: a sink that waits for a picture to show while paused would wait for ever, rightly.
            description = ("rtponvifparse ! " if self.onvif else "") + (f"rtp{kind}depay ! {kind}parse ! video/x-{kind},stream-format=byte-stream,alignment=au"
                           " ! appsink name=units sync=false async=false max-buffers=0")
        branch = Gst.parse_bin_from_description(description, True)
        self.pipeline.add(branch)
        branch.sync_state_with_parent()
        pad.link(branch.get_static_pad("sink"))
        if "units" in description:
            self.sink = branch.get_by_name("units")

    def fault(self):
        message = self.pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
        return message.parse_error() if message else None

    def unit(self):
        for _ in range(200):
            if fault := self.fault():
                sys.exit(f"player: {fault}")
            sample = self.sink.try_pull_sample(Gst.SECOND // 10) if self.sink else self.wait()
            if sample:
                return sample
            if self.sink and self.sink.is_eos():
                return None
        sys.exit("player: nothing for 20 s")

    def wait(self):
        message = self.pipeline.get_bus().timed_pop_filtered(Gst.SECOND // 10, Gst.MessageType.ERROR)
        if message:
            sys.exit(f"player: {message.parse_error()}")
        return None

    def show(self, sample):
        buffer = sample.get_buffer()
        data = buffer.extract_dup(0, buffer.get_size())
        segment = sample.get_segment()
        at = segment.to_stream_time(Gst.Format.TIME, buffer.pts)
        mark = data.find(MARK)
        number = None
        if mark >= 0:
            digits = data[mark + len(MARK):mark + len(MARK) + 12]
            number = int(digits[: next(i for i, c in enumerate(digits) if not 48 <= c <= 57)])
        slices = b"".join(n for n in nal_units(data)
                          if (((n[0] >> 1) & 63) < 32 if self.hevc else n[0] & 31 in (1, 5)))
        say(pts=at / Gst.SECOND, number=number, md5=hashlib.md5(slices).hexdigest())

    def receive(self, count):
        for _ in range(count):
            sample = self.unit()
            if sample is None:
                say(event="eos")
                return
            self.show(sample)

    def step(self, verb, value):
        if verb == "units":
            self.receive(int(value))
        elif verb == "end":
            self.receive(1 << 30)
        elif verb == "seek":
            self.pipeline.get_state(PATIENCE)
            flags = Gst.SeekFlags.FLUSH | Gst.SeekFlags.KEY_UNIT
            ok = self.pipeline.seek_simple(Gst.Format.TIME, flags, int(float(value) * Gst.SECOND))
            say(event="seek", to=float(value), ok=ok)
            self.pipeline.get_state(PATIENCE)
        elif verb == "rate":
            rate, *ends = value.split(",")
            self.pipeline.get_state(PATIENCE)
            (start, from_), (stop, to) = (
                (Gst.SeekType.SET, int(float(end) * Gst.SECOND)) if end else (Gst.SeekType.NONE, 0) for end in ends)
            ok = self.pipeline.seek(float(rate), Gst.Format.TIME, Gst.SeekFlags.FLUSH, start, from_, stop, to)
            say(event="rate", to=float(rate), ok=ok)
            self.pipeline.get_state(PATIENCE)
        elif verb == "pause":
            self.pipeline.set_state(Gst.State.PAUSED)
            self.pipeline.get_state(PATIENCE)
            say(event="paused")
            self.pipeline.set_state(Gst.State.PLAYING)
            self.receive(int(value))
        else:
            sys.exit(f"player: what is {verb}?")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--udp", action="store_true")
    options.add_argument("--multicast", action="store_true")
    options.add_argument("--onvif", choices=["yes", "no"])
    options.add_argument("--user")
    options.add_argument("--password")
    options.add_argument("url")
    options.add_argument("steps", nargs="+")
    args = options.parse_args()
    player = Player(args)
    for step in args.steps:
        player.step(*step.partition(":")[::2])
    ok, length = player.pipeline.query_duration(Gst.Format.TIME)
    say(event="done", duration=length / Gst.SECOND if ok else None)
    player.pipeline.set_state(Gst.State.NULL)


main()
