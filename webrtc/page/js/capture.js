// Camera, screen or a clip as a stream to send.

export class CaptureError extends Error {}

const RATE = { ideal: 30, max: 30 };

function explained(error, what) {
  if (!window.isSecureContext) {
    return `The browser gives its ${what} only to pages over HTTPS or from this machine itself; open the https address.`;
  }
  const words = {
    NotAllowedError: `You, or the browser's settings, did not allow the ${what}. Click the icon left of the address to change that.`,
    NotFoundError: `There is no ${what} here.`,
    NotReadableError: `Another program is using the ${what}; close it and try again.`,
    OverconstrainedError: `The ${what} cannot do what was asked of it.`,
    AbortError: `The ${what} stopped by itself; try again.`,
  };
  return words[error.name] ?? `The ${what} cannot be used: ${error.message}`;
}

// `device`: of one camera, or empty for the browser's favourite.
export async function camera(device, microphone) {
  const video = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: RATE };
  if (device) video.deviceId = { exact: device };
  const audio = microphone && { echoCancellation: true, noiseSuppression: true };
  try {
    return await navigator.mediaDevices.getUserMedia({ video, audio });
  } catch (error) {
    throw new CaptureError(explained(error, "camera"));
  }
}

export async function cameras() {
  const devices = await navigator.mediaDevices?.enumerateDevices().catch(() => []) ?? [];
  return devices.filter((device) => device.kind === "videoinput" && device.deviceId);
}

export async function screen(withSound) {
  try {
    return await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: RATE, width: { max: 1280 } }, audio: withSound });
  } catch (error) {
    throw new CaptureError(explained(error, "screen"));
  }
}

// A clip that plays over and over; its pictures go through a canvas, which every browser can capture.
export async function clip(file) {
  const player = Object.assign(document.createElement("video"), { loop: true, muted: true, playsInline: true });
  player.src = URL.createObjectURL(file);
  try {
    await player.play();
  } catch {
    URL.revokeObjectURL(player.src);
    throw new CaptureError(`The browser cannot play ${file.name}.`);
  }
  const scale = Math.min(1, 640 / player.videoWidth);
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(player.videoWidth * scale / 2) * 2;
  canvas.height = Math.round(player.videoHeight * scale / 2) * 2;
  const context = canvas.getContext("2d", { alpha: false });
  const stream = canvas.captureStream(30);
  const draw = () => {
    if (stream.getVideoTracks()[0].readyState === "ended") {
      player.pause();
      URL.revokeObjectURL(player.src);
      return;
    }
    context.drawImage(player, 0, 0, canvas.width, canvas.height);
    setTimeout(draw, 33);  // also while the page is hidden
  };
  draw();
  return stream;
}
