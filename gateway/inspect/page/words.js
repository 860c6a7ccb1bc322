// Numbers as people read them.

export const number = (n) => n.toLocaleString("en");

export const rate = (n) => (n >= 10 || n === 0 ? number(Math.round(n)) : n.toFixed(1));

/** In the two largest units: 0.4 s, 12 s, 3 m 20 s, 5 h 2 m, 4 d 7 h. */
export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds);
  for (const [size, unit, smaller, small] of [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]]) {
    if (whole >= size) return `${Math.floor(whole / size)} ${unit} ${Math.floor((whole % size) / smaller)} ${small}`;
  }
  return `${whole} s`;
}

/** What the state of a node means. */
export const STATES = {
  ready: "It takes new streams.",
  unready: "It turns new streams away; those that are open go on.",
  draining: "It was told to stop, and ends its streams.",
  silent: "It has heard the question, and has not answered in time: it hangs, or is very late.",
  gone: "It was there a few minutes ago, and hears nothing any more: it has ended, or is cut off from Redis.",
  missing: "It does not answer: it is silent, or it has gone.",
};

/** What a change is called on the page. */
export const CHANGES = {
  redis_connected: ["good", "Redis link made"],
  redis_lost: ["bad", "Redis link lost"],
  caught_up: ["good", "all streams live again"],
  epoch_changed: ["bad", "another epoch: Redis was restarted or replaced"],
  ready: ["good", "ready"],
  unready: ["bad", "not ready"],
  draining: ["", "draining"],
  slow_streams: ["", "slow streams sent back to replay"],
  streams_shed: ["", "streams turned away"],
  limits_hit: ["", "limits hit"],
  gaps: ["bad", "gaps told"],
  holes_healed: ["", "losses healed"],
  revocations_missed: ["bad", "revocations may be missing"],
};
