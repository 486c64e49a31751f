//! Records to begin with.

use changeover_protocol::control::Backfill;
use changeover_protocol::{Control, ControlEvent, Millis, Phase, Settings, Share};

use super::id;

/// A record whose instances have all acknowledged this phase, with the backfill complete.
pub(crate) fn record_in(phase: Phase, settings: Settings, nodes: usize) -> Control {
    let mut control = Control::new(settings, Millis(0));
    let tell = |control: &mut Control, event| *control = control.apply(Millis(0), event).unwrap().next;
    for n in 0..nodes {
        let expected = control.target.version;
        tell(&mut control, ControlEvent::Register { id: id(n), expected });
    }
    for to in Phase::ALL.into_iter().filter(|&p| p > Phase::Old && p <= phase) {
        tell(&mut control, ControlEvent::Advance { to, share: Share::ALL });
        while control.shift.is_some() {
            finish_step(&mut control, nodes);
        }
        if let Some(Backfill { generation, .. }) = control.backfill {
            tell(&mut control, ControlEvent::GenerationDone { generation });
        }
    }
    control.revision = 0;
    control
}

fn finish_step(control: &mut Control, nodes: usize) {
    let tell = |control: &mut Control, event| *control = control.apply(Millis(0), event).unwrap().next;
    let (version, epoch) = (control.target.version, control.epoch);
    for n in 0..nodes {
        let event = ControlEvent::Acknowledge { id: id(n), version, vitals: Default::default() };
        tell(control, event);
    }
    tell(control, ControlEvent::KeysInSync { version, dirty: 0, backfill_under_way: false });
    tell(control, ControlEvent::FenceMoved { epoch: control.epoch.max(epoch) });
    tell(control, ControlEvent::FenceOpened { epoch: control.epoch.max(epoch) });
}
