//! Secrets: the file says where they are, never what they are.
//!
//! Called for integrations and destinations. Whether a secret fits the scheme that
//! it signs for is asked of `sources`. No message here shows a value.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::Value;

use super::problem::Problems;
use super::resolve::Surroundings;
use crate::model::integration::SECRETS_MAX;
use crate::model::secret::{MasterKey, Secret};
use crate::model::source::Source;
use crate::sources;

/// The largest secret in bytes.
const SECRET_BYTES_MAX: u64 = 4096;

/// Stands in the list for the secrets that are in the store.
const IN_STORE: &str = "store";

const FORM: &str = "write where it is, not what it is: `env:NAME` or `file:PATH`";

/// The live secrets of an integration.
pub(super) fn list(
    setting: &str,
    value: Option<Value>,
    source: Option<&Source>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Vec<Secret> {
    let Some(value) = problems.required(setting, value, "as `secrets = [\"env:NAME\"]`") else {
        return Vec::new();
    };
    let Value::Array(values) = value else {
        problems.add(setting, "must be a list, as `secrets = [\"env:NAME\"]`");
        return Vec::new();
    };
    if values.is_empty() {
        problems.add(
            setting,
            "at least one is needed, as `secrets = [\"env:NAME\"]`",
        );
    }
    if SECRETS_MAX < values.len() {
        problems.add(
            setting,
            format!("{} are too many: at most {SECRETS_MAX}", values.len()),
        );
    }
    let mut secrets = Vec::new();
    for (index, value) in values.iter().enumerate() {
        if value.as_str() == Some(IN_STORE) {
            continue;
        }
        let found = resolve(value, around).and_then(|secret| checked(secret, source));
        secrets.extend(problems.take(format!("{setting}[{index}]"), found));
    }
    secrets
}

/// The secret that signs what goes to a webhook destination.
pub(super) fn signing(
    setting: &str,
    value: Option<Value>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Secret> {
    let value = problems.required(setting, value, "as `secret = \"env:NAME\"`")?;
    let secret = resolve(&value, around).and_then(|secret| {
        // Standard Webhooks: without the prefix a hexadecimal or plain secret of another scheme
        // would pass as base64, and the receiver would never agree.
        if secret.expose().starts_with("whsec_") {
            return checked(secret, Some(&Source::Standard));
        }
        Err(
            "the secret does not begin with `whsec_`: take the one that the receiver shows, \
             or make one with `openssl rand -base64 32` and put `whsec_` before it"
                .to_owned(),
        )
    });
    problems.take(setting, secret)
}

/// The key that seals secrets in the store. That there is none is no problem as long as
/// nobody needs it.
pub(super) fn master_key(
    setting: &str,
    place: &str,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Result<MasterKey, String> {
    if !place.starts_with("env:") && !place.starts_with("file:") {
        problems.add(setting, FORM);
    }
    let text = read(place, around)?;
    let key = MasterKey::from_text(text.expose());
    key.ok_or_else(|| format!("what is at {place} is not 32 bytes in base64 or hexadecimal"))
}

fn checked(secret: Secret, source: Option<&Source>) -> Result<Secret, String> {
    if let Some(source) = source {
        sources::check_secret(source, &secret).map_err(|error| error.to_string())?;
    }
    Ok(secret)
}

fn resolve(value: &Value, around: &Surroundings<'_>) -> Result<Secret, String> {
    read(value.as_str().ok_or(FORM)?, around)
}

/// The secret at a place as `env:NAME` or `file:PATH`.
pub(super) fn read(place: &str, around: &Surroundings<'_>) -> Result<Secret, String> {
    match place.split_once(':') {
        Some(("env", name)) => from_env(name, around.env),
        Some(("file", path)) if !path.is_empty() => from_file(&around.file(path)),
        _ => Err(FORM.to_owned()),
    }
}

fn from_env(name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Secret, String> {
    // Also keeps a secret that was pasted here out of the message below.
    let is_variable = !name.is_empty()
        && name
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || it == b'_');
    if !is_variable {
        return Err(
            "not the name of an environment variable: `env:` and letters, digits, `_`".to_owned(),
        );
    }
    match env(name) {
        None => Err(format!("environment variable {name} is not set")),
        Some(text) if text.is_empty() => Err(format!("environment variable {name} is empty")),
        Some(text) => Ok(Secret::new(text)),
    }
}

fn from_file(path: &Path) -> Result<Secret, String> {
    let cannot_read = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(cannot_read)?;
    if SECRET_BYTES_MAX < bytes.len() as u64 {
        return Err(format!(
            "{} is larger than {SECRET_BYTES_MAX} bytes",
            path.display()
        ));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", path.display()))?;
    // An editor puts it there; a secret does not end in one.
    let text = text
        .strip_suffix("\r\n")
        .or_else(|| text.strip_suffix('\n'))
        .unwrap_or(&text);
    if text.is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    Ok(Secret::new(text))
}
