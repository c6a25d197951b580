"""The policy of plugins/incident-desk in Python: one module per source says what an event means,
`incident` says what follows from it."""

import github
import incident
import sentry
import slack
import standard
import triage
from wit_world import exports
from wit_world.exports.plugin import PluginInfo

SOURCES = {"github": github, "sentry": sentry, "slack": slack, "standard": standard}

DEFAULTS = {
    "destination": "desk",
    "webhook_destination": None,
    "production": ["production", "prod", "live"],
    "urgent_labels": ["urgent", "regression", "security", "p1", "sev2"],
    "critical_labels": ["critical", "incident", "outage", "p0", "sev1"],
    "quiet_labels": ["question", "documentation", "duplicate", "invalid", "wontfix"],
    "incident_words": ["incident", "is down", "are down", "degraded", "sev2", "p1", "500s", "timeouts"],
    "critical_words": ["outage", "sev1", "sev-1", "p0", "data loss", "breach"],
    "users_high": 10,
    "users_critical": 100,
}


def find(event, settings):
    source, dot, name = event.event_type.partition(".")
    found = SOURCES[source].find(name, event, settings) if dot and source in SOURCES else None
    return found or incident.Noise("unhandled", f"`{event.event_type}` is not handled here")


class Plugin(exports.Plugin):
    def describe(self):
        return PluginInfo(
            name="incident-desk-python",
            version="0.1.0",
            description="Opens tickets for errors, issues, security alerts and reported incidents, "
            "and pages for urgent ones.",
            triggers=["sentry.*", "github.issues.*", "slack.app_mention", "slack.message", "standard.incident.*"],
            labels=incident.LABELS,
            categories=incident.CATEGORIES,
            settings_schema=None,
        )


class Classifier(exports.Classifier):
    def classify(self, event):
        return find(event, triage.settings(DEFAULTS)).classification()


class Triager(exports.Triager):
    def triage(self, event, classification):
        settings = triage.settings(DEFAULTS)
        return find(event, settings).plan(classification, settings)
