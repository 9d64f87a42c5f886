// Up to four sounds on one clock, one of them heard: switched without a gap, looped, matched in loudness by its caller.
// Knows no page. Put in front of gallery.js by ui/assets.py.

/** Seconds of all lanes together that are decoded into memory (8 bytes a sample frame: 384 MB at 48 kHz). */
const MOST_DECODED = 1000;
/** A muted lane further off than this jumps to the audible one's place; nearer, it catches up by its speed. */
const FAR = 0.25,
  NEAR = 0.01;

/**
 * Where they fit into memory, all lanes are decoded and started on one sample, so that they never part. Longer ones are
 * <audio> elements that all play, muted but for one, and are drawn to its place while nobody hears them.
 */
function comparison(bytesOf) {
  /** @type {(at: number, playing: boolean) => void} */
  let tick = () => {};
  /** @type {any} */
  let context = null;
  let lanes = [],
    on = 0,
    playing = false,
    startedAt = 0,
    from = 0,
    length = 0,
    raf = 0,
    master = 0.5,
    looped = false,
    span = null,
    turn = 0;
  const playback = exclusivePlayback(() => pause());
  const bounds = () => span ?? [0, length];
  const streamed = () => Boolean(lanes[0]?.audio);
  /** The lane whose clock counts: the audible one, or where that is over, the longest. */
  const leader = () =>
    lanes[on].audio.ended ? lanes.reduce((a, b) => (b.seconds > a.seconds ? b : a)).audio : lanes[on].audio;
  function now() {
    if (!playing) return from;
    if (streamed()) return leader().currentTime;
    const at = from + Math.max(0, context.currentTime - startedAt),
      [start, end] = bounds();
    if (looped && at > end) return start + ((at - start) % (end - start));
    return Math.min(length, at);
  }
  function loop() {
    cancelAnimationFrame(raf);
    const at = now(),
      [start, end] = bounds();
    if (playing && streamed()) keepTogether(at);
    if (playing && looped && streamed() && at >= end - 0.02) seek(start);
    else if (playing && !looped && at >= (span ? end : length - 0.01)) {
      pause();
      from = start;
    }
    tick(now(), playing);
    if (playing) raf = requestAnimationFrame(loop);
  }
  /** Draw the muted lanes to the audible one's place. */
  function keepTogether(at) {
    lanes.forEach((lane, place) => {
      const off = lane.audio.currentTime - at;
      if (place === on || lane.audio.ended || lane.audio.seeking || at >= lane.seconds) {
        lane.audio.playbackRate = 1;
        lane.off = 0;
      } else {
        lane.off = off;
        if (Math.abs(off) > FAR) lane.audio.currentTime = at;
        lane.audio.playbackRate = Math.abs(off) > NEAR ? 1 - Math.max(-0.1, Math.min(0.1, off)) : 1;
      }
    });
  }
  /** One sound as long as the longest, so that all loop as one. */
  function padded(data, frames) {
    if (data.length >= frames) return data;
    const long = context.createBuffer(data.numberOfChannels, frames, data.sampleRate);
    for (let channel = 0; channel < data.numberOfChannels; channel++)
      long.copyToChannel(data.getChannelData(channel), channel);
    return long;
  }
  async function lane(id, seconds, gainInDecibels, decoded) {
    const { buffer, url } = await bytesOf(id),
      gain = context.createGain(),
      level = 10 ** (gainInDecibels / 20);
    gain.connect(context.destination);
    gain.gain.value = 0;
    if (decoded) {
      const bytes = buffer?.slice(0) ?? (await (await fetch(url)).arrayBuffer());
      return { id, seconds, level, gain, data: await context.decodeAudioData(bytes) };
    }
    const audio = new Audio(url ?? URL.createObjectURL(new Blob([buffer], { type: "audio/wav" })));
    audio.preload = "auto";
    context.createMediaElementSource(audio).connect(gain);
    return { id, seconds, level, gain, audio, off: 0 };
  }
  async function load(ids, gains, seconds, volume) {
    close();
    const mine = ++turn;
    context = new AudioContext();
    length = Math.max(...ids.map((id) => seconds[id]));
    const decoded = length * ids.length <= MOST_DECODED;
    const made = await Promise.all(ids.map((id) => lane(id, seconds[id], gains[id], decoded)));
    if (mine !== turn) return; // it was closed, or another was asked for meanwhile
    lanes = made;
    if (decoded) {
      const frames = Math.max(...lanes.map((one) => one.data.length));
      for (const one of lanes) one.data = padded(one.data, frames);
    }
    from = 0;
    span = null;
    master = volume;
    choose(0);
  }
  function choose(place) {
    on = Math.max(0, Math.min(place, lanes.length - 1));
    lanes.forEach((one, i) => {
      const g = one.gain.gain;
      g.cancelScheduledValues(context.currentTime);
      g.setValueAtTime(g.value, context.currentTime);
      g.linearRampToValueAtTime(i === on ? one.level * master : 0, context.currentTime + 0.005);
      if (one.audio && i === on) one.audio.playbackRate = 1;
    });
  }
  function play() {
    if (!lanes.length || playing) return;
    playback.claim();
    context.resume();
    const at = context.currentTime + 0.02,
      [start, end] = bounds();
    if (from >= end - 0.02 || (span && from < start)) from = start;
    for (const one of lanes) {
      if (one.audio) {
        if (from < one.seconds) {
          one.audio.currentTime = from;
          one.audio.play().catch(() => pause());
        }
        continue;
      }
      one.source = context.createBufferSource();
      one.source.buffer = one.data;
      one.source.loop = looped;
      one.source.loopStart = start;
      one.source.loopEnd = end;
      one.source.connect(one.gain);
      one.source.start(at, from);
    }
    startedAt = at;
    playing = true;
    choose(on);
    loop();
  }
  function pause() {
    if (!playing) return;
    from = now();
    playing = false;
    for (const one of lanes) {
      one.audio?.pause();
      try {
        one.source?.stop();
      } catch {
        /* it had ended by itself */
      }
      one.source = null;
    }
    loop();
  }
  /** Do something while nothing plays, and go on. */
  function between(work) {
    const was = playing;
    pause();
    work();
    was ? play() : loop();
  }
  const seek = (to) => between(() => (from = Math.max(0, Math.min(to, length))));
  function close() {
    turn += 1;
    pause();
    for (const one of lanes) if (one.audio?.src.startsWith("blob:")) URL.revokeObjectURL(one.audio.src);
    lanes = [];
    context?.close();
    context = null;
  }
  return {
    load,
    choose,
    play,
    pause,
    seek,
    now,
    toggle: () => (playing ? pause() : play()),
    /** Go round and round, over all or a span of [start, end] seconds (null: all). */
    loop: (yes, part) =>
      between(() => {
        looped = yes;
        span = part;
        if (part) from = part[0];
      }),
    empty: close,
    close: () => {
      close();
      playback.close();
    },
    onTick: (cb) => {
      tick = cb;
    },
    get on() {
      return on;
    },
    get playing() {
      return playing;
    },
    get length() {
      return length;
    },
    get span() {
      return span;
    },
    get looped() {
      return looped;
    },
    /** How far apart the lanes are, in seconds. */
    get apart() {
      return Math.max(0, ...lanes.map((one) => Math.abs(one.off ?? 0)));
    },
    get streamed() {
      return streamed();
    },
  };
}
