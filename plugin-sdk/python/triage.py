"""What an author in Python needs beside the contract's own types, which are in `wit_world`.

`triage plugin build` puts this file beside the policy: `import triage`.
"""

import json

from componentize_py_types import Err
from wit_world.imports import settings as _settings
from wit_world.imports import types


def invalid_payload(message):
    """The payload is not what this plugin handles: `raise triage.invalid_payload(...)`."""
    return Err(types.Failure_InvalidPayload(message))


def permanent(message):
    """Trying again cannot help."""
    return Err(types.Failure_Permanent(message))


def retry(reason, after_ms=None):
    """Something outside is not ready."""
    return Err(types.Failure_Retry(types.RetryRequest(reason, after_ms)))


def settings(defaults):
    """The policy's settings over these defaults; a name that has no default is refused."""
    given = json.loads(_settings.get())
    for name in given:
        if name not in defaults:
            raise permanent(f"settings: unknown field `{name}`")
    return {**defaults, **given}


def json_at(event, pointer, required=()):
    """The part of the body that a JSON pointer names, through objects only, with these fields."""
    try:
        part = json.loads(event.body)
    except ValueError as error:
        raise invalid_payload(f"body: not JSON: {error}") from None
    for name in pointer.split("/")[1:]:
        if not isinstance(part, dict) or name not in part:
            raise invalid_payload(f"body: at `{pointer}`: missing")
        part = part[name]
    place = f"at `{pointer}`: " if pointer else ""
    for name in required:
        if not isinstance(part, dict) or name not in part:
            raise invalid_payload(f"body: {place}missing field `{name}`")
        if part[name] is None:
            where = f"at `{pointer}/{name}`"
            raise invalid_payload(f"body: {where}: invalid type: null, expected a string")
    return part
