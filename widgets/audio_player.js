// One audible sound: an <audio> element fed by URL or by bytes from Python, the only one that plays on the page;
// its clock is broadcast to all components. A second one, the sound it is compared with, may run in step with it.

/** Milliseconds over which one of two compared sounds gives way to the other: no click, and nothing is missed. */
const FADE = 12;

/** @param {Host} host @param {() => any} trackOf */
function audioPlayer(host, trackOf, onTick) {
  const audio = new Audio();
  audio.preload = "auto";
  audio.volume = pageState.volume ?? 10 ** (-6 / 20);
  let loaded = null,
    blobUrl = null,
    raf = 0,
    wanted = null,
    span = null;
  /** @type {HTMLAudioElement | null} */
  let second = null;
  let heardSecond = false,
    gains = [0, 0],
    fading = 0,
    secondUrl = null;
  const loop = { on: false, start: 0, end: Infinity };
  const playback = exclusivePlayback(() => audio.pause());
  const tick = () => {
    cancelAnimationFrame(raf);
    turn();
    keepInStep();
    onTick(audio.currentTime, !audio.paused);
    broadcast("time", { id: trackOf()?.id, time: audio.currentTime, playing: !audio.paused });
    if (!audio.paused) raf = requestAnimationFrame(tick);
  };
  /** At the end of a span, or of what is looped: stop, or begin again. */
  function turn() {
    if (span && audio.currentTime >= span[1]) {
      jump(span[0]);
      if (!loop.on) {
        audio.pause();
        span = null;
      }
    } else if (loop.on && !span && !audio.paused && audio.currentTime >= loop.end) jump(loop.start);
  }
  function jump(seconds) {
    audio.currentTime = seconds;
    if (second) second.currentTime = seconds;
  }
  for (const event of ["play", "pause", "seeked", "loadedmetadata"]) audio.addEventListener(event, tick);
  audio.addEventListener("timeupdate", () => document.hidden && turn()); // no frames are drawn for a page nobody sees
  audio.addEventListener("ended", () => {
    if (!loop.on) return tick();
    jump(span ? span[0] : loop.start);
    api.play();
  });
  audio.addEventListener("play", () => {
    if (!second) return;
    second.currentTime = audio.currentTime;
    second.play().catch(() => {}); // the sound in hand goes on alone; the switch says so when it is pressed
  });
  audio.addEventListener("pause", () => {
    second?.pause();
    host.send("at", { seconds: audio.currentTime });
  });

  // -- two sounds in step: both play, one is silent, and the silent one is hurried or held back until they agree
  const silent = () => (heardSecond ? audio : second);
  const heard = () => (heardSecond ? second : audio);
  function keepInStep() {
    if (!second || audio.paused || second.readyState < 2) return;
    if (second.paused && !second.ended) second.play().catch(() => {});
    const late = /** @type {any} */ (heard()).currentTime - /** @type {any} */ (silent()).currentTime;
    /** @type {any} */ (heard()).playbackRate = 1;
    if (Math.abs(late) > 0.25) /** @type {any} */ (silent()).currentTime += late;
    else /** @type {any} */ (silent()).playbackRate = 1 + Math.max(-0.12, Math.min(0.12, late * 3));
  }
  const volumeOf = (place) => {
    const on = (place === 1) === heardSecond;
    return on ? Math.min(1, (pageState.volume ?? 10 ** (-6 / 20)) * 10 ** (numberOf(gains[place]) / 20)) : 0;
  };
  function fade(over = FADE) {
    clearTimeout(fading);
    const from = [audio.volume, second?.volume ?? 0],
      to = [volumeOf(0), volumeOf(1)],
      begun = performance.now();
    const step = () => {
      const part = over ? Math.min(1, (performance.now() - begun) / over) : 1;
      audio.volume = from[0] + (to[0] - from[0]) * part;
      if (second) second.volume = from[1] + (to[1] - from[1]) * part;
      if (part < 1) fading = setTimeout(step, 2);
    };
    step();
  }
  function dropSecond() {
    second?.pause();
    second?.removeAttribute("src");
    if (secondUrl) URL.revokeObjectURL(secondUrl);
    second = secondUrl = null;
    heardSecond = false;
    gains = [0, 0];
    audio.playbackRate = 1;
    fade(0);
  }

  const use = (id, url) => {
    loaded = id;
    audio.src = url;
  };
  const dropBlob = () => {
    if (blobUrl) URL.revokeObjectURL(blobUrl);
    blobUrl = null;
  };
  host.on("bytes", (body, [bytes]) => {
    if (body.id !== trackOf()?.id || loaded === body.id) return;
    dropBlob();
    blobUrl = URL.createObjectURL(new Blob([/** @type {DataView<ArrayBuffer>} */ (bytes)], { type: "audio/wav" }));
    use(body.id, blobUrl);
    wanted?.();
    wanted = null;
  });
  const ready = (then) => {
    const track = trackOf();
    if (!track?.id) return;
    if (loaded === track.id) return then();
    if (track.url) {
      use(track.id, new URL(track.url, document.baseURI).href);
      return then();
    }
    const before = wanted; // to go somewhere and play are two wishes: both hold once the sound is here
    wanted = () => {
      before?.();
      then();
    };
    host.send("bytes", { id: track.id });
  };
  const api = {
    audio,
    get time() {
      return loaded === trackOf()?.id ? audio.currentTime : 0;
    },
    play: () =>
      ready(() => {
        playback.claim();
        audio.play().catch((error) => {
          if (error.name !== "AbortError") host.announce(t("audio_player.blocked"));
        });
      }),
    pause: () => audio.pause(),
    toggle: () => (audio.paused ? api.play() : api.pause()),
    seek: (seconds) =>
      ready(() => {
        span = null;
        const to = Math.max(0, Math.min(numberOf(seconds), numberOf(trackOf().seconds)));
        audio.readyState ? jump(to) : audio.addEventListener("loadedmetadata", () => jump(to), { once: true });
        onTick(to, !audio.paused);
      }),
    playSpan: (start, end) => {
      api.seek(start);
      ready(() => {
        span = [start, end];
        api.play();
      });
    },
    volume: (value) => {
      pageState.volume = value;
      fade(0);
    },
    /** Begin again at the end: of a region, or of the whole. */
    loop: (on, start = 0, end = Infinity) => {
      Object.assign(loop, { on, start, end });
      if (on) span = null;
    },
    /** The sound to compare with, by address or bytes; `decibels` turn the two to one loudness. */
    pair: (url, bytes, decibels) => {
      dropSecond();
      if (bytes) secondUrl = URL.createObjectURL(new Blob([bytes], { type: "audio/wav" }));
      second = new Audio();
      second.preload = "auto";
      second.volume = 0;
      /** @type {any} */ (second).preservesPitch = /** @type {any} */ (audio).preservesPitch = false;
      second.src = secondUrl ?? new URL(url, document.baseURI).href;
      gains = listOf(decibels).map((one) => numberOf(one));
      second.addEventListener("loadedmetadata", () => {
        if (second) second.currentTime = audio.currentTime;
        tick();
      });
      fade();
    },
    get paired() {
      return second !== null;
    },
    get second() {
      return heardSecond;
    },
    /** Seconds that the silent one is behind the one heard. */
    get apart() {
      return second ? second.currentTime - audio.currentTime : 0;
    },
    /** Hear the other one, at the same place. */
    switchTo: (other) => {
      heardSecond = Boolean(other && second);
      fade();
    },
    reset: () => {
      audio.pause();
      loaded = span = wanted = null;
      loop.start = 0;
      loop.end = Infinity;
      dropSecond();
      dropBlob();
      audio.removeAttribute("src");
    },
    close: () => {
      cancelAnimationFrame(raf);
      audio.pause();
      dropSecond();
      audio.removeAttribute("src");
      dropBlob();
      playback.close();
    },
  };
  host.onClose(
    onBroadcast("play", (ask) => {
      if (ask.id === trackOf()?.id)
        ask.end != null ? api.playSpan(ask.start, ask.end) : (ask.start != null && api.seek(ask.start), api.play());
    }),
  );
  host.onClose(
    onBroadcast("toggle", (ask) => {
      if (ask.id === trackOf()?.id) api.toggle();
    }),
  );
  host.onClose(
    onBroadcast("seek", (ask) => {
      if (ask.id === trackOf()?.id) api.seek(ask.time);
    }),
  );
  host.onClose(api.close);
  return api;
}
