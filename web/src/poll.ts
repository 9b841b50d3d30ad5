// Asking again and again: one request at a time, also when the recorder is slow to answer; none from a hidden tab.

/** Calls `ask` now and then every `everyMs` after it is done; gives what ends it. */
export const poll = (ask: () => Promise<void>, everyMs: number): (() => void) => {
  let timer: number | undefined;
  let stopped = false;
  const tick = async (): Promise<void> => {
    if (!document.hidden) await ask();
    if (!stopped) timer = window.setTimeout(() => void tick(), everyMs);
  };
  void tick();
  return () => {
    stopped = true;
    window.clearTimeout(timer);
  };
};
