//! What is stored comes back as it was: the control plane's record, an instance's step file, a chunk's mark.
#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used, reason = "tests say what they expect by panicking")]

use changeover_protocol::chunk::ChunkMark;
use changeover_protocol::control::Generation;
use changeover_protocol::member::Remembered;
use changeover_protocol::{Control, ControlEvent, InstanceId, Millis, Phase, Settings, Share};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value, "{text}");
    text
}

#[test]
fn a_record_in_the_middle_of_a_move_comes_back() {
    let mut control = Control::new(Settings::default(), Millis(1));
    let expected = control.target.version;
    let events = [
        ControlEvent::Register { id: InstanceId::new("a b\"c"), expected },
        ControlEvent::Advance { to: Phase::Shadow, share: Share::ALL },
        ControlEvent::Forget { id: InstanceId::new("a b\"c") },
    ];
    for event in events {
        control = control.apply(Millis(2), event).unwrap().next;
        comes_back(&control);
    }
    assert!(control.shift.is_some(), "the ghost is waited for");
}

#[test]
fn a_step_file_and_a_chunk_mark_come_back_and_read_plainly() {
    let target = Control::new(Settings::default(), Millis(0)).target;
    let text = comes_back(&Remembered { instance: InstanceId::new("i0"), target });
    assert!(text.contains("\"step\":\"old\"") && text.contains("\"instance\":\"i0\""), "{text}");
    comes_back(&ChunkMark { generation: Generation(3), attempt: 1, done: true });
}
