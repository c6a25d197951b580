"""Slack: mentions of the app, and messages that read like an incident."""

from incident import SPACE, Incident, Noise, Urgency
from triage import json_at
from wit_world.imports.types import Priority


def find(name, event, settings):
    is_mention = name == "app_mention"
    if not is_mention and name != "message":
        return None
    message = json_at(event, "/event", ["channel", "ts"])
    thread = message.get("thread_ts")
    if message.get("subtype") is not None:
        return Noise("report", f"a `{message['subtype']}`, not somebody's words")
    if message.get("bot_id") is not None:
        return Noise("report", "written by a bot")
    if not is_mention and thread is not None and thread != message["ts"]:
        return Noise("report", "an answer in a thread")
    text = message.get("text") or ""
    urgency = judge(text, is_mention, settings)
    if urgency is None:
        return Noise("report", "nothing in it reads like an incident")
    return Incident(
        category="report",
        labels=["slack"],
        urgency=urgency,
        title=f"Slack: {text.strip(SPACE)}",
        facts=[("Channel", message["channel"]), ("From", message.get("user"))],
        text=text,
        url=None,
        group_key=f"slack:{message['channel']}:{message['ts'] if thread is None else thread}",
    )


def judge(text, is_mention, settings):
    critical = first_word(text, settings["critical_words"])
    if critical is not None:
        return Urgency(Priority.CRITICAL, f"it says `{critical}`")
    urgent = first_word(text, settings["incident_words"])
    if urgent is not None:
        return Urgency(Priority.HIGH, f"it says `{urgent}`")
    return Urgency(Priority.NORMAL, "somebody asks for attention") if is_mention else None


def first_word(text, words):
    """The first of these words that stands in the text, in any case, and not inside a longer word."""
    text = text.lower()
    return next((word for word in words if stands_in(text, word.lower())), None)


def stands_in(text, word):
    start = text.find(word)
    while start != -1:
        before, after = text[:start][-1:], text[start + len(word) :][:1]
        if not before.isalnum() and not after.isalnum():
            return True
        start = text.find(word, start + 1)
    return False
