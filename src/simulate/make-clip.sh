#!/bin/sh
# Makes clip.mp4, the clip that simulated cameras play for ever: 8 s of 640x360 H.264 (main, 25 fps, a key frame a
# second, no B-frames) with its frame number and time drawn in, and AAC of 48 kHz mono (a beep a second).
#
# 8 s because it is the shortest whole number of seconds that is also a whole number of AAC frames
# (375 x 1024 / 48000) and of GOPs (8 x 25): the loop then never drifts sound against picture.
#
# The sound is encoded three times over and the middle is cut out, so that the encoder's delay and start-up are not in
# the clip and the seam cannot be heard. The encoder's own note (SEI) is taken out. `bitexact` keeps versions and dates out of the file.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

font=${FONT:-/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf}
label="drawtext=fontfile=$font:fontsize=44:fontcolor=white:box=1:boxcolor=black:boxborderw=8:x=(w-tw)/2"

ffmpeg -nostdin -y -loglevel error -fflags +bitexact -f lavfi -i "testsrc2=size=640x360:rate=25:duration=8" \
    -vf "$label:y=40:text='%{eif\:n\:d\:3}',$label:y=h-90:text='%{pts\:hms}'" \
    -c:v libx264 -threads 1 -profile:v main -preset veryslow -b:v 420k -maxrate 520k -bufsize 520k -pix_fmt yuv420p \
    -g 25 -keyint_min 25 -sc_threshold 0 -bf 0 -flags +bitexact -x264-params "open-gop=0" "$work/video.mp4"

# 880 Hz for 80 ms at each whole second over a quiet 220 Hz; both have a whole number of waves in 8 s.
ffmpeg -nostdin -y -loglevel error -fflags +bitexact -f lavfi \
    -i "aevalsrc=0.05*sin(2*PI*220*t)+0.3*sin(2*PI*880*t)*lt(mod(t\,1)\,0.08):s=48000:c=mono:d=25" \
    -c:a aac -b:a 48k -flags +bitexact -f adts "$work/long.aac"
ffmpeg -nostdin -y -loglevel error -fflags +bitexact -i "$work/long.aac" -ss 8.01 -frames:a 375 -c copy "$work/sound.m4a"

ffmpeg -nostdin -y -loglevel error -fflags +bitexact -i "$work/video.mp4" -i "$work/sound.m4a" -map 0:v -map 1:a -c copy -bsf:v filter_units=remove_types=6 \
    -flags +bitexact -movflags +faststart clip.mp4
ffprobe -v error -count_packets -show_entries stream=codec_name,profile,nb_read_packets,duration -of compact clip.mp4
