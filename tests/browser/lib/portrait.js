// A drawn camera for screenshots: somebody in front of a wall, breathing, instead of the browser's test picture.

/** Runs in the page before its scripts: getUserMedia gives a drawing in the colour `hue` and a quiet microphone. */
export function drawnCamera(hue) {
  const [width, height] = [640, 360];
  const draw = (context, at) => {
    const wall = context.createLinearGradient(0, 0, width, height);
    wall.addColorStop(0, `hsl(${hue} 38% 46%)`);
    wall.addColorStop(1, `hsl(${hue + 40} 42% 22%)`);
    context.fillStyle = wall;
    context.fillRect(0, 0, width, height);
    context.fillStyle = `hsl(${hue + 20} 50% 70% / 16%)`;
    for (const [x, y, r] of [[90, 80, 120], [560, 60, 90], [600, 300, 150]]) circle(context, x, y, r);
    const [x, y] = [width / 2 + 8 * Math.sin(at / 900), 3 * Math.sin(at / 700)];
    context.fillStyle = `hsl(${hue + 190} 34% 32%)`;
    context.beginPath();
    context.ellipse(x, height + 40 + y, 150, 150, 0, 0, 7);
    context.fill();
    context.fillStyle = `hsl(${24 + (hue % 14)} 46% ${56 + (hue % 20)}%)`;
    context.fillRect(x - 22, 190 + y, 44, 60);
    context.beginPath();
    context.ellipse(x, 150 + y, 58, 72, 0, 0, 7);
    context.fill();
    context.fillStyle = `hsl(${hue + 8} 30% 16%)`;
    context.beginPath();
    context.ellipse(x, 112 + y, 64, 46, 0, Math.PI * 0.95, Math.PI * 2.05);
    context.fill();
    for (const side of [-22, 22]) circle(context, x + side, 150 + y, 5);
    context.strokeStyle = `hsl(${hue + 8} 30% 20%)`;
    context.lineWidth = 4;
    context.lineCap = "round";
    context.beginPath();
    context.arc(x, 172 + y, 20, 0.35, Math.PI - 0.35);
    context.stroke();
  };
  const circle = (context, x, y, r) => {
    context.beginPath();
    context.arc(x, y, r, 0, 7);
    context.fill();
  };
  const camera = () => {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    setInterval(() => draw(context, performance.now()), 66);
    return canvas.captureStream(15).getVideoTracks()[0];
  };
  const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async ({ audio, video }) => {
    const stream = audio ? await real({ audio }) : new MediaStream();
    if (video) stream.addTrack(camera());
    return stream;
  };
}
