// What an author in JavaScript needs beside the language. `triage plugin build` puts this file
// beside the policy: `import { … } from "./triage.js"`.

import { get } from "triage:policy/settings@0.1.0";

// QuickJS has no TextDecoder and no TextEncoder. These go through native code.
if (typeof TextDecoder === "undefined") {
  globalThis.TextDecoder = class {
    decode(bytes) {
      let text = "";
      for (let i = 0; i < bytes.length; i += 8192) {
        text += String.fromCharCode.apply(null, bytes.subarray(i, i + 8192));
      }
      return /[\x80-\xff]/.test(text) ? decodeURIComponent(escape(text)) : text;
    }
  };
}
if (typeof TextEncoder === "undefined") {
  globalThis.TextEncoder = class {
    encode(text) {
      return Uint8Array.from(unescape(encodeURIComponent(text)), (it) => it.charCodeAt(0));
    }
  };
}

// What a policy throws where it has no answer; see `failure` in types.wit.
export const invalidPayload = (message) => ({ tag: "invalid-payload", val: message });
export const permanent = (message) => ({ tag: "permanent", val: message });
export const retry = (reason, afterMs) => ({ tag: "retry", val: { reason, afterMs } });

/** The policy's settings over these defaults; a name that has no default is refused. */
export function settings(defaults) {
  const given = JSON.parse(get());
  for (const name of Object.keys(given)) {
    if (!(name in defaults)) throw permanent(`settings: unknown field \`${name}\``);
  }
  return { ...defaults, ...given };
}

/**
 * The object of the body that a JSON pointer names, through objects only. The fields in
 * `required` must be there.
 */
export function jsonAt(event, pointer, required = []) {
  let part;
  try {
    part = JSON.parse(new TextDecoder().decode(event.body));
  } catch (error) {
    throw invalidPayload(`body: not JSON: ${error.message}`);
  }
  for (const name of pointer.split("/").slice(1)) part = part?.[name];
  if (part === undefined) throw invalidPayload(`body: at \`${pointer}\`: missing`);
  const place = pointer === "" ? "" : `at \`${pointer}\`: `;
  for (const name of required) {
    if (part?.[name] === undefined) throw invalidPayload(`body: ${place}missing field \`${name}\``);
    if (part[name] === null) {
      throw invalidPayload(`body: at \`${pointer}/${name}\`: invalid type: null, expected a string`);
    }
  }
  return part;
}
