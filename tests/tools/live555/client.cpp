// A player on live555, VLC's RTSP engine, that does what VLC's own access module does with it: OPTIONS, DESCRIBE, one
// SETUP a track, PLAY from npt 0 on Content-Base; PAUSE then PLAY for a seek; PLAY without Range after a pause; PLAY with a
// Scale alone for another speed; the end is the RTCP BYE of every track.
//
//   live555-player [--tcp] [--user NAME --password TEXT] URL STEP…
//
// STEPs run one after the other once playing: `units:N` (so many video NAL units more), `seconds:S`, `seek:NPT`,
// `clock:UTC` (a seek by wall clock, 20261122T100000.25Z), `pause`, `resume`, `scale:X`, `end` (until BYE on all tracks). Everything that happens is a line of JSON on standard output:
//   {"event":"described","start":S,"end":S}             the session's range, which is VLC's seek bar
//   {"event":"playing","start":S,"end":S,"scale":X}     the answer to a PLAY
//   {"unit":"video","type":5,"size":N,"md5":"…","npt":S,"pts_us":N,"synced":B,"number":N?}   a NAL unit; number from our SEI
//   {"stale":"video","size":N}                          one of before the last PLAY, read after its answer; not counted
//   {"unit":"audio","size":N,"md5":"…","npt":S,"pts_us":N,"synced":B}
//   {"event":"bye","track":N}, {"event":"closed"}, {"event":"error","what":"…"}
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "BasicUsageEnvironment.hh"
#include "liveMedia.hh"
#include "ourMD5.hh"

namespace {

UsageEnvironment *env;
char done = 0;
int exit_code = 0;

struct Step {
  std::string verb;
  double value;
  std::string text;
};

struct Player {
  RTSPClient *client = nullptr;
  MediaSession *session = nullptr;
  MediaSubsessionIterator *iterator = nullptr;
  MediaSubsession *setting_up = nullptr;
  bool tcp = false;
  Authenticator *login = nullptr;
  std::vector<Step> steps;
  size_t next = 0;
  long video_units = 0;
  long wait_units = -1;
  unsigned tracks = 0, byes = 0, plays = 0;
  bool asking = false;  // a PLAY waits for its answer
} player;

void fail(const char *what) {
  std::printf("{\"event\":\"error\",\"what\":\"%s\",\"detail\":\"%d\"}\n", what, env->getErrno());
  std::fprintf(stderr, "%s: %s\n", what, env->getResultMsg());
  exit_code = 1;
  done = 1;
}

void advance();

// What a track brought.
struct Unit {
  MediaSubsession *track;
  unsigned *seen;
  unsigned size;
  std::string md5;
  int type;     // of a NAL unit
  long number;  // from the camera's SEI, or -1
  struct timeval pts;
  double npt;
  bool synced;
  unsigned short sequence;  // of its last packet
};

// Whether it is of the PLAY that was answered last: RTP-Info's seq parts it from what was played before (RFC 2326, 12.33).
bool of_last_play(const Unit &unit) {
  if (*unit.seen != player.plays && static_cast<int16_t>(unit.sequence - unit.track->rtpInfo.seqNum) >= 0) *unit.seen = player.plays;
  return *unit.seen == player.plays;
}

void tell(const Unit &unit) {
  const long long us = unit.pts.tv_sec * 1000000LL + unit.pts.tv_usec;
  std::printf("{\"unit\":\"%s\",\"size\":%u,\"md5\":\"%s\",\"npt\":%.6f,\"pts_us\":%lld,\"synced\":%s", unit.track->mediumName(), unit.size,
              unit.md5.c_str(), unit.npt, us, unit.synced ? "true" : "false");
  if (std::strcmp(unit.track->mediumName(), "video") == 0) {
    std::printf(",\"type\":%d", unit.type);
    if (unit.number >= 0) std::printf(",\"number\":%ld", unit.number);
    ++player.video_units;
  }
  std::printf("}\n");
}

// What came while a PLAY waits for its answer. Over UDP nothing says which is read first, the answer or the packets.
std::vector<Unit> held;

class Sink : public MediaSink {
public:
  Sink(UsageEnvironment &e, MediaSubsession &s) : MediaSink(e), subsession(s), buffer(new unsigned char[kSize]) {}
  ~Sink() override { delete[] buffer; }

private:
  static constexpr unsigned kSize = 4 << 20;
  MediaSubsession &subsession;
  unsigned char *buffer;
  unsigned seen = 0;  // the PLAY whose packets have come

  static void got(void *self, unsigned size, unsigned truncated, struct timeval pts, unsigned) {
    static_cast<Sink *>(self)->unit(size, truncated, pts);
  }

  void unit(unsigned size, unsigned truncated, struct timeval pts) {
    char md5[33];
    our_MD5Data(buffer, size, md5);
    const bool hevc = std::strcmp(subsession.codecName(), "H265") == 0;
    const int type = size == 0 ? -1 : hevc ? (buffer[0] >> 1) & 63 : buffer[0] & 31;
    RTPSource *source = subsession.rtpSource();
    const bool synced = source != nullptr && source->hasBeenSynchronizedUsingRTCP();
    const auto sequence = source == nullptr ? subsession.rtpInfo.seqNum : static_cast<unsigned short>(source->curPacketRTPSeqNum());
    const Unit unit{&subsession, &seen, size, md5, type, numbered(size), pts, subsession.getNormalPlayTime(pts), synced, sequence};
    if (truncated) fail("a unit was larger than the buffer");
    if (player.asking) {
      held.push_back(unit);
    } else if (of_last_play(unit)) {
      tell(unit);
    } else {
      std::printf("{\"stale\":\"%s\",\"size\":%u}\n", subsession.mediumName(), size);
    }
    if (player.wait_units >= 0 && player.video_units >= player.wait_units) {
      player.wait_units = -1;
      advance();
    }
    continuePlaying();
  }

  // The test camera numbers its access units in a SEI: "vedette-unit:" and decimal digits.
  long numbered(unsigned size) const {
    static const char mark[] = "vedette-unit:";
    const size_t length = sizeof mark - 1;
    for (unsigned at = 0; at + length < size && at < 64; ++at)
      if (std::memcmp(buffer + at, mark, length) == 0) return std::strtol(reinterpret_cast<char *>(buffer) + at + length, nullptr, 10);
    return -1;
  }

  Boolean continuePlaying() override {
    if (fSource == nullptr) return False;
    fSource->getNextFrame(buffer, kSize, got, this, onSourceClosure, this);
    return True;
  }
};

void closed(void *) {
  std::printf("{\"event\":\"closed\"}\n");
  done = 1;
}

void bye(void *data) {
  auto *subsession = static_cast<MediaSubsession *>(data);
  std::printf("{\"event\":\"bye\",\"track\":\"%s\"}\n", subsession->mediumName());
  if (++player.byes >= player.tracks && player.next < player.steps.size() && player.steps[player.next].verb == "end") {
    ++player.next;
    advance();
  }
}

void played(RTSPClient *, int code, char *text) {
  delete[] text;
  if (code != 0) return fail("PLAY");
  player.asking = false;
  std::vector<Unit> before, behind;
  ++player.plays;
  for (const Unit &unit : held) (of_last_play(unit) ? behind : before).push_back(unit);
  held.clear();
  for (const Unit &unit : before) tell(unit);
  const char *clock = player.session->absStartTime();
  std::printf("{\"event\":\"playing\",\"start\":%.6f,\"end\":%.6f,\"scale\":%.3f,\"clock\":\"%s\"}\n", player.session->playStartTime(),
              player.session->playEndTime(), player.session->scale(), clock ? clock : "");
  // live555 reckons from the packet it has read last, so the last unit goes first.
  for (auto unit = behind.rbegin(); unit != behind.rend(); ++unit) unit->npt = unit->track->getNormalPlayTime(unit->pts);
  for (const Unit &unit : behind) tell(unit);
  advance();
}

void paused(RTSPClient *, int code, char *text) {
  delete[] text;
  if (code != 0) return fail("PAUSE");
  std::printf("{\"event\":\"paused\"}\n");
  advance();
}

double seek_to;
std::string seek_to_clock;
void paused_for_clock(RTSPClient *client, int code, char *text) {
  delete[] text;
  if (code != 0) return fail("PAUSE before a seek");
  player.asking = true;
  client->sendPlayCommand(*player.session, played, seek_to_clock.c_str(), nullptr, 1.0f, player.login);
}
void paused_for_seek(RTSPClient *client, int code, char *text) {
  delete[] text;
  if (code != 0) return fail("PAUSE before a seek");
  player.asking = true;
  client->sendPlayCommand(*player.session, played, seek_to, -1.0, 1.0f, player.login);
}

void torn_down(RTSPClient *, int, char *text) {
  delete[] text;
  done = 1;
}

void timer(void *) { advance(); }

void advance() {
  std::fflush(stdout);
  if (player.next >= player.steps.size()) {
    player.client->sendTeardownCommand(*player.session, torn_down, player.login);
    return;
  }
  const Step step = player.steps[player.next];
  if (step.verb == "end") return;  // bye() goes on
  ++player.next;
  if (step.verb == "units") {
    player.wait_units = player.video_units + static_cast<long>(step.value);
  } else if (step.verb == "seconds") {
    env->taskScheduler().scheduleDelayedTask(static_cast<int64_t>(step.value * 1e6), timer, nullptr);
  } else if (step.verb == "seek") {
    seek_to = step.value;
    player.client->sendPauseCommand(*player.session, paused_for_seek, player.login);
  } else if (step.verb == "clock") {
    seek_to_clock = step.text;
    player.client->sendPauseCommand(*player.session, paused_for_clock, player.login);
  } else if (step.verb == "pause") {
    player.client->sendPauseCommand(*player.session, paused, player.login);
  } else if (step.verb == "resume") {
    player.asking = true;
    player.client->sendPlayCommand(*player.session, played, -1.0, -1.0, 1.0f, player.login);
  } else if (step.verb == "scale") {
    player.asking = true;
    player.client->sendPlayCommand(*player.session, played, -1.0, -1.0, static_cast<float>(step.value), player.login);
  } else {
    fail("unknown step");
  }
}

void set_up_next();

void was_set_up(RTSPClient *, int code, char *text) {
  delete[] text;
  if (code != 0) return fail("SETUP");
  MediaSubsession *subsession = player.setting_up;
  subsession->sink = new Sink(*env, *subsession);
  subsession->sink->startPlaying(*subsession->readSource(), closed, subsession);
  if (subsession->rtcpInstance() != nullptr) subsession->rtcpInstance()->setByeHandler(bye, subsession);
  ++player.tracks;
  set_up_next();
}

void set_up_next() {
  while ((player.setting_up = player.iterator->next()) != nullptr) {
    if (!player.setting_up->initiate()) continue;
    player.client->sendSetupCommand(*player.setting_up, was_set_up, False, player.tcp, False, player.login);
    return;
  }
  player.asking = true;
  player.client->sendPlayCommand(*player.session, played, 0.0, -1.0, 1.0f, player.login);
}

void described(RTSPClient *, int code, char *sdp) {
  if (code != 0) {
    delete[] sdp;
    return fail("DESCRIBE");
  }
  player.session = MediaSession::createNew(*env, sdp);
  delete[] sdp;
  if (player.session == nullptr) return fail("SDP");
  std::printf("{\"event\":\"described\",\"start\":%.6f,\"end\":%.6f}\n", player.session->playStartTime(), player.session->playEndTime());
  player.iterator = new MediaSubsessionIterator(*player.session);
  set_up_next();
}

void optioned(RTSPClient *client, int code, char *text) {
  delete[] text;
  if (code != 0) return fail("OPTIONS");
  client->sendDescribeCommand(described, player.login);
}

}  // namespace

int main(int argc, char **argv) {
  const char *url = nullptr, *user = nullptr, *password = nullptr;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--tcp") == 0) player.tcp = true;
    else if (std::strcmp(argv[i], "--user") == 0 && i + 1 < argc) user = argv[++i];
    else if (std::strcmp(argv[i], "--password") == 0 && i + 1 < argc) password = argv[++i];
    else if (url == nullptr) url = argv[i];
    else {
      const char *colon = std::strchr(argv[i], ':');
      player.steps.push_back({colon ? std::string(argv[i], colon - argv[i]) : argv[i], colon ? std::atof(colon + 1) : 0.0, colon ? colon + 1 : ""});
    }
  }
  if (url == nullptr) {
    std::fprintf(stderr, "usage: live555-player [--tcp] [--user NAME --password TEXT] URL STEP...\n");
    return 2;
  }
  env = BasicUsageEnvironment::createNew(*BasicTaskScheduler::createNew());
  if (user != nullptr) player.login = new Authenticator(user, password ? password : "");
  player.client = RTSPClient::createNew(*env, url, 0, "LibVLC/3.0.24 (LIVE555 Streaming Media)");
  player.client->sendOptionsCommand(optioned, player.login);
  env->taskScheduler().doEventLoop(&done);
  std::fflush(stdout);
  return exit_code;
}
