//! Slack: mentions of the app, and messages that read like an incident.

use serde::Deserialize;
use triage_plugin::{Event, Failure, Priority};

use crate::incident::{Finding, Incident};
use crate::settings::Settings;
use crate::urgency::Urgency;

#[derive(Deserialize)]
struct Message {
    subtype: Option<String>,
    bot_id: Option<String>,
    user: Option<String>,
    channel: String,
    text: Option<String>,
    ts: String,
    thread_ts: Option<String>,
}

/// What a Slack event means.
pub fn find(name: &str, event: &Event, settings: &Settings) -> Result<Finding, Failure> {
    let is_mention = match name {
        "app_mention" => true,
        "message" => false,
        _ => return Ok(Finding::unhandled(&event.event_type)),
    };
    let message: Message = event.json_at("/event")?;
    if let Some(subtype) = &message.subtype {
        return Ok(Finding::noise(
            "report",
            format!("a `{subtype}`, not somebody's words"),
        ));
    }
    if message.bot_id.is_some() {
        return Ok(Finding::noise("report", "written by a bot"));
    }
    if !is_mention
        && message
            .thread_ts
            .as_ref()
            .is_some_and(|it| *it != message.ts)
    {
        return Ok(Finding::noise("report", "an answer in a thread"));
    }
    let text = message.text.unwrap_or_default();
    let urgency = if let Some(word) = first_word(&text, &settings.critical_words) {
        Urgency::new(Priority::Critical, &format!("it says `{word}`"))
    } else if let Some(word) = first_word(&text, &settings.incident_words) {
        Urgency::new(Priority::High, &format!("it says `{word}`"))
    } else if is_mention {
        Urgency::new(Priority::Normal, "somebody asks for attention")
    } else {
        return Ok(Finding::noise(
            "report",
            "nothing in it reads like an incident",
        ));
    };
    let thread = message.thread_ts.unwrap_or(message.ts);
    Ok(Finding::Incident(Incident {
        category: "report",
        labels: vec!["slack"],
        urgency,
        title: format!("Slack: {}", text.trim()),
        facts: vec![
            ("Channel", message.channel.clone()),
            ("From", message.user.unwrap_or_default()),
        ],
        text,
        url: None,
        group_key: format!("slack:{}:{thread}", message.channel),
    }))
}

/// The first of these words that stands in the text, in any case, and not inside a longer word.
fn first_word<'a>(text: &str, words: &'a [String]) -> Option<&'a str> {
    let text = text.to_lowercase();
    words.iter().map(String::as_str).find(|word| {
        text.match_indices(&word.to_lowercase())
            .any(|(start, found)| {
                let before = text.get(..start).and_then(|it| it.chars().next_back());
                let after = text
                    .get(start + found.len()..)
                    .and_then(|it| it.chars().next());
                !before.is_some_and(char::is_alphanumeric)
                    && !after.is_some_and(char::is_alphanumeric)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::first_word;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let words = ["p0".to_owned(), "is down".to_owned()];
        assert_eq!(first_word(text, &words), expected);
    }

    #[test]
    fn a_word_is_found_in_any_case() {
        check("Checkout IS DOWN!", Some("is down"));
        check("(P0) checkout", Some("p0"));
    }

    #[test]
    fn a_part_of_a_longer_word_is_not_found() {
        check("http0 and p01", None);
        check("this downtime is downgraded", None);
    }
}
