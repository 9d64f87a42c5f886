// One audible sound: an <audio> element fed by URL or by bytes from Python, the only one that plays on the page;
// its clock is broadcast to all components.

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
  const playback = exclusivePlayback(() => audio.pause());
  const tick = () => {
    cancelAnimationFrame(raf);
    if (span && audio.currentTime >= span[1]) {
      audio.pause();
      audio.currentTime = span[0];
      span = null;
    }
    onTick(audio.currentTime, !audio.paused);
    broadcast("time", { id: trackOf()?.id, time: audio.currentTime, playing: !audio.paused });
    if (!audio.paused) raf = requestAnimationFrame(tick);
  };
  for (const event of ["play", "pause", "seeked", "ended", "loadedmetadata"]) audio.addEventListener(event, tick);
  audio.addEventListener("pause", () => host.send("at", { seconds: audio.currentTime }));
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
    wanted = then;
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
          if (error.name !== "AbortError") host.announce("The browser would not play: press play once more.");
        });
      }),
    pause: () => audio.pause(),
    toggle: () => (audio.paused ? api.play() : api.pause()),
    seek: (seconds) =>
      ready(() => {
        span = null;
        const to = Math.max(0, Math.min(numberOf(seconds), numberOf(trackOf().seconds)));
        audio.readyState
          ? (audio.currentTime = to)
          : audio.addEventListener(
              "loadedmetadata",
              () => {
                audio.currentTime = to;
              },
              { once: true },
            );
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
      audio.volume = pageState.volume = value;
    },
    reset: () => {
      audio.pause();
      loaded = null;
      dropBlob();
      audio.removeAttribute("src");
    },
    close: () => {
      cancelAnimationFrame(raf);
      audio.pause();
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
