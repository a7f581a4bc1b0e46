//! What applications want back, as long as the reactor has not looked for it.

use crate::channel::Channel;

use super::{GroupId, Registry};

/// So many withdrawals wait for one pass at most. Stated in the documentation of `ChannelGroup::withdraw`.
pub(crate) const WITHDRAWALS_MAX: usize = 8192;

/// And no more once so many queued messages are to be looked at for them: some milliseconds' work.
const LOOKS_MAX: u64 = 1 << 20;

/// Those that were submitted since the last pass began.
#[derive(Default)]
pub(super) struct Withdrawals {
    count: usize,
    /// So many messages are queued where they are looked for, counted anew for each.
    looks: u64,
}

/// What is to be done about a message that is wanted back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Withdrawal {
    /// The reactor looks for it.
    Submitted,
    /// Nothing: it cannot be there.
    InVain,
    /// The reactor has enough to look for.
    Refused,
}

impl Registry {
    /// Whether the reactor is to look for a message of this channel.
    pub(crate) fn begin_withdrawal(&mut self, channel: Channel, group: GroupId) -> Withdrawal {
        let Some(progress) = self.progress(channel, group) else {
            return Withdrawal::InVain;
        };
        let Withdrawals { count, looks } = &mut self.withdrawals;
        if *count >= WITHDRAWALS_MAX || *looks >= LOOKS_MAX {
            return Withdrawal::Refused;
        }
        *count += 1;
        *looks += progress.queued();
        Withdrawal::Submitted
    }

    /// The reactor has taken all that were submitted.
    pub(crate) fn take_withdrawals(&mut self) {
        self.withdrawals = Withdrawals::default();
    }
}

#[cfg(test)]
mod tests {
    use super::{LOOKS_MAX, WITHDRAWALS_MAX, Withdrawal};
    use crate::between::registry::{Credit, Kind, Registry, Role};
    use crate::channel::Channel;
    use crate::storage::{MESSAGE_COST_MAX, SMALLEST_COST};

    const GROUP: u64 = 1;

    /// A channel with so many messages queued.
    fn with_queued(messages: usize) -> (Registry, Channel) {
        let bytes = (messages * SMALLEST_COST).max(2 * MESSAGE_COST_MAX);
        let mut registry = Registry::new(Credit {
            channel: bytes,
            engine: bytes,
        });
        registry.open_group(GROUP, 0);
        let channel = registry.open(GROUP, Kind::Connection).expect("a number");
        for _ in 0..messages {
            let admitted = registry.admit(channel, GROUP, Role::Data, SMALLEST_COST, None);
            admitted.expect("there is room");
        }
        (registry, channel)
    }

    /// How many are submitted before one is refused.
    fn submitted(registry: &mut Registry, channel: Channel) -> usize {
        let submits =
            |_: &usize| registry.begin_withdrawal(channel, GROUP) == Withdrawal::Submitted;
        (0..=WITHDRAWALS_MAX).take_while(submits).count()
    }

    #[test]
    fn so_many_wait_for_a_pass_whatever_is_queued() {
        let (mut registry, channel) = with_queued(0);
        for _ in 0..2 {
            assert_eq!(submitted(&mut registry, channel), WITHDRAWALS_MAX);
            registry.take_withdrawals();
        }
    }

    #[test]
    fn fewer_wait_where_more_is_to_be_looked_at() {
        let queued = 1000;
        let (mut registry, channel) = with_queued(queued);
        let fitting = usize::try_from(LOOKS_MAX)
            .expect("a million")
            .div_ceil(queued);
        assert_eq!(submitted(&mut registry, channel), fitting);
        registry.take_withdrawals();
        assert_eq!(submitted(&mut registry, channel), fitting);
    }

    #[test]
    fn what_cannot_be_there_is_not_looked_for() {
        let (mut registry, channel) = with_queued(1);
        registry.open_group(2, 0);
        let others = registry.begin_withdrawal(channel, 2);
        assert_eq!(others, Withdrawal::InVain);
        let unknown = Channel::new(channel.number(), channel.generation() + 1);
        let gone = registry.begin_withdrawal(unknown, GROUP);
        assert_eq!(gone, Withdrawal::InVain);
        assert_eq!(submitted(&mut registry, channel), WITHDRAWALS_MAX);
    }
}
