"""GitHub: issues, security alerts and advisories."""

from incident import Incident, Noise, Urgency, contains
from triage import json_at
from wit_world.imports.types import Priority

SEVERITIES = {"critical": Priority.CRITICAL, "high": Priority.HIGH, "low": Priority.LOW}
BACK = ("reopened", "reopened_by_user", "auto_reopened", "reintroduced")


def find(name, event, settings):
    kind, dot, action = name.partition(".")
    if not dot:
        return None
    if kind == "issues":
        if action in ("opened", "reopened", "labeled"):
            return issue(action, event, settings)
        return Noise("issue", f"an issue was {action}")
    alerts = {
        "dependabot_alert": dependabot,
        "code_scanning_alert": code_scanning,
        "secret_scanning_alert": secret_scanning,
        "security_advisory": advisory,
    }
    return alerts[kind](action, event) if kind in alerts else None


def issue(action, event, settings):
    body = json_at(event, "", ["issue", "repository", "sender"])
    issue = json_at(event, "/issue", ["number", "title", "html_url"])
    repository, sender, label = body["repository"]["full_name"], body["sender"], body.get("label")
    labels = [it["name"] for it in issue.get("labels", [])]
    urgency = Urgency(Priority.NORMAL, f"an issue was {action}")
    for name in labels:
        if contains(settings["critical_labels"], name):
            urgency.at_least(Priority.CRITICAL, f"label `{name}`")
        elif contains(settings["urgent_labels"], name):
            urgency.at_least(Priority.HIGH, f"label `{name}`")
    is_urgent = urgency.is_above(Priority.NORMAL)
    if label is not None and not contains(settings["critical_labels"] + settings["urgent_labels"], label["name"]):
        return Noise("issue", f"label `{label['name']}` says nothing about urgency")
    if not is_urgent:
        if sender.get("type") == "Bot":
            return Noise("issue", f"{action} by the bot {sender['login']}")
        for name in labels:
            if contains(settings["quiet_labels"], name):
                urgency.at_most(Priority.LOW, f"label `{name}`")
    return Incident(
        category="issue",
        labels=["github", "regression"] if action == "reopened" else ["github"],
        urgency=urgency,
        title=f"{repository}#{issue['number']}: {issue['title']}",
        facts=[("Author", (issue.get("user") or {}).get("login")), ("Labels", ", ".join(labels))],
        text=issue.get("body"),
        url=issue["html_url"],
        group_key=f"github:{repository}#{issue['number']}",
    )


def dependabot(action, event):
    """A vulnerable dependency."""
    if action not in ("created", "reopened", "reintroduced", "auto_reopened"):
        return over("vulnerability", action)
    required = ["number", "html_url", "dependency", "security_advisory", "security_vulnerability"]
    alert = json_at(event, "/alert", required)
    repository = json_at(event, "/repository", ["full_name"])["full_name"]
    advisory, vulnerability = alert["security_advisory"], alert["security_vulnerability"]
    dependency = alert["dependency"]
    urgency = by_severity(advisory["severity"])
    if dependency.get("scope") == "development":
        urgency.lower("only a development dependency")
    return Incident(
        category="vulnerability",
        labels=labels(action),
        urgency=urgency,
        title=f"{repository}: {advisory['summary']} ({vulnerability['package']['name']})",
        facts=[
            ("Advisory", advisory.get("cve_id") or advisory["ghsa_id"]),
            ("Package", named(vulnerability["package"])),
            ("Vulnerable", vulnerability.get("vulnerable_version_range")),
            ("Fixed in", (vulnerability.get("first_patched_version") or {}).get("identifier")),
            ("Manifest", dependency.get("manifest_path")),
        ],
        text=advisory.get("description"),
        url=alert["html_url"],
        group_key=f"github:{repository}:dependabot:{alert['number']}",
    )


def code_scanning(action, event):
    """A flaw in the team's own code."""
    if action not in ("created", "reopened", "reopened_by_user", "appeared_in_branch"):
        return over("vulnerability", action)
    alert = json_at(event, "/alert", ["number", "html_url", "rule", "tool"])
    repository = json_at(event, "/repository", ["full_name"])
    ref = json_at(event, "/ref")
    rule, instance = alert["rule"], alert.get("most_recent_instance") or {}
    location, branch = instance.get("location") or {}, repository.get("default_branch")
    level = rule.get("security_severity_level")
    if level is None:
        level = "medium" if rule.get("severity") == "error" else "low"
    urgency = by_severity(level)
    if branch is not None and ref != f"refs/heads/{branch}":
        urgency.lower("not on the default branch")
    where, line = location.get("path") or "", location.get("start_line")
    return Incident(
        category="vulnerability",
        labels=labels(action),
        urgency=urgency,
        title=f"{repository['full_name']}: {rule['description']}",
        facts=[
            ("Rule", f"{rule['id']} ({alert['tool']['name']})"),
            ("Ref", ref),
            ("Where", where if line is None else f"{where}:{line}"),
        ],
        text=(instance.get("message") or {}).get("text"),
        url=alert["html_url"],
        group_key=f"github:{repository['full_name']}:code_scanning:{alert['number']}",
    )


def secret_scanning(action, event):
    """A secret in a repository. The payload does not hold the secret itself."""
    if action not in ("created", "reopened", "publicly_leaked", "validated"):
        return over("leaked-secret", action)
    alert = json_at(event, "/alert", ["number", "html_url", "secret_type"])
    repository = json_at(event, "/repository", ["full_name"])
    validity = alert.get("validity")
    urgency = Urgency(Priority.HIGH, "a secret was committed")
    if validity == "inactive":
        urgency.at_most(Priority.LOW, "the secret is not valid any more")
    elif not repository.get("private", False) or alert.get("publicly_leaked") is True:
        urgency.at_least(Priority.CRITICAL, "everybody can read it")
    elif validity == "active":
        urgency.at_least(Priority.CRITICAL, "the secret is valid")
    secret = alert.get("secret_type_display_name") or alert["secret_type"]
    was_bypassed = alert.get("push_protection_bypassed") is True
    return Incident(
        category="leaked-secret",
        labels=labels(action),
        urgency=urgency,
        title=f"{repository['full_name']}: {secret} in the repository",
        facts=[
            ("Secret", secret),
            ("Validity", validity),
            ("Push protection", "was bypassed" if was_bypassed else None),
        ],
        text="",
        url=alert["html_url"],
        group_key=f"github:{repository['full_name']}:secret_scanning:{alert['number']}",
    )


def advisory(action, event):
    """An advisory for everybody. Nothing says that the team is concerned, so it counts one step less."""
    if action != "published":
        return over("vulnerability", action)
    advisory = json_at(event, "/security_advisory", ["ghsa_id", "summary", "severity"])
    urgency = by_severity(advisory["severity"])
    if not urgency.is_above(Priority.NORMAL):
        return Noise("vulnerability", f"severity `{advisory['severity']}`, and perhaps not used here")
    urgency.lower("perhaps not used here")
    packages = [named(it["package"]) for it in advisory.get("vulnerabilities", [])]
    return Incident(
        category="vulnerability",
        labels=labels(action),
        urgency=urgency,
        title=f"{advisory['ghsa_id']}: {advisory['summary']}",
        facts=[("CVE", advisory.get("cve_id")), ("Packages", ", ".join(packages))],
        text=advisory.get("description"),
        url=advisory.get("html_url"),
        group_key=f"github:advisory:{advisory['ghsa_id']}",
    )


def over(category, action):
    return Noise(category, f"`{action}` asks for nothing")


def named(package):
    return f"{package['name']} ({package['ecosystem']})"


def by_severity(severity):
    return Urgency(SEVERITIES.get(severity, Priority.NORMAL), f"severity `{severity}`")


def labels(action):
    return ["github", "security", "regression"] if action in BACK else ["github", "security"]
