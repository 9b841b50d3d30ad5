// Numbers and states in the words people use.

export const bitrate = (bps: number): string =>
  bps >= 1e6 ? `${(bps / 1e6).toFixed(1)} Mb/s` : `${Math.round(bps / 1e3).toString()} kb/s`;

export const percent = (part: number | null): string => {
  if (part === null) return "–";
  // 99.99 % must not read as complete: round down.
  return `${(Math.floor(part * 1000) / 10).toFixed(1)} %`;
};

/** What a stream that is not recorded now is pulled for. */
export const purpose = (
  wanted: "off" | "idle" | "open" | "watched" | "standby" | "recording",
): string =>
  ({
    off: "switched off",
    idle: "on demand: pulled when somebody watches",
    open: "not recorded: live when it publishes",
    watched: "not recorded, only watched",
    standby: "ready to record",
    recording: "",
  })[wanted];

export const plain = (name: string): string => name.replaceAll("_", " ");

export const ago = (then: string | null | undefined, now: string): string => {
  if (then === null || then === undefined) return "never";
  const seconds = Math.max(0, Math.round((Date.parse(now) - Date.parse(then)) / 1000));
  if (seconds < 2) return "now";
  if (seconds < 120) return `${seconds.toString()} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60).toString()} min ago`;
  return `${Math.round(seconds / 3600).toString()} h ago`;
};

export const bytes = (n: number): string => {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let at = 0;
  let value = n;
  while (value >= 1000 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${value >= 100 || at === 0 ? Math.round(value).toString() : value.toFixed(1)} ${units[at] ?? ""}`;
};

export const days = (n: number): string => {
  if (n < 2) return `${Math.floor(n * 24).toString()} h`;
  return n > 3650 ? "years" : `${Math.floor(n).toString()} days`;
};

export const span = (ms: number): string => {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds.toString()} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60).toString()} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
};

/** Day and time where the reader is. */
export const moment = (time: string | number | Date): string =>
  new Date(time).toLocaleString([], { dateStyle: "short", timeStyle: "medium" });

/** The same as an `<input type="datetime-local">` wants it. */
export const asInput = (time: Date): string => {
  const local = new Date(time.getTime() - time.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19);
};

export const said = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

/** What a camera of that name could be called in addresses. */
export const slugOf = (name: string): string =>
  name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 63);
