"""What a source found in an event, and what follows from it: a classification, a plan."""

import json
import unicodedata
from dataclasses import dataclass

from wit_world.imports.types import (
    Action,
    ActionContent_Ticket,
    ActionContent_Webhook,
    Classification,
    Plan,
    Priority,
    Ticket,
    Webhook,
)

CATEGORIES = ["alert", "error", "incident", "issue", "leaked-secret", "report", "unhandled", "vulnerability"]
LABELS = ["github", "regression", "security", "sentry", "slack", "standard"]

TITLE_CHARS_MAX = 160
FACT_CHARS_MAX = 300
TEXT_CHARS_MAX = 2000

# White space as Unicode has it; `str.isspace` holds four characters more.
SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


class Urgency:
    """A priority and why it is so, step by step."""

    def __init__(self, priority, reason):
        self.priority = priority
        self.reasons = [reason]

    def _set(self, rank, reason):
        if rank != self.priority.value:
            self.priority = Priority(rank)
            self.reasons.append(reason)

    def raise_(self, reason):
        self._set(min(self.priority.value + 1, Priority.CRITICAL.value), reason)

    def lower(self, reason):
        """One step down, but never to `ignore`."""
        rank = self.priority.value
        self._set(rank and max(rank - 1, Priority.LOW.value), reason)

    def at_least(self, priority, reason):
        self._set(max(self.priority.value, priority.value), reason)

    def at_most(self, priority, reason):
        self._set(min(self.priority.value, priority.value), reason)

    def is_above(self, priority):
        return priority.value < self.priority.value

    def by_users(self, users, settings):
        """As many affected users ask for."""
        reason = f"{users} users are affected"
        if settings["users_critical"] <= users:
            self.at_least(Priority.CRITICAL, reason)
        elif settings["users_high"] <= users:
            self.at_least(Priority.HIGH, reason)


def is_production(settings, environment):
    """An environment that nobody named counts as production."""
    return environment is None or contains(settings["production"], environment)


def contains(words, word):
    """Whether a list holds a word, in any case of ASCII letters."""
    def lower(text):
        return "".join(it.lower() if it.isascii() else it for it in text)

    return any(lower(it) == lower(word) for it in words)


@dataclass
class Noise:
    """Nothing to do."""

    category: str
    reason: str

    def classification(self):
        return Classification(Priority.IGNORE, self.category, [], 100, self.reason)

    def plan(self, _classification, _settings):
        return Plan(self.reason, [])


@dataclass
class Incident:
    """Something that people may have to act on, whatever told of it."""

    category: str
    labels: list
    urgency: Urgency
    title: str
    # Names and values, for the ticket; a value that is empty is left out.
    facts: list
    # What people wrote, quoted in the ticket.
    text: str | None
    url: str | None
    # What further events about the same thing have in common.
    group_key: str

    def classification(self):
        reason = "; ".join(self.urgency.reasons)
        return Classification(self.urgency.priority, self.category, self.labels, 100, reason)

    def plan(self, classification, settings):
        title = one_line(self.title, TITLE_CHARS_MAX)
        url = self.url if is_web_url(self.url) else None
        rank = classification.priority.value
        actions = []
        if Priority.NORMAL.value <= rank:
            body = self.body(classification.reason, url)
            ticket = Ticket(title, body, classification.labels, None, self.group_key)
            actions.append(Action("ticket", settings["destination"], ActionContent_Ticket(ticket)))
        if settings["webhook_destination"] is not None and Priority.HIGH.value <= rank:
            page = {
                "title": title,
                "priority": classification.priority.name.lower(),
                "reason": classification.reason,
                "url": url,
                "group_key": self.group_key,
            }
            payload = json.dumps(page, ensure_ascii=False, separators=(",", ":"))
            content = ActionContent_Webhook(Webhook(payload))
            actions.append(Action("page", settings["webhook_destination"], content))
        return Plan(title, actions)

    def body(self, reason, url):
        """The ticket's text, in Markdown."""
        body = one_line(reason, FACT_CHARS_MAX) + "\n"
        facts = [(name, str(value)) for name, value in self.facts if value not in (None, "")]
        if facts:
            body += "\n"
        for name, value in facts:
            body += f"- **{name}:** {one_line(value, FACT_CHARS_MAX)}\n"
        text = clip((self.text or "").strip(SPACE), TEXT_CHARS_MAX)
        if text:
            body += "\n"
            for line in lines(text):
                body += f"> {line}".rstrip(SPACE) + "\n"
        return body if url is None else f"{body}\n<{url}>\n"


def lines(text):
    lines = [it.removesuffix("\r") for it in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def is_gap(char):
    return char in SPACE or unicodedata.category(char) == "Cc"


def one_line(text, chars_max):
    """Text of strangers as one line: no control characters, no runs of white space."""
    words = "".join(" " if is_gap(it) else it for it in text).split(" ")
    return clip(" ".join(it for it in words if it), chars_max)


def clip(text, chars_max):
    return text if len(text) <= chars_max else text[:chars_max] + "…"


def is_web_url(url):
    """A link that may stand in a ticket: no other scheme, nothing that ends the brackets around it."""
    if url is None or not url.startswith(("https://", "http://")):
        return False
    return not any(is_gap(it) or it in "<>" for it in url)
