// What the page asks of `api/v1`, and the shapes it gets. The browser adds the login it was asked for.
// Addresses are relative, for the page may stand below a prefix.

export interface Video {
  codec: string;
  width: number;
  height: number;
  fps: number | null;
}

export interface StreamStatus {
  role: "main" | "sub";
  state: "connecting" | "waiting" | "running" | "backing_off" | "stopped";
  /** What it is pulled for, if anything. */
  wanted: "off" | "idle" | "open" | "watched" | "standby" | "recording";
  next_change?: string | null;
  viewers: number;
  since: string;
  reason?: string | null;
  detail?: string | null;
  retry_at?: string | null;
  recording: boolean;
  video?: Video | null;
  audio?: { codec: string } | null;
  bitrate_bps: number;
  last_unit_at?: string | null;
  reconnects: number;
  not_recorded?: { reason: string; detail: string } | null;
  rows_waiting: number;
  completeness_24h: number | null;
  completeness: number | null;
}

export interface CameraStatus {
  slug: string;
  name: string;
  enabled: boolean;
  streams: StreamStatus[];
}

export interface Status {
  version: string;
  now: string;
  ready: boolean;
  problems: string[];
  warnings: string[];
  rtsp_port: number;
  cameras: CameraStatus[];
}

export interface Volume {
  path: string;
  state: "ready" | "full" | "failing" | "read_only" | "missing";
  reason: string | null;
  /** Another disk stands in its place. */
  replaced: boolean;
  bytes: number;
  free_bytes: number;
  total_bytes: number;
  max_bytes: number | null;
  write_bytes_per_second: number | null;
  days_left: number | null;
  holds_days: number | null;
}

export interface Storage {
  volumes: Volume[];
  streams: { camera: string | null; stream: string | null; bytes: number; oldest: string | null }[];
  age_hold: { since: string; jump_seconds: number; until: string | null } | null;
  warnings: string[];
}

export interface Run {
  start: string;
  end: string | null;
}

export interface Gap extends Run {
  reason: string;
}

export interface Timeline {
  runs: Run[];
  gaps: Gap[];
  next_cursor: string | null;
}

export interface Lock {
  id: string;
  start: string;
  end: string;
  note: string;
  created_by: string;
}

interface Problem {
  title: string;
  detail?: string;
  errors?: { field: string; message: string }[];
}

/** An answer that says no, in the words of its problem document. */
export class Refused extends Error {
  constructor(problem: Problem) {
    const fields = (problem.errors ?? []).map((e) => `${e.field}: ${e.message}`);
    super([problem.detail ?? problem.title, ...fields].join("\n"));
  }
}

async function ask<T>(method: string, path: string, body?: unknown): Promise<T> {
  const init: RequestInit = { method, headers: { Accept: "application/json" } };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { ...init.headers, "Content-Type": "application/json" };
  }
  const answer = await fetch(`api/v1${path}`, init);
  if (!answer.ok) {
    const fallback: Problem = { title: `${answer.status.toString()} ${answer.statusText}` };
    const problem: Problem = await answer.json().catch(() => fallback);
    throw new Refused(problem);
  }
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

export const status = (): Promise<Status> => ask("GET", "/status");

export type RecordMode = "always" | "never" | "schedule" | "events";

export interface Span {
  days: string[];
  start: string;
  end: string;
}

/** When a camera is recorded. */
export interface When {
  record: RecordMode;
  schedule: { timezone: string; spans: Span[] } | null;
  events: { kinds: string[]; before_seconds: number; after_seconds: number };
}

export const addCamera = (
  slug: string,
  name: string,
  url: string,
  when: Partial<When>,
): Promise<unknown> =>
  ask("POST", "/cameras", { slug, url, ...(name === "" ? {} : { name }), ...when });

export const camera = (slug: string): Promise<When> => ask("GET", `/cameras/${slug}`);

export const changeCamera = (slug: string, when: Partial<When>): Promise<unknown> =>
  ask("PATCH", `/cameras/${slug}`, when);

/** A camera on the local network. */
export interface Found {
  host: string;
  port: number;
  path: string;
  name: string | null;
  hardware: string | null;
  location: string[];
  /** The camera of this recorder that it is already. */
  camera: string | null;
}

export interface Discovered {
  items: Found[];
  findings: { code: string; level: "problem" | "note"; message: string }[];
}

/** Looks for cameras; takes some seconds. */
export const discover = (): Promise<Discovered> => ask("POST", "/cameras/discover", {});

/** Adds a camera that says itself which streams it has. */
export const addByOnvif = (
  slug: string,
  name: string,
  { host, port, path }: Found,
  username: string,
  password: string,
  when: Partial<When>,
): Promise<unknown> =>
  ask("POST", "/cameras", {
    slug,
    onvif: { host, port, path },
    ...(name === "" ? {} : { name }),
    ...(username === "" ? {} : { username }),
    ...(password === "" ? {} : { password }),
    ...when,
  });

export const storage = (): Promise<Storage> => ask("GET", "/storage");

export const confirmClock = (): Promise<unknown> => ask("POST", "/storage/confirm-clock");

export const acceptVolume = (volume: string): Promise<unknown> =>
  ask("POST", "/storage/accept-volume", { volume });

/** Runs and gaps of a camera's main stream; all pages of them, up to a bound that no sane day reaches. */
export const timeline = async (slug: string, start: Date, end: Date): Promise<Timeline> => {
  const query = new URLSearchParams({ start: start.toISOString(), end: end.toISOString() });
  query.set("limit", "10000");
  const all: Timeline = { runs: [], gaps: [], next_cursor: null };
  for (let page = 0; page < 5; page += 1) {
    const part = await ask<Timeline>("GET", `/cameras/${slug}/timeline?${query.toString()}`);
    all.runs.push(...part.runs);
    all.gaps.push(...part.gaps);
    if (part.next_cursor === null) break;
    query.set("cursor", part.next_cursor);
  }
  return all;
};

export const locks = async (slug: string): Promise<Lock[]> =>
  (await ask<{ items: Lock[] }>("GET", `/cameras/${slug}/locks?limit=1000`)).items;

export const addLock = (slug: string, start: Date, end: Date, note: string): Promise<unknown> =>
  ask("POST", `/cameras/${slug}/locks`, {
    start: start.toISOString(),
    end: end.toISOString(),
    ...(note === "" ? {} : { note }),
  });

export const removeLock = (slug: string, id: string): Promise<unknown> =>
  ask("DELETE", `/cameras/${slug}/locks/${id}`);

/** Where a player finds a stream; without a login, which the player asks for. */
export const rtspAddress = (
  port: number,
  slug: string,
  role: string,
  recording: boolean,
): string => {
  const stream = role === "main" ? "" : `/${role}`;
  return `rtsp://${location.hostname}:${port.toString()}/${slug}${stream}${recording ? "/recording" : ""}`;
};
