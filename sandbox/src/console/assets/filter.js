// X-Ray's filter expressions, as far as a trace on this page has what they ask for.
// https://docs.aws.amazon.com/xray/latest/devguide/xray-console-filters.html

const OPERATORS = new Set(["=", "!=", "<", "<=", ">", ">=", "BEGINSWITH", "ENDSWITH", "CONTAINS"]);
const FLAGS = { ok: (m) => !m.fault && !m.error && !m.throttle, fault: (m) => m.fault, error: (m) => m.error, throttle: (m) => m.throttle, partial: (m) => m.partial };

function tokens(text) {
  const found = [];
  const pattern = /\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|(!=|<=|>=|[=<>!()[\]{}.])|([^\s"'=<>!()[\]{}.]+))/gy;
  while (pattern.lastIndex < text.length) {
    if (!text.slice(pattern.lastIndex).trim()) break;
    const match = pattern.exec(text);
    if (!match) throw new Error("a quote is not closed");
    const quoted = match[1] ?? match[2];
    if (quoted !== undefined) found.push({ text: quoted.replace(/\\(.)/g, "$1"), quoted: true });
    else found.push({ text: match[3] ?? match[4] });
  }
  return found;
}

class Parser {
  constructor(list) {
    this.list = list;
    this.at = 0;
  }
  peek(text) {
    const token = this.list[this.at];
    return token && !token.quoted && (text === undefined || token.text.toUpperCase() === text) ? token : undefined;
  }
  take(text) {
    const token = this.peek(text);
    if (token) this.at += 1;
    return token;
  }
  need(text) {
    if (!this.take(text)) throw new Error(`expected ${text} ${this.place()}`);
  }
  place() {
    const token = this.list[this.at];
    return token ? `before "${token.text}"` : "at the end";
  }
  either() {
    const parts = [this.both()];
    while (this.take("OR")) parts.push(this.both());
    return (m) => parts.some((part) => part(m));
  }
  both() {
    const parts = [this.one()];
    while (this.take("AND")) parts.push(this.one());
    return (m) => parts.every((part) => part(m));
  }
  one() {
    if (this.take("!")) {
      const inner = this.one();
      return (m) => !inner(m);
    }
    if (this.take("(")) {
      const inner = this.either();
      this.need(")");
      return inner;
    }
    const token = this.list[this.at];
    if (!token || token.quoted) throw new Error(`expected a keyword ${this.place()}`);
    this.at += 1;
    const word = token.text.toLowerCase();
    if (word === "service") return this.service();
    if (word === "annotation") return this.annotation();
    if (FLAGS[word]) return this.flag(FLAGS[word]);
    const values = this.values(word);
    if (!values) throw new Error(`"${token.text}" is not a keyword`);
    return this.compare(values);
  }
  /** `fault`, `fault = true`, `fault != true`. */
  flag(is) {
    const operator = this.take("=") ?? this.take("!=");
    if (!operator) return is;
    const wanted = this.value().toLowerCase() === "true";
    return (m) => (is(m) === wanted) === (operator.text === "=");
  }
  values(word) {
    if (word === "responsetime") return (m) => [m.response / 1000];
    if (word === "duration") return (m) => [m.duration / 1000];
    if (word === "name" || word === "title") return (m) => [m.title];
    if (word === "outcome") return (m) => m.outcomes;
    if (word === "http") {
      this.need(".");
      const key = this.list[this.at++]?.text.toLowerCase();
      const read = {
        status: (http) => http.response?.status, url: (http) => http.request?.url, method: (http) => http.request?.method,
        useragent: (http) => http.request?.user_agent, clientip: (http) => http.request?.client_ip,
      }[key];
      if (!read) throw new Error(`"http.${key}" is not a keyword`);
      return (m) => m.order.map((row) => row.document.http && read(row.document.http)).filter((value) => value !== undefined);
    }
    return undefined;
  }
  service() {
    this.need("(");
    const token = this.list[this.at];
    if (!token?.quoted) throw new Error(`service needs a name in quotes ${this.place()}`);
    this.at += 1;
    this.need(")");
    const named = (m) => m.order.filter((row) => row.document.name === token.text);
    if (!this.take("{")) return (m) => named(m).length > 0 || m.functions.includes(token.text);
    const inner = this.either();
    this.need("}");
    return (m) => named(m).some(({ document }) => inner({ ...m, fault: document.fault, error: document.error, throttle: document.throttle,
      response: (document.end ?? document.start) - document.start, duration: (document.end ?? document.start) - document.start }));
  }
  annotation() {
    let key;
    if (this.take("[")) {
      key = this.list[this.at++]?.text;
      this.need("]");
    } else {
      this.need(".");
      key = this.list[this.at++]?.text;
    }
    if (!key) throw new Error("annotation needs a key");
    const values = (m) => [...(m.annotations.get(key) ?? [])];
    const next = this.list[this.at];
    if (!next || next.quoted || !OPERATORS.has(next.text.toUpperCase())) return (m) => values(m).length > 0;
    return this.compare(values);
  }
  value() {
    const token = this.list[this.at];
    if (!token) throw new Error("expected a value at the end");
    this.at += 1;
    // A number with a point is three tokens.
    if (!token.quoted && this.peek(".") && /^\d+$/.test(token.text)) {
      this.at += 1;
      return `${token.text}.${this.list[this.at++]?.text ?? ""}`;
    }
    return token.text;
  }
  compare(values) {
    const operator = this.list[this.at]?.text.toUpperCase();
    if (this.list[this.at]?.quoted || !OPERATORS.has(operator)) throw new Error(`expected an operator ${this.place()}`);
    this.at += 1;
    const wanted = this.value();
    const test = tester(operator, wanted);
    if (operator === "!=") return (m) => values(m).every(test);
    return (m) => values(m).some(test);
  }
}

function tester(operator, wanted) {
  const number = Number(wanted);
  const equal = (value) => (typeof value === "number" ? value === number : String(value) === wanted);
  return {
    "=": equal, "!=": (value) => !equal(value),
    "<": (value) => Number(value) < number, "<=": (value) => Number(value) <= number,
    ">": (value) => Number(value) > number, ">=": (value) => Number(value) >= number,
    BEGINSWITH: (value) => String(value).startsWith(wanted), ENDSWITH: (value) => String(value).endsWith(wanted),
    CONTAINS: (value) => String(value).includes(wanted),
  }[operator];
}

/** Text without an operator is searched in names, ids and annotations; everything else is an expression. */
export function parse(text) {
  const trimmed = text.trim();
  if (!trimmed) return { test: () => true };
  const isExpression = /[=<>!()[\]{}]|\b(AND|OR|BEGINSWITH|ENDSWITH|CONTAINS)\b/.test(trimmed) || FLAGS[trimmed.toLowerCase()];
  if (!isExpression) {
    const wanted = trimmed.toLowerCase();
    return { test: (m) => searched(m).some((value) => value.toLowerCase().includes(wanted)) };
  }
  try {
    const parser = new Parser(tokens(trimmed));
    const test = parser.either();
    if (parser.at < parser.list.length) throw new Error(`expected AND or OR ${parser.place()}`);
    return { test };
  } catch (error) {
    return { test: () => true, error: error.message };
  }
}

function searched(m) {
  const annotations = [...m.annotations.values()].flatMap((values) => [...values].map(String));
  return [m.id, m.title, ...m.functions, ...m.outcomes, ...annotations, ...m.calls.map((call) => call.request)];
}
