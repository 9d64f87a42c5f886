// Which part of a sound a picture of it shows: zoom and pan. Part of widgets/waveform.js; knows no drawing.

const between = (low, value, high) => Math.min(high, Math.max(low, value));
/** Seconds; closer than this there is nothing to see. */
const SHORTEST_VIEW = 0.02;

/** Time and place of a picture of the sound: what is in view, zoom, and how to get there. */
function makeView(total, changed) {
  let start = 0,
    end = 0;
  const api = {
    get span() {
      return [start, end];
    },
    set: (from, to) => {
      const wide = between(Math.min(SHORTEST_VIEW, total()), to - from, total());
      start = between(0, from, Math.max(0, total() - wide));
      end = start + wide;
      changed();
    },
    whole: () => api.set(0, total()),
    zoom: (by, around) => {
      const at = around ?? (start + end) / 2,
        part = (at - start) / (end - start || 1),
        wide = between(Math.min(0.05, total()), (end - start) * by, total());
      api.set(at - part * wide, at + (1 - part) * wide);
    },
    pan: (by) => api.set(start + by, end + by),
    at: (part) => start + part * (end - start),
    part: (time) => (time - start) / (end - start || 1),
  };
  return api;
}
