package main

import (
	"fmt"
	"slices"
	"strings"

	"policy/triage"
)

type pkg struct {
	Ecosystem string `json:"ecosystem"`
	Name      string `json:"name"`
}

func (it pkg) String() string { return fmt.Sprintf("%s (%s)", it.Name, it.Ecosystem) }

type vulnerability struct {
	Package             pkg     `json:"package"`
	VulnerableRange     *string `json:"vulnerable_version_range"`
	FirstPatchedVersion *struct {
		Identifier string `json:"identifier"`
	} `json:"first_patched_version"`
}

type advisory struct {
	GHSA            string          `json:"ghsa_id"`
	CVE             *string         `json:"cve_id"`
	Summary         string          `json:"summary"`
	Description     *string         `json:"description"`
	Severity        string          `json:"severity"`
	HTMLURL         *string         `json:"html_url"`
	Vulnerabilities []vulnerability `json:"vulnerabilities"`
}

// An alert of any of the three kinds.
type alert struct {
	Number     uint64 `json:"number"`
	HTMLURL    string `json:"html_url"`
	Dependency struct {
		ManifestPath *string `json:"manifest_path"`
		Scope        *string `json:"scope"`
	} `json:"dependency"`
	SecurityAdvisory      advisory      `json:"security_advisory"`
	SecurityVulnerability vulnerability `json:"security_vulnerability"`
	Rule                  struct {
		ID                    string  `json:"id"`
		Description           string  `json:"description"`
		Severity              *string `json:"severity"`
		SecuritySeverityLevel *string `json:"security_severity_level"`
	} `json:"rule"`
	Tool struct {
		Name string `json:"name"`
	} `json:"tool"`
	MostRecentInstance struct {
		Location struct {
			Path      *string `json:"path"`
			StartLine *uint64 `json:"start_line"`
		} `json:"location"`
		Message struct {
			Text string `json:"text"`
		} `json:"message"`
	} `json:"most_recent_instance"`
	SecretType             string  `json:"secret_type"`
	SecretTypeDisplayName  *string `json:"secret_type_display_name"`
	Validity               *string `json:"validity"`
	PubliclyLeaked         *bool   `json:"publicly_leaked"`
	PushProtectionBypassed *bool   `json:"push_protection_bypassed"`
}

func readAlert(event *triage.Event, required ...string) (*alert, *repository, error) {
	var alert alert
	var repository repository
	if err := event.JSONAt("/alert", &alert, append([]string{"number", "html_url"}, required...)...); err != nil {
		return nil, nil, err
	}
	err := event.JSONAt("/repository", &repository, "full_name")
	return &alert, &repository, err
}

// A vulnerable dependency.
func findDependabot(action string, event *triage.Event) (*finding, error) {
	if !slices.Contains([]string{"created", "reopened", "reintroduced", "auto_reopened"}, action) {
		return over("vulnerability", action), nil
	}
	alert, repository, err := readAlert(event, "dependency", "security_advisory", "security_vulnerability")
	if err != nil {
		return nil, err
	}
	advisory, vulnerability := &alert.SecurityAdvisory, &alert.SecurityVulnerability
	urgency := bySeverity(advisory.Severity)
	if or(alert.Dependency.Scope) == "development" {
		urgency.lower("only a development dependency")
	}
	fixedIn := ""
	if vulnerability.FirstPatchedVersion != nil {
		fixedIn = vulnerability.FirstPatchedVersion.Identifier
	}
	return &finding{
		category: "vulnerability",
		labels:   securityLabels(action),
		urgency:  urgency,
		title:    fmt.Sprintf("%s: %s (%s)", repository.FullName, advisory.Summary, vulnerability.Package.Name),
		facts: [][2]string{
			{"Advisory", or(advisory.CVE, &advisory.GHSA)},
			{"Package", vulnerability.Package.String()},
			{"Vulnerable", or(vulnerability.VulnerableRange)},
			{"Fixed in", fixedIn},
			{"Manifest", or(alert.Dependency.ManifestPath)},
		},
		text:     or(advisory.Description),
		url:      &alert.HTMLURL,
		groupKey: fmt.Sprintf("github:%s:dependabot:%d", repository.FullName, alert.Number),
	}, nil
}

// A flaw in the team's own code.
func findCodeScanning(action string, event *triage.Event) (*finding, error) {
	if !slices.Contains([]string{"created", "reopened", "reopened_by_user", "appeared_in_branch"}, action) {
		return over("vulnerability", action), nil
	}
	alert, repository, err := readAlert(event, "rule", "tool")
	if err != nil {
		return nil, err
	}
	var ref string
	if err := event.JSONAt("/ref", &ref); err != nil {
		return nil, err
	}
	rule, location := &alert.Rule, &alert.MostRecentInstance.Location
	otherwise := "low"
	if or(rule.Severity) == "error" {
		otherwise = "medium"
	}
	urgency := bySeverity(or(rule.SecuritySeverityLevel, &otherwise))
	if branch := repository.DefaultBranch; branch != nil && ref != "refs/heads/"+*branch {
		urgency.lower("not on the default branch")
	}
	where := or(location.Path)
	if location.StartLine != nil {
		where = fmt.Sprintf("%s:%d", where, *location.StartLine)
	}
	return &finding{
		category: "vulnerability",
		labels:   securityLabels(action),
		urgency:  urgency,
		title:    fmt.Sprintf("%s: %s", repository.FullName, rule.Description),
		facts:    [][2]string{{"Rule", fmt.Sprintf("%s (%s)", rule.ID, alert.Tool.Name)}, {"Ref", ref}, {"Where", where}},
		text:     alert.MostRecentInstance.Message.Text,
		url:      &alert.HTMLURL,
		groupKey: fmt.Sprintf("github:%s:code_scanning:%d", repository.FullName, alert.Number),
	}, nil
}

// A secret in a repository. The payload does not hold the secret itself.
func findSecret(action string, event *triage.Event) (*finding, error) {
	if !slices.Contains([]string{"created", "reopened", "publicly_leaked", "validated"}, action) {
		return over("leaked-secret", action), nil
	}
	alert, repository, err := readAlert(event, "secret_type")
	if err != nil {
		return nil, err
	}
	isTrue := func(it *bool) bool { return it != nil && *it }
	urgency := newUrgency(triage.High, "a secret was committed")
	switch validity := or(alert.Validity); {
	case validity == "inactive":
		urgency.atMost(triage.Low, "the secret is not valid any more")
	case !repository.Private || isTrue(alert.PubliclyLeaked):
		urgency.atLeast(triage.Critical, "everybody can read it")
	case validity == "active":
		urgency.atLeast(triage.Critical, "the secret is valid")
	}
	secret, bypassed := or(alert.SecretTypeDisplayName, &alert.SecretType), ""
	if isTrue(alert.PushProtectionBypassed) {
		bypassed = "was bypassed"
	}
	return &finding{
		category: "leaked-secret",
		labels:   securityLabels(action),
		urgency:  urgency,
		title:    fmt.Sprintf("%s: %s in the repository", repository.FullName, secret),
		facts:    [][2]string{{"Secret", secret}, {"Validity", or(alert.Validity)}, {"Push protection", bypassed}},
		url:      &alert.HTMLURL,
		groupKey: fmt.Sprintf("github:%s:secret_scanning:%d", repository.FullName, alert.Number),
	}, nil
}

// An advisory for everybody. Nothing says that the team is concerned, so it counts one step less.
func findAdvisory(action string, event *triage.Event) (*finding, error) {
	if action != "published" {
		return over("vulnerability", action), nil
	}
	var advisory advisory
	if err := event.JSONAt("/security_advisory", &advisory, "ghsa_id", "summary", "severity"); err != nil {
		return nil, err
	}
	urgency := bySeverity(advisory.Severity)
	if urgency.priority < triage.High {
		return noise("vulnerability", fmt.Sprintf("severity `%s`, and perhaps not used here", advisory.Severity)), nil
	}
	urgency.lower("perhaps not used here")
	var packages []string
	for _, it := range advisory.Vulnerabilities {
		packages = append(packages, it.Package.String())
	}
	return &finding{
		category: "vulnerability",
		labels:   securityLabels(action),
		urgency:  urgency,
		title:    fmt.Sprintf("%s: %s", advisory.GHSA, advisory.Summary),
		facts:    [][2]string{{"CVE", or(advisory.CVE)}, {"Packages", strings.Join(packages, ", ")}},
		text:     or(advisory.Description),
		url:      advisory.HTMLURL,
		groupKey: "github:advisory:" + advisory.GHSA,
	}, nil
}

func over(category, action string) *finding {
	return noise(category, fmt.Sprintf("`%s` asks for nothing", action))
}

func bySeverity(severity string) *urgency {
	priority := triage.Normal
	switch severity {
	case "critical":
		priority = triage.Critical
	case "high":
		priority = triage.High
	case "low":
		priority = triage.Low
	}
	return newUrgency(priority, fmt.Sprintf("severity `%s`", severity))
}

func securityLabels(action string) []string {
	switch action {
	case "reopened", "reopened_by_user", "auto_reopened", "reintroduced":
		return []string{"github", "security", "regression"}
	}
	return []string{"github", "security"}
}
