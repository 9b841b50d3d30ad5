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
  state: "connecting" | "running" | "backing_off" | "stopped";
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
  completeness_24h: number | null;
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
  rtsp_port: number;
  cameras: CameraStatus[];
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
  return (await answer.json()) as T;
}

export const status = (): Promise<Status> => ask("GET", "/status");

export const addCamera = (slug: string, name: string, url: string): Promise<unknown> =>
  ask("POST", "/cameras", { slug, url, ...(name === "" ? {} : { name }) });

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
