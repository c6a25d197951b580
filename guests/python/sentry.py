"""Sentry's integration platform: issues, issue alerts, metric alerts, errors."""

from incident import Incident, Noise, Urgency, is_production
from triage import json_at
from wit_world.imports.types import Priority

OCCURRENCE = ["title", "issue_id"]
DEALT_WITH = ("issue.resolved", "issue.assigned", "issue.archived", "issue.ignored")


def find(name, event, settings):
    if name in ("issue.created", "issue.unresolved"):
        return issue(json_at(event, "/data/issue", ["id", "title", "level", "project"]), settings)
    if name in DEALT_WITH:
        return Noise("error", "somebody has dealt with this issue in Sentry")
    if name == "event_alert.triggered":
        rule = json_at(event, "/data/triggered_rule")
        return occurrence("alert", rule, json_at(event, "/data/event", OCCURRENCE), settings)
    if name == "error.created":
        return occurrence("error", None, json_at(event, "/data/error", OCCURRENCE), settings)
    if name in ("metric_alert.critical", "metric_alert.warning"):
        priority = Priority.CRITICAL if name == "metric_alert.critical" else Priority.NORMAL
        data = json_at(event, "/data", ["metric_alert", "description_text"])
        return metric_alert(priority, data, settings)
    if name == "metric_alert.resolved":
        return Noise("alert", "the metric is back to normal")
    return None


def issue(issue, settings):
    labels = ["sentry"]
    urgency = by_level(issue["level"])
    users = issue.get("userCount", 0)
    if issue.get("isUnhandled") is True:
        urgency.raise_("nothing handles it")
    if issue.get("substatus") == "regressed":
        labels.append("regression")
        urgency.raise_("it was resolved and came back")
    elif issue.get("substatus") == "escalating":
        urgency.raise_("it happens more and more often")
    if issue.get("issueCategory") == "outage":
        urgency.at_least(Priority.HIGH, "a monitor reports an outage")
    urgency.by_users(users, settings)
    short_id = issue.get("shortId")
    return Incident(
        category="error",
        labels=labels,
        urgency=urgency,
        title=issue["title"] if short_id is None else f"{short_id}: {issue['title']}",
        facts=[
            ("Project", issue["project"]["slug"]),
            ("Where", issue.get("culprit")),
            ("Users", users),
            ("First seen", issue.get("firstSeen")),
        ],
        text="",
        url=issue.get("web_url"),
        group_key=f"sentry:issue:{issue['id']}",
    )


def occurrence(category, rule, occurrence, settings):
    tags = {}
    for name, value in occurrence.get("tags", []):
        tags.setdefault(name, value)
    environment = occurrence.get("environment")
    if environment is None:
        environment = tags.get("environment")
    level = occurrence.get("level") or tags.get("level") or "error"
    urgency = by_level(level)
    if rule is None:
        # Sentry sends every single occurrence; new issues and alert rules tell when people should look.
        urgency.lower("one occurrence of many")
    if not is_production(settings, environment):
        if level not in ("error", "fatal"):
            return Noise(category, f"level `{level}` outside production")
        urgency.at_most(Priority.LOW, "not in production")
    return Incident(
        category=category,
        labels=["sentry"],
        urgency=urgency,
        title=occurrence["title"],
        facts=[
            ("Alert rule", rule),
            ("Environment", environment),
            ("Release", occurrence.get("release")),
            ("Where", occurrence.get("culprit")),
        ],
        text="",
        url=occurrence.get("web_url"),
        group_key=f"sentry:issue:{occurrence['issue_id']}",
    )


def metric_alert(priority, data, settings):
    alert = data["metric_alert"]
    environment = alert["alert_rule"].get("environment")
    urgency = Urgency(priority, "a metric is over its threshold")
    if not is_production(settings, environment):
        urgency.at_most(Priority.LOW, "not in production")
    return Incident(
        category="alert",
        labels=["sentry"],
        urgency=urgency,
        title=alert["title"],
        facts=[("Projects", ", ".join(alert.get("projects", []))), ("Environment", environment)],
        text=data["description_text"],
        url=data.get("web_url"),
        group_key=f"sentry:metric_alert:{alert['id']}",
    )


def by_level(level):
    priority = Priority.NORMAL
    if level == "fatal":
        priority = Priority.HIGH
    elif level in ("warning", "info", "debug", "sample"):
        priority = Priority.LOW
    return Urgency(priority, f"level `{level}`")
