// Numbers and ids as people read them.

/** Milliseconds with as many digits as matter. */
export function ms(value) {
  if (value === undefined || value === null || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size < 0.005) return "0 ms";
  if (size < 9.995) return `${value.toFixed(2)} ms`;
  if (size < 99.95) return `${value.toFixed(1)} ms`;
  if (size < 9999.5) return `${Math.round(value).toLocaleString("en")} ms`;
  if (size < 99_950) return `${(value / 1000).toFixed(1)} s`;
  return `${Math.floor(value / 60_000)} min ${Math.round((value % 60_000) / 1000)} s`;
}

/** A mark of a time axis. */
export function mark(value) {
  if (value < 1e-9) return "0";
  const round = (number) => Number(number.toPrecision(6)).toLocaleString("en");
  return value < 10_000 ? `${round(value)} ms` : `${round(value / 1000)} s`;
}

export function bytes(count) {
  if (count === undefined || count === null) return "–";
  if (count < 1024) return `${count} B`;
  if (count < 1024 * 1024) return `${(count / 1024).toFixed(1)} KB`;
  return `${(count / 1024 / 1024).toFixed(1)} MB`;
}

/** The local time of day. */
export function clock(at) {
  const time = new Date(at);
  const two = (number) => String(number).padStart(2, "0");
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

/** Enough of an id to find it by eye. */
export function shortId(id) {
  const parts = String(id).split("-");
  if (parts.length === 3 && parts[0] === "1") return `1-${parts[1]}-…${parts[2].slice(-6)}`;
  return String(id).slice(0, 8);
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** Round distances for the marks of a time axis of this length. */
export function step(length, most) {
  const raw = length / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= raw) ?? raw;
}

export function percentile(values, share) {
  if (!values.length) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
}
