//! What instances and the control plane say to each other: registration, heartbeat, acknowledgement.

use changeover::Phase;
use changeover::keyed::RouteBy;
use changeover::protocol::Settings;
use changeover::protocol::control;
use changeover::protocol::member::OnSilence;
use changeover::write::Ack;
use serde::{Deserialize, Serialize};

use super::Target;
use crate::Spec;

/// The flag, for those who have nothing else: `{"flag": 1, "phase": "shadow"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    /// 0 `old`, 1 `shadow`, 2 `reverse-shadow`, 3 `new` and `retired`.
    pub flag: u8,
    /// The phase. In a hold, the one that the move came from.
    pub phase: Phase,
}

impl From<Phase> for Flag {
    fn from(phase: Phase) -> Self {
        Self { flag: phase.flag(), phase }
    }
}

/// How an instance is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vitals {
    /// Keys in its journal that aren't known to be synced.
    pub dirty_keys: u64,
    /// The longest p99.9 of its operations, in milliseconds; nothing if it has run none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowest_ms: Option<u64>,
}

impl From<control::Vitals> for Vitals {
    fn from(vitals: control::Vitals) -> Self {
        Self { dirty_keys: vitals.dirty_keys, slowest_ms: vitals.slowest_ms }
    }
}

impl From<Vitals> for control::Vitals {
    fn from(vitals: Vitals) -> Self {
        Self { dirty_keys: vitals.dirty_keys, slowest_ms: vitals.slowest_ms }
    }
}

/// A new instance wants to be counted. Answered by a [`TargetAnswer`], whose target it executes at once.
///
/// The version makes it a compare-and-set: nobody runs by a target that the barrier has left. Sent twice because the
/// answer was lost, it is answered by `identity-taken`: take a new identity, the first is forgotten by itself or by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Its identity, never used before: letters, digits, `-`, `_` and `.`, at most 100.
    pub instance: String,
    /// The version of the target that it has seen by `GET target`.
    pub expected: u64,
}

/// A process with the step file of this instance has started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// The version that the file names.
    pub version: u64,
}

/// Still here. Sent every few seconds, and several times in a lease while writes are held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The version that it acknowledged last.
    pub acked: u64,
    /// How it is.
    #[serde(default)]
    pub vitals: Vitals,
}

/// Everything that the instance began under earlier versions has ended. May be sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledge {
    /// The version that it executes, alone.
    pub version: u64,
    /// How it is.
    #[serde(default)]
    pub vitals: Vitals,
}

/// The present target, and what no target says. The answer to everything that an instance asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetAnswer {
    /// The target that was the present one when this was answered.
    pub target: Target,
    /// What the spec says to instances.
    pub settings: InstanceSettings,
}

/// What the spec says to instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSettings {
    /// How long after it was sent the server may still run a write, in milliseconds.
    pub write_lifetime_ms: u64,
    /// What an instance does that is out of touch.
    pub on_silence: OnSilence,
    /// When a dual write is acknowledged: `both`, `authority` or `both-or-error`.
    #[serde(default, with = "ack")]
    pub ack: Ack,
    /// Mappings that aren't routed by their key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// What mustn't be shown of answers and inputs.
    #[serde(default)]
    pub redact: Redact,
}

/// By what a mapping's rows are put into slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The mapping's name.
    pub mapping: String,
    /// The place of the value in the key, from 0; without it each operation gives the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_value: Option<usize>,
}

/// What mustn't be shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redact {
    /// Fields of these names.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The values of keys.
    #[serde(default)]
    pub keys: bool,
    /// Everything.
    #[serde(default)]
    pub all: bool,
}

impl InstanceSettings {
    /// What this spec says to instances.
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        let routes = spec.tables.iter().filter_map(|table| {
            let key_value = match table.route() {
                RouteBy::Key => return None,
                RouteBy::KeyValue(at) => Some(at),
                RouteBy::Given => None,
            };
            Some(Route { mapping: table.name.clone(), key_value })
        });
        let lifetime_ms = spec.fleet.write_lifetime.as_millis();
        Self {
            write_lifetime_ms: u64::try_from(lifetime_ms).unwrap_or(u64::MAX),
            on_silence: spec.fleet.on_silence,
            ack: spec.fleet.ack,
            routes: routes.collect(),
            redact: redact(spec),
        }
    }
}

/// A service's answers have fields, not tables: one of a redacted column's name is redacted wherever it is.
fn redact(spec: &Spec) -> Redact {
    let all = spec.evidence.redact.iter().any(|entry| entry == "*");
    let keys =
        spec.tables.iter().any(|table| table.key_columns().any(|c| spec.evidence.redacts(&table.name, c)));
    Redact { columns: spec.evidence.columns().map(str::to_owned).collect(), keys: all || keys, all }
}

/// Without what only the spec says: [`InstanceSettings::of`] has all of it.
impl From<&Settings> for InstanceSettings {
    fn from(settings: &Settings) -> Self {
        Self {
            write_lifetime_ms: settings.write_lifetime_ms.0,
            on_silence: settings.on_silence,
            ack: Ack::default(),
            routes: Vec::new(),
            redact: Redact::default(),
        }
    }
}

/// An acknowledgement's rule, by the name that the spec has.
mod ack {
    use changeover::write::Ack;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::spec::ACKS;

    pub(super) fn serialize<S: Serializer>(ack: &Ack, to: S) -> Result<S::Ok, S::Error> {
        let name = ACKS.iter().find(|(_, known)| known == ack).map_or("both", |(name, _)| name);
        to.serialize_str(name)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Ack, D::Error> {
        let name = String::deserialize(from)?;
        let known = ACKS.iter().find(|(known, _)| *known == name);
        known.map(|&(_, ack)| ack).ok_or_else(|| D::Error::custom(format!("there is no ack `{name}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_what_people_know() {
        let shown = |phase: Phase| serde_json::to_string(&Flag::from(phase)).unwrap();
        assert_eq!(shown(Phase::ReverseShadow), r#"{"flag":2,"phase":"reverse-shadow"}"#);
        assert_eq!(shown(Phase::Retired), r#"{"flag":3,"phase":"retired"}"#);
    }

    #[test]
    fn the_spec_says_all_of_it_to_instances() {
        let text = include_str!("../../tests/specs/everything.toml");
        let text = text.replace("\"orders-eu.note\"]", "\"orders-eu.id\"]");
        let spec = Spec::parse(std::path::Path::new("x.toml"), &text).unwrap();
        let settings = InstanceSettings::of(&spec);
        assert_eq!((settings.ack, settings.write_lifetime_ms), (Ack::BothOrError, 5_000));
        assert_eq!(settings.routes[0], Route { mapping: "orders-eu".to_owned(), key_value: None });
        let columns = vec!["email".to_owned(), "id".to_owned()];
        assert_eq!(settings.redact, Redact { columns, keys: true, all: false });
        let wire = serde_json::to_string(&settings).unwrap();
        assert!(wire.contains("\"both-or-error\""), "{wire}");
        assert_eq!(serde_json::from_str::<InstanceSettings>(&wire).unwrap(), settings);
        let by_key = text.replace("route_by = \"customer_id\"", "route_by = \"id\"");
        let spec = Spec::parse(std::path::Path::new("x.toml"), &by_key).unwrap();
        assert_eq!(InstanceSettings::of(&spec).routes[0].key_value, Some(0));
    }

    #[test]
    fn a_slip_in_a_request_is_refused() {
        assert!(serde_json::from_str::<Heartbeat>(r#"{"acked":1}"#).is_ok());
        assert!(serde_json::from_str::<Heartbeat>(r#"{"acked":1,"vital":{}}"#).is_err());
        assert!(serde_json::from_str::<Register>(r#"{"instance":"a"}"#).is_err());
    }
}
