//! What a kernel chooses where nothing is promised, for a whole run.

use crate::nt::Status;
use crate::nt::sim::{LastClose, Mood};

/// A kernel's choices, for a whole run.
#[derive(Clone, Copy, Debug)]
pub(in crate::afd::tests) struct Weakness {
    pub(in crate::afd::tests) ends_with_helper: bool,
    pub(in crate::afd::tests) last_close: LastClose,
    pub(in crate::afd::tests) further_flags: u32,
    pub(in crate::afd::tests) queues_answers: bool,
    pub(in crate::afd::tests) further_handles: u32,
    pub(in crate::afd::tests) cancel_answers: Option<Status>,
    pub(in crate::afd::tests) takes_last: bool,
    pub(in crate::afd::tests) keeps_association: bool,
    pub(in crate::afd::tests) forgets_marks: bool,
    pub(in crate::afd::tests) ends_in_vain: Option<Status>,
}

/// As it was found out of real Windows.
pub(in crate::afd::tests) const BELIEVED: Weakness = Weakness {
    ends_with_helper: false,
    last_close: LastClose::Tells,
    further_flags: 0,
    queues_answers: false,
    further_handles: 0,
    cancel_answers: None,
    takes_last: false,
    keeps_association: false,
    forgets_marks: false,
    ends_in_vain: None,
};

impl Weakness {
    pub(super) fn choose(self, mood: &mut Mood) {
        mood.ends_with_helper = self.ends_with_helper;
        mood.last_close = self.last_close;
        mood.further_flags = self.further_flags;
        mood.queues_answers = self.queues_answers;
        mood.further_handles = self.further_handles;
        mood.cancel_answers = self.cancel_answers;
        mood.takes_last = self.takes_last;
        mood.keeps_association = self.keeps_association;
        mood.forgets_marks = self.forgets_marks;
        mood.ends_in_vain = self.ends_in_vain;
    }

    /// A kernel that chooses as is believed of Windows, or otherwise, each by itself.
    pub(in crate::afd::tests) fn draw(random: &mut fastrand::Rng) -> Weakness {
        if random.bool() {
            return BELIEVED;
        }
        let answers = [
            None,
            Some(Status::SUCCESS),
            Some(Status::NOT_FOUND),
            Some(Status::INVALID_PARAMETER),
        ];
        let closes = [LastClose::Tells, LastClose::Cancels, LastClose::Leaves];
        let in_vain = [Status::CANCELLED, Status::SUCCESS, Status::TIMEOUT];
        Weakness {
            ends_with_helper: random.bool(),
            last_close: closes[random.usize(0..3)],
            further_flags: [0, 0x200, 0x8000_0600][random.usize(0..3)],
            queues_answers: random.bool(),
            further_handles: random.u32(0..3),
            cancel_answers: answers[random.usize(0..4)],
            takes_last: random.bool(),
            keeps_association: random.bool(),
            forgets_marks: random.bool(),
            ends_in_vain: (random.u8(0..8) == 0).then(|| in_vain[random.usize(0..3)]),
        }
    }
}

/// Kernels that choose otherwise than is believed of Windows, each where nothing is promised.
pub(in crate::afd::tests) const WEAK: [Weakness; 5] = [
    Weakness {
        ends_with_helper: true,
        last_close: LastClose::Cancels,
        further_flags: 0x8000_0600,
        cancel_answers: Some(Status::NOT_FOUND),
        ..BELIEVED
    },
    Weakness {
        last_close: LastClose::Leaves,
        further_handles: 1,
        cancel_answers: Some(Status::SUCCESS),
        keeps_association: true,
        ..BELIEVED
    },
    Weakness {
        queues_answers: true,
        cancel_answers: Some(Status::INVALID_PARAMETER),
        forgets_marks: true,
        ..BELIEVED
    },
    Weakness {
        takes_last: true,
        last_close: LastClose::Leaves,
        queues_answers: true,
        ..BELIEVED
    },
    Weakness {
        ends_in_vain: Some(Status::CANCELLED),
        ..BELIEVED
    },
];
