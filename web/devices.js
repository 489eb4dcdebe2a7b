// Camera, microphone and screen of this device, with errors told so that a person can cure them.
//
// The tracks live here, not in the call: leaving and joining again does not ask for the camera a second time.

/** What went wrong, for the user: `text` names the cure. */
export class DeviceError extends Error {
  constructor(kind, cause) {
    super(explain(kind, cause));
    this.kind = kind;
    this.cause = cause;
  }
}

function explain(kind, cause) {
  const thing = kind === "audio" ? "microphone" : kind === "video" ? "camera" : "camera and microphone";
  switch (cause?.name) {
    case "NotAllowedError":
      return `Your ${thing} is blocked for this page. Allow it in the site settings beside the address, then switch it on here.`;
    case "NotFoundError":
    case "OverconstrainedError":
      return `No ${thing} was found. Plug one in and switch it on here; you can join without.`;
    case "NotReadableError":
    case "AbortError":
      return `Another program is using your ${thing}. Close it there, then switch it on here.`;
    case "InsecureContext":
      return `Browsers give the ${thing} only to https:// pages and to localhost. Open this page by one of these.`;
    default:
      return `Your ${thing} did not start (${cause?.message ?? "unknown reason"}). You can join without and try again.`;
  }
}


export class Devices {
  /** What to ask for; `processed`: with echo cancellation, noise suppression and gain control. */
  constructor({ width = 1280, height = 720, rate = 30, processed = true } = {}) {
    this.wanted = { width, height, rate, processed };
    this.tracks = { audio: null, video: null };
    this.screen = [];
    this.chosen = { audio: "", video: "" };
    /** Called when a device goes away by itself (unplugged, permission taken back): (kind) → void. */
    this.onended = () => {};
  }

  #constraints(kind) {
    const deviceId = this.chosen[kind] ? { deviceId: { exact: this.chosen[kind] } } : {};
    const { width, height, rate, processed } = this.wanted;
    if (kind === "audio") {
      return { echoCancellation: processed, noiseSuppression: processed, autoGainControl: processed, ...deviceId };
    }
    return { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: rate, max: rate }, ...deviceId };
  }

  /** Starts `kinds` (of "audio", "video"); returns the errors of those that did not start. */
  async start(kinds) {
    const wanted = kinds.filter((kind) => !this.tracks[kind]);
    if (wanted.length === 0) return [];
    if (!navigator.mediaDevices) {
      return [new DeviceError(wanted.length > 1 ? "both" : wanted[0], { name: "InsecureContext" })];
    }
    try {
      this.#take(await navigator.mediaDevices.getUserMedia(Object.fromEntries(wanted.map((k) => [k, this.#constraints(k)]))));
      return [];
    } catch (error) {
      if (wanted.length === 1) return [new DeviceError(wanted[0], error)];
      if (error.name === "NotAllowedError") return [new DeviceError("both", error)];
    }
    // One of the two may still be there.
    const errors = [];
    for (const kind of wanted) errors.push(...(await this.start([kind])));
    return errors;
  }

  #take(stream) {
    for (const track of stream.getTracks()) {
      this.tracks[track.kind] = track;
      if (track.kind === "video") track.contentHint = "motion";
      track.onended = () => {
        if (this.tracks[track.kind] !== track) return;
        this.tracks[track.kind] = null;
        this.onended(track.kind);
      };
    }
  }

  /** Switches `kind` off for real: the camera's light goes out. */
  stop(kind) {
    this.tracks[kind]?.stop();
    this.tracks[kind] = null;
  }

  /** Asks for a screen; [] if the user thought better of it. */
  async startScreen() {
    if (!navigator.mediaDevices?.getDisplayMedia) throw new Error("This browser cannot share its screen.");
    try {
      const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: 30 } }, audio: true });
      this.screen = stream.getTracks();
      for (const track of this.screen) if (track.kind === "video") track.contentHint = "detail";
    } catch (error) {
      if (error.name !== "NotAllowedError") throw new Error(`The screen could not be shared (${error.message}).`);
      this.screen = [];
    }
    return this.screen;
  }

  stopScreen() {
    for (const track of this.screen) track.stop();
    this.screen = [];
  }

  /** Cameras or microphones to choose from: [{id, label}]. Labels are empty before permission is given. */
  async list(kind) {
    const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
    return all.filter((d) => d.kind === `${kind}input` && d.label).map((d) => ({ id: d.deviceId, label: d.label }));
  }
}

/** Loudness of a track, 0…1; needs a user gesture in some browsers and is 0 before. */
export class LevelMeter {
  #context = null;
  #analyser = null;
  #source = null;
  #samples = new Float32Array(512);

  set(track) {
    this.#source?.disconnect();
    this.#source = null;
    if (!track || !globalThis.AudioContext) return;
    this.#context ??= new AudioContext();
    this.#context.resume().catch(() => {});
    this.#analyser ??= new AnalyserNode(this.#context, { fftSize: 512 });
    this.#source = this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source.connect(this.#analyser);
  }

  read() {
    if (!this.#source) return 0;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    return Math.min(1, Math.sqrt(sum / this.#samples.length) * 4);
  }
}
