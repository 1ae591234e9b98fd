// MIDI 1.0 messages of controllers, and what their 7 bits are for a parameter. Pure.

const KINDS = { 0x80: "note", 0x90: "note", 0xb0: "cc", 0xc0: "program" };
const STATUS = { note: 0x90, cc: 0xb0 };
const WORDS = { note: "note", cc: "control", program: "program" };

// {kind, channel 1…16, number, value 0…127}, or null for what no control sends.
export function read([status, number, value = 0]) {
  const kind = KINDS[status & 0xf0];
  if (!kind || number === undefined) return null;
  return { kind, channel: (status & 0x0f) + 1, number, value: (status & 0xf0) === 0x80 ? 0 : value };
}

export const keyOf = (port, { kind, channel, number }) => JSON.stringify([port, kind, channel, number]);

export function describe(key) {
  const [port, kind, channel, number] = JSON.parse(key);
  return `${port}, ${WORDS[kind]} ${number}${channel === 1 ? "" : ` of channel ${channel}`}`;
}

// The port of a control, and the message that brings it to `value`; none for what shows nothing.
export function word(key, value) {
  const [port, kind, channel, number] = JSON.parse(key);
  return { port, message: STATUS[kind] && [STATUS[kind] + channel - 1, number, value] };
}

// 0…127 to a value of a number, a whole number or a choice.
export function scaled(field, value) {
  if (field.kind === "choice") return field.choices[Math.min(field.choices.length - 1, Math.floor(value * field.choices.length / 128))];
  const exact = field.low + (field.high - field.low) * value / 127;
  return field.kind === "integer" ? Math.round(exact / field.step) * field.step : exact;
}

// And back.
export function numberOf(field, value) {
  if (field.kind === "choice") return Math.ceil(field.choices.indexOf(value) * 128 / field.choices.length);
  return Math.round(127 * (value - field.low) / (field.high - field.low));
}
