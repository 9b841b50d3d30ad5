// Numbers and states in the words people use.

export const bitrate = (bps: number): string =>
  bps >= 1e6 ? `${(bps / 1e6).toFixed(1)} Mb/s` : `${Math.round(bps / 1e3).toString()} kb/s`;

export const percent = (part: number | null): string => {
  if (part === null) return "–";
  // 99.99 % must not read as complete: round down.
  return `${(Math.floor(part * 1000) / 10).toFixed(1)} %`;
};

export const state = (name: string): string => name.replaceAll("_", " ");

export const ago = (then: string | null | undefined, now: string): string => {
  if (then === null || then === undefined) return "never";
  const seconds = Math.max(0, Math.round((Date.parse(now) - Date.parse(then)) / 1000));
  if (seconds < 2) return "now";
  if (seconds < 120) return `${seconds.toString()} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60).toString()} min ago`;
  return `${Math.round(seconds / 3600).toString()} h ago`;
};
