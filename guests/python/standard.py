"""Incidents from any sender of Standard Webhooks: `incident.<action>`."""

from incident import Incident, Noise, Urgency, is_production
from triage import json_at
from wit_world.imports.types import Priority


def first(*values):
    """The first value that is there."""
    return next((it for it in values if it is not None), None)


def find(name, event, settings):
    kind, _, action = name.partition(".")
    if kind != "incident" or not action:
        return None
    if action in ("resolved", "closed", "cancelled", "acknowledged"):
        return Noise("incident", f"the incident is {action}")
    data = json_at(event, "/data", ["title"])
    urgency = by_severity(first(data.get("severity"), data.get("level")))
    users = first(data.get("users_affected"), data.get("affected_customers"))
    environment = data.get("environment")
    urgency.by_users(users or 0, settings)
    if not is_production(settings, environment):
        if not urgency.is_above(Priority.NORMAL):
            return Noise("incident", "not urgent, and not in production")
        urgency.at_most(Priority.LOW, "not in production")
    service = data.get("service")
    if isinstance(service, dict):
        service = service["name"]
    return Incident(
        category="incident",
        labels=["standard", "regression"] if action == "reopened" else ["standard"],
        urgency=urgency,
        title=data["title"] if service is None else f"{service}: {data['title']}",
        facts=[("Service", service), ("Environment", environment), ("Users", users)],
        text=first(data.get("description"), data.get("summary")),
        url=data.get("url"),
        group_key=f"standard:{first(data.get('id'), event.idempotency_key)}",
    )


def by_severity(severity):
    """Senders have many words for the same four steps."""
    if severity is None:
        return Urgency(Priority.NORMAL, "no severity is given")
    word = severity.lower()
    priority = Priority.NORMAL
    if word in ("critical", "fatal", "emergency", "sev1", "p0", "p1"):
        priority = Priority.CRITICAL
    elif word in ("high", "major", "error", "sev2", "p2"):
        priority = Priority.HIGH
    elif word in ("low", "minor", "info", "sev4", "p4"):
        priority = Priority.LOW
    return Urgency(priority, f"severity `{severity}`")
