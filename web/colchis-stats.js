// getStats of a room as figures per track, for the strip below each tile and for tests.
//
// Counters are turned into rates against the collection before; what a browser does not report is null.

/** A connection that has not answered for so long has no figures this time. */
const ANSWER_MAX_MS = 2000;

/** Turns getStats counters into figures a person can read. One object per room. */
export class Statistics {
  #last = new Map();

  /**
   * One object per track: {member (null: oneself), id, kind, source, codec, width, height, fps, bitrate_bps,
   * loss_ratio, rtt_ms, frames, energy, level}. What the browser does not tell is null.
   */
  async collect(peers) {
    const rows = [];
    const all = await Promise.all(peers.map(async (peer) => [peer, await reportsOf(peer.pc)]));
    for (const [peer, reports] of all) {
      const rtt_ms = roundTrip(reports);
      for (const entry of peer.entries.values()) {
        const report = reportOf(reports, entry);
        if (report) rows.push({ ...this.#row(reports, report, entry), rtt_ms });
      }
    }
    return rows;
  }

  #row(reports, report, entry) {
    const recv = entry.way === "recv";
    const remote = recv ? null : reports.get(report.remoteId);
    const bytes = recv ? report.bytesReceived : report.bytesSent;
    const packets = recv ? report.packetsReceived : report.packetsSent;
    const lost = recv ? report.packetsLost : remote?.packetsLost;
    const key = `${entry.way}/${entry.id}/${report.id}`;
    const before = this.#last.get(key);
    const now = { at: report.timestamp, bytes, packets, lost: lost ?? 0 };
    this.#last.set(key, now);
    const seconds = before ? (now.at - before.at) / 1000 : 0;
    const more = before ? { sent: now.packets - before.packets, lost: Math.max(0, now.lost - before.lost) } : null;
    return {
      member: recv ? entry.sender : null,
      id: entry.id,
      kind: entry.kind,
      source: entry.source,
      codec: reports.get(report.codecId)?.mimeType?.split("/")[1] ?? null,
      width: report.frameWidth ?? null,
      height: report.frameHeight ?? null,
      fps: report.framesPerSecond ?? null,
      bitrate_bps: seconds > 0 ? (8 * (bytes - before.bytes)) / seconds : null,
      loss_ratio: lost === undefined || !more ? null : lossRatio(more, recv),
      frames: (recv ? report.framesDecoded : report.framesEncoded) ?? null,
      energy: report.totalAudioEnergy ?? null,
      level: report.audioLevel ?? reports.get(report.mediaSourceId)?.audioLevel ?? null,
    };
  }
}

/** Firefox never answers what is asked of a connection that is closed meanwhile. */
async function reportsOf(pc) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, ANSWER_MAX_MS, new Map());
  });
  try {
    return await Promise.race([pc.getStats(), late]);
  } catch {
    return new Map();
  } finally {
    clearTimeout(timer);
  }
}

function lossRatio({ sent, lost }, recv) {
  const all = recv ? sent + lost : sent;
  return all > 0 ? Math.min(1, lost / all) : 0;
}

function reportOf(reports, entry) {
  const type = entry.way === "recv" ? "inbound-rtp" : "outbound-rtp";
  const track = entry.way === "recv" ? entry.transceiver?.receiver.track : entry.transceiver?.sender.track;
  if (!track) return null;
  let best = null;
  for (const report of reports.values()) {
    if (report.type !== type || report.kind !== entry.kind) continue;
    const identifier = report.trackIdentifier ?? reports.get(report.mediaSourceId)?.trackIdentifier;
    const same = report.mid !== undefined ? report.mid === entry.mid : identifier === track.id;
    const bytes = (r) => r?.bytesReceived ?? r?.bytesSent ?? -1;
    if (same && bytes(report) > bytes(best)) best = report;
  }
  return best;
}

function roundTrip(reports) {
  let remote = null;
  for (const report of reports.values()) {
    if (report.type === "transport") {
      const seconds = reports.get(report.selectedCandidatePairId)?.currentRoundTripTime;
      if (seconds !== undefined) return seconds * 1000;
    } else if (report.type === "remote-inbound-rtp" && report.roundTripTime !== undefined) {
      remote = Math.min(remote ?? Infinity, report.roundTripTime * 1000);
    }
  }
  return remote;
}
