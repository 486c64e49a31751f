//! What instances and the control plane say to each other: registration, heartbeat, acknowledgement.

use changeover::Phase;
use changeover::protocol::control;
use changeover::protocol::member::{MemberSettings, OnSilence};
use changeover::protocol::{Millis, Settings};
use serde::{Deserialize, Serialize};

use super::Target;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSettings {
    /// How long after it was sent the server may still run a write, in milliseconds.
    pub write_lifetime_ms: u64,
    /// What an instance does that is out of touch.
    pub on_silence: OnSilence,
}

impl From<&Settings> for InstanceSettings {
    fn from(settings: &Settings) -> Self {
        Self { write_lifetime_ms: settings.write_lifetime_ms.0, on_silence: settings.on_silence }
    }
}

impl From<InstanceSettings> for MemberSettings {
    fn from(settings: InstanceSettings) -> Self {
        Self {
            write_lifetime_ms: Millis(settings.write_lifetime_ms),
            on_silence: settings.on_silence,
            ..Self::default()
        }
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
    fn a_slip_in_a_request_is_refused() {
        assert!(serde_json::from_str::<Heartbeat>(r#"{"acked":1}"#).is_ok());
        assert!(serde_json::from_str::<Heartbeat>(r#"{"acked":1,"vital":{}}"#).is_err());
        assert!(serde_json::from_str::<Register>(r#"{"instance":"a"}"#).is_err());
    }
}
