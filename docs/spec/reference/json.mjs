// JSON, read strictly: no member twice, no lone surrogate. And the one form of RFC 8785 in which a record is certified.

const ESCAPES = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };
const INTEGER = /-?(?:0|[1-9][0-9]*)(?![.eE0-9])/y;
const PLAIN = /[^"\\\u0000-\u001f]+/y;
const SPACE = /[ \t\n\r]*/y;

/** The value of a JSON text, at most `deep` levels: objects as Map, numbers, which are integers, as BigInt. Throws SyntaxError. */
export const parseJson = (text, deep) => {
  let at = 0;
  const wrong = () => {
    throw new SyntaxError(`not JSON at character ${at}`);
  };
  const match = (pattern) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    if (found !== undefined) at += found.length;
    return found;
  };
  const space = () => match(SPACE);
  const take = (mark) => text[at] === mark && (at++, true);
  const string = () => {
    let value = "";
    for (;;) {
      value += match(PLAIN) ?? "";
      if (take('"')) break;
      if (!take("\\")) wrong();
      const mark = text[at++];
      if (mark === "u") {
        const code = text.slice(at, at + 4);
        if (!/^[0-9a-fA-F]{4}$/.test(code)) wrong();
        value += String.fromCharCode(parseInt(code, 16));
        at += 4;
      } else value += Object.hasOwn(ESCAPES, mark) ? ESCAPES[mark] : wrong();
    }
    return /\p{Surrogate}/u.test(value) ? wrong() : value;
  };
  const object = (level) => {
    const members = level > deep ? wrong() : new Map();
    if (space() !== undefined && take("}")) return members;
    do {
      space();
      if (!take('"')) wrong();
      const name = string();
      space();
      if (members.has(name) || !take(":")) wrong();
      members.set(name, value(level));
    } while (take(","));
    return take("}") ? members : wrong();
  };
  const array = (level) => {
    const items = level > deep ? wrong() : [];
    if (space() !== undefined && take("]")) return items;
    do items.push(value(level));
    while (take(","));
    return take("]") ? items : wrong();
  };
  const scalar = () => {
    for (const [word, meant] of [["true", true], ["false", false], ["null", null]]) {
      if (text.startsWith(word, at)) return (at += word.length), meant;
    }
    return BigInt(match(INTEGER) ?? wrong());
  };
  const value = (level) => {
    space();
    const found = take('"') ? string() : take("{") ? object(level + 1) : take("[") ? array(level + 1) : scalar();
    space();
    return found;
  };
  const found = value(0);
  return at === text.length ? found : wrong();
};

/** RFC 8785 of strings, Maps and arrays. */
export const canonical = (value) => {
  if (typeof value === "string") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  const names = [...value.keys()].sort(); // by UTF-16 code units, as RFC 8785 §3.2.3 has it
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value.get(name))}`).join(",")}}`;
};

const levels = (value) => {
  if (typeof value === "string") return 0;
  if (!Array.isArray(value) && !(value instanceof Map)) return Infinity; // a number, true, false or null
  let deepest = 0;
  for (const one of value.values()) deepest = Math.max(deepest, levels(one));
  return deepest + 1;
};

const namesAreAscii = (value) => {
  if (typeof value === "string") return true;
  if (value instanceof Map && ![...value.keys()].every((name) => /^[\x00-\x7f]*$/.test(name))) return false;
  return [...value.values()].every(namesAreAscii);
};

/** The Map of a text that is an object of strings, objects and arrays in RFC 8785 form, at most `deep` levels; or null. */
export const parseCanonical = (text, deep = 4) => {
  let value;
  try {
    value = parseJson(text, deep);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
  if (!(value instanceof Map) || levels(value) > deep || !namesAreAscii(value)) return null;
  return canonical(value) === text ? value : null;
};

/** Whether `value` is an object with all of `required`, perhaps some of `optional`, and nothing else. */
export const hasMembers = (value, required, optional = []) =>
  value instanceof Map &&
  required.every((name) => value.has(name)) &&
  [...value.keys()].every((name) => required.includes(name) || optional.includes(name));
