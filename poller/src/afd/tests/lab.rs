//! A port on a simulated kernel, whatever can happen to it, and the oracles that watch.

mod oracles;
mod possible;
mod weakness;

use std::sync::Arc;
use std::time::Duration;

pub(super) use self::weakness::{BELIEVED, WEAK, Weakness};
use super::super::defects::Defects;
use super::super::poll_file::OPERATION_KEY;
use super::super::port::{PollingMode, Port};
use super::canaries::LIKENESS;
use crate::nt::sim::{Kernel, Sim, Socket, Violation};
use crate::nt::{Handle, Status};
use crate::sys::Backend;
use crate::waker::Signal;
use crate::{Events, Interest, Key, Poller};

/// The key of somebody else's packets.
const FOREIGN_KEY: usize = 2;

/// What has found a defect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Oracle {
    /// The kernel's own rules.
    Kernel(Violation),
    /// One of the assertions that production has too.
    Assertion(String),
    /// An event for a source that is gone, or that is not about its socket.
    Misrouted,
    /// Readiness that was not wanted.
    Unwanted,
    /// A poll for something that was not wanted.
    PollsUnwanted,
    /// A poll for a source whose failure was reported, without a new declaration.
    PollsParked,
    /// Something is ready and wanted, and is not reported.
    Lost,
    LostWake,
    /// A wake that nobody has sent.
    UnsentWake,
    /// Something is reported again and again that is not so.
    Phantom,
    /// A wait with nothing to do makes calls.
    Restless,
    /// Polls that end in vain are begun again without end.
    Spins,
    /// A wait sleeps although there is something to report.
    Oversleeps,
    /// A handle is open at the end that nobody has.
    LeaksHandles,
    /// Operations were left behind although they could be ended.
    LeftBehind,
    /// At rest the kernel polls for more sources than there are.
    StaysClosing,
}

/// One thing that may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act {
    /// A new socket is registered, or the one that was taken back.
    Insert(u8),
    Declare(u8, Interest),
    /// From here on, these flags of AFD's are true of a socket.
    Become(u8, u16),
    /// The source is taken back.
    Remove(u8),
    Close(u8),
    /// What was taken back is closed.
    Discard(u8),
    /// There is a second handle for the socket in this process.
    Duplicate(u8),
    CloseDuplicate(u8),
    /// The second handle is registered, in a place that is free.
    InsertDuplicate(u8),
    /// Another process has a handle, too.
    Share(u8),
    /// Somebody there polls it, and gets what the poll in flight waits for.
    Steal(u8),
    /// The time of all polls is over that have a limit.
    Expire,
    /// Packets of operations that have ended are queued, one by one.
    Deliver(u8),
    CancelUnasked(u8),
    /// The poll of a socket ends with an error.
    Fail(u8),
    /// The poll of a socket ends as a success, and with nothing; or as if its time was over.
    EndInVain(u8),
    TimeOut(u8),
    Wake,
    WakeRefused,
    /// A packet of somebody else's: nothing like ours.
    Foreign,
    /// One that has the address of a slot in flight, and the number before its operation's.
    ForeignStale,
    /// One that an operation had which has ended.
    ForeignAgain,
    /// One that has what an operation in flight has, and another key.
    ForeignKey,
    Wait(Choice),
    /// The application takes the events of the last wait.
    Take,
}

/// What the kernel does in a wait, where it has a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Choice {
    Plain,
    /// It gives out one packet only.
    OnePacket,
    /// It refuses the first poll.
    Refuse,
    /// It says of cancels that come too late that they have succeeded.
    LateCancel,
    /// It opens no helper.
    NoHelper,
    /// There is time: what has ended is told if nothing else is.
    Sleep,
}

/// How large a lab is and what may happen in it.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) sources: u8,
    pub(super) mode: PollingMode,
    pub(super) writes_early: bool,
    /// The sets of flags that a socket may take on.
    pub(super) flags: &'static [u16],
    pub(super) interests: &'static [Interest],
    /// With fewer operations in flight than this another source may be inserted.
    pub(super) operations_max: usize,
    /// Further handles for a socket, here and in another process.
    pub(super) has_duplicates: bool,
    /// Refused polls, polls that fail, and cancels that nobody asked for.
    pub(super) has_failures: bool,
    pub(super) has_wakes: bool,
    pub(super) has_foreign: bool,
    /// Waits that have time.
    pub(super) has_sleeps: bool,
    /// What the kernel does where nobody has promised what Windows does.
    pub(super) kernel: Weakness,
}

enum Holding {
    Nothing,
    Registered {
        key: Key,
        handle: Handle,
        wanted: Interest,
    },
    TakenBack(Socket),
}

struct Place {
    holding: Holding,
    duplicate: Option<Socket>,
    is_shared: bool,
    flags: u16,
    /// A failure was reported since the last declaration.
    has_failed: bool,
    /// What was reported since this was emptied last.
    reported: Interest,
}

/// Everything that one run consists of.
pub(super) struct Lab<D: Defects> {
    setup: Setup,
    pub(super) kernel: Arc<Kernel>,
    poller: Option<Poller<Socket, (), Port<Sim, D>>>,
    signal: Option<Arc<dyn Signal>>,
    events: Events,
    places: Vec<Place>,
    /// A wake was sent and not yet reported.
    is_wake_due: bool,
    /// The context of some operation, from a while ago.
    old_context: Option<usize>,
}

impl<D: Defects> Lab<D> {
    pub(super) fn new(setup: &Setup) -> Self {
        let kernel = Arc::<Kernel>::default();
        {
            let mut state = kernel.state();
            state.mood.is_slow = true;
            state.mood.mixes_up = true;
            // One that does both could end what is over and whose packet is still to come.
            state.mood.writes_early = setup.writes_early && !setup.kernel.queues_answers;
            state.mood.is_direct_only = setup.mode == PollingMode::Direct;
            setup.kernel.choose(&mut state.mood);
        }
        let port = Port::with_mode(Sim::new(&kernel), setup.mode).unwrap();
        let signal = port.signal();
        let places = (0..setup.sources).map(|_| Place {
            holding: Holding::Nothing,
            duplicate: None,
            is_shared: false,
            flags: 0,
            has_failed: false,
            reported: Interest::NONE,
        });
        Lab {
            setup: setup.clone(),
            poller: Some(Poller::over(port)),
            signal: Some(signal),
            events: Events::with_capacity(64),
            places: places.collect(),
            is_wake_due: false,
            old_context: None,
            kernel,
        }
    }

    fn poller(&mut self) -> &mut Poller<Socket, (), Port<Sim, D>> {
        self.poller.as_mut().unwrap()
    }

    /// Has it happen. What the oracles say of it.
    pub(super) fn act(&mut self, action: Act) -> Result<(), Oracle> {
        match action {
            Act::Insert(at) => self.insert(at),
            Act::Declare(at, interest) => self.declare(at, interest),
            Act::Become(at, flags) => {
                if let Some(handle) = self.handle(at) {
                    self.kernel.set_events(handle, u32::from(flags));
                    self.look_at_sockets();
                }
            }
            Act::Remove(at) => {
                if let Some(key) = self.forget(at) {
                    let socket = self.poller().remove(key).unwrap();
                    self.places[at as usize].holding = Holding::TakenBack(socket);
                }
            }
            Act::Close(at) => {
                if let Some(key) = self.forget(at) {
                    assert!(self.poller().close(key));
                    self.look_at_sockets();
                }
            }
            Act::Discard(at) => {
                self.places[at as usize].holding = Holding::Nothing;
                self.look_at_sockets();
            }
            Act::Duplicate(at) => {
                let Some(key) = self.key(at) else {
                    return Ok(());
                };
                let duplicate = self.poller().get(key).unwrap().duplicate();
                self.places[at as usize].duplicate = Some(duplicate);
            }
            Act::CloseDuplicate(at) => self.places[at as usize].duplicate = None,
            Act::InsertDuplicate(at) => {
                let place = self.vacant(at);
                let duplicate = self.places[at as usize].duplicate.take();
                if let (Some(to), Some(socket)) = (place, duplicate) {
                    self.places[to as usize].holding = Holding::TakenBack(socket);
                    self.look_at_sockets();
                    self.insert(to);
                }
            }
            Act::Steal(at) => {
                if let Some(handle) = self.handle(at) {
                    self.kernel.steal(handle);
                }
            }
            Act::Expire => self.kernel.expire(),
            Act::Share(at) => {
                if let Some(handle) = self.handle(at) {
                    self.kernel.share(handle, true);
                    self.places[at as usize].is_shared = true;
                }
            }
            Act::Wait(choice) => self.wait(choice)?,
            Act::Take => self.take()?,
            other => self.act_elsewhere(other),
        }
        let (port, _) = self.poller.as_ref().unwrap().parts();
        // Memory that was freed is not remembered: it may be another's now. Nor are the numbers that
        // will be used again: the seven bits of a number tell the last 127 operations from this one.
        self.old_context = self.old_context.filter(|context| port.is_recent(*context));
        self.check_kernel()
    }

    /// What happens without the application's doing.
    fn act_elsewhere(&mut self, action: Act) {
        match action {
            Act::Deliver(at) => self.kernel.deliver(usize::from(at)),
            Act::CancelUnasked(at) => {
                if let Some(handle) = self.handle(at) {
                    self.kernel.cancel_unasked(handle);
                }
            }
            Act::Fail(at) => {
                if let Some(handle) = self.handle(at) {
                    self.kernel
                        .end_polls(handle, Status::INSUFFICIENT_RESOURCES);
                }
            }
            Act::EndInVain(at) => {
                if let Some(handle) = self.handle(at) {
                    self.kernel.end_polls(handle, Status::SUCCESS);
                }
            }
            Act::TimeOut(at) => {
                if let Some(handle) = self.handle(at) {
                    self.kernel.end_polls(handle, Status::TIMEOUT);
                }
            }
            Act::Wake => {
                LIKENESS.set(self.kernel.any_context().unwrap_or(0));
                self.signal.as_ref().unwrap().send().unwrap();
                self.is_wake_due = true;
            }
            Act::WakeRefused => {
                self.kernel.state().mood.refuses_post = Some(Status::INSUFFICIENT_RESOURCES);
                assert!(self.signal.as_ref().unwrap().send().is_err() || D::LOSES_WAKES);
                self.kernel.state().mood.refuses_post = None;
            }
            Act::Foreign => {
                let number = self.kernel.any_context().map_or(0, |context| context % 128);
                let nowhere = usize::MAX / 256 * 128;
                self.kernel.post_foreign(OPERATION_KEY, nowhere + number);
            }
            Act::ForeignStale => {
                if let Some(context) = self.kernel.any_context() {
                    let before = (context % 128 + 127) % 128;
                    self.kernel
                        .post_foreign(OPERATION_KEY, context / 128 * 128 + before);
                }
            }
            Act::ForeignAgain => {
                if let Some(context) = self.old_context {
                    self.kernel.post_foreign(OPERATION_KEY, context);
                }
            }
            Act::ForeignKey => {
                if let Some(context) = self.kernel.any_context() {
                    self.kernel.post_foreign(FOREIGN_KEY, context);
                }
            }
            _ => {}
        }
    }

    /// Whether the operation has ended whose context is remembered.
    fn is_over(&self) -> bool {
        let is_over = |context| !self.kernel.has_context(context);
        self.old_context.is_some_and(is_over)
    }

    fn foreign_queued(&self) -> usize {
        self.kernel.foreign_queued(OPERATION_KEY) + self.kernel.foreign_queued(FOREIGN_KEY)
    }

    /// A place where a duplicate can be registered: its own, or the first one that has no socket.
    fn vacant(&self, at: u8) -> Option<u8> {
        let is_vacant = |other: &u8| {
            let place = &self.places[usize::from(*other)];
            let is_vacant = matches!(place.holding, Holding::Nothing);
            is_vacant && (*other == at || place.duplicate.is_none())
        };
        let mut places = std::iter::once(at).chain(0..self.places.len() as u8);
        places.find(is_vacant)
    }

    /// How the sockets of all places are: several may have one, or another than a moment ago.
    fn look_at_sockets(&mut self) {
        for at in 0..self.places.len() as u8 {
            if let Some(handle) = self.handle(at) {
                let place = &mut self.places[usize::from(at)];
                place.flags = self.kernel.events(handle) as u16;
                place.is_shared = self.kernel.is_shared(handle);
            }
        }
    }

    fn key(&self, at: u8) -> Option<Key> {
        match &self.places[at as usize].holding {
            Holding::Registered { key, .. } => Some(*key),
            _ => None,
        }
    }

    /// Some handle of the place's socket, registered or not.
    fn handle(&self, at: u8) -> Option<Handle> {
        let place = &self.places[at as usize];
        match &place.holding {
            Holding::Registered { handle, .. } => Some(*handle),
            Holding::TakenBack(socket) => Some(socket.handle()),
            Holding::Nothing => place.duplicate.as_ref().map(Socket::handle),
        }
    }

    fn insert(&mut self, at: u8) {
        let place = &mut self.places[at as usize];
        let socket = match std::mem::replace(&mut place.holding, Holding::Nothing) {
            Holding::Registered { .. } => return,
            Holding::TakenBack(socket) => socket,
            Holding::Nothing => {
                place.flags = 0;
                place.is_shared = false;
                Socket::bare(&self.kernel)
            }
        };
        let handle = socket.handle();
        let key = self.poller().insert(socket).unwrap();
        let place = &mut self.places[at as usize];
        place.has_failed = false;
        place.reported = Interest::NONE;
        place.holding = Holding::Registered {
            key,
            handle,
            wanted: Interest::NONE,
        };
        let object = self.kernel.object(handle);
        let is_its = |other: &u8| {
            let other = self.key(*other).and(self.handle(*other));
            other.and_then(|other| self.kernel.object(other)) == object
        };
        if (0..self.places.len() as u8).filter(is_its).count() == 1 {
            self.kernel.forget_answered(handle);
        }
    }

    fn declare(&mut self, at: u8, interest: Interest) {
        let Some(key) = self.key(at) else { return };
        assert!(self.poller().set_interest(key, interest));
        let place = &mut self.places[at as usize];
        place.has_failed = false;
        if let Holding::Registered { wanted, .. } = &mut place.holding {
            *wanted = interest;
        }
    }

    fn forget(&mut self, at: u8) -> Option<Key> {
        let key = self.key(at)?;
        self.old_context = self.kernel.any_context().or(self.old_context);
        self.places[at as usize].holding = Holding::Nothing;
        Some(key)
    }

    fn wait(&mut self, choice: Choice) -> Result<(), Oracle> {
        self.old_context = self.kernel.any_context().or(self.old_context);
        {
            let mut state = self.kernel.state();
            state.submissions.clear();
            state.last_timeout = Some(Duration::ZERO);
            match choice {
                Choice::Plain | Choice::Sleep => {}
                Choice::OnePacket => state.mood.batch = 1,
                Choice::Refuse => {
                    state.mood.refuses_submit = Some(Status::INSUFFICIENT_RESOURCES);
                }
                Choice::LateCancel => state.mood.cancels_too_late = true,
                // Who may do without.
                Choice::NoHelper => {
                    state.mood.has_no_helpers = self.setup.mode == PollingMode::Auto;
                }
            }
        }
        let poller = self.poller.as_mut().unwrap();
        let had_early = poller.parts().0.has_early();
        match choice {
            Choice::Sleep => poller.wait_once(&mut self.events, Duration::from_secs(3600)),
            _ => poller.wait(&mut self.events, Some(Duration::ZERO)),
        }
        .unwrap();
        if had_early && self.kernel.state().last_timeout != Some(Duration::ZERO) {
            return Err(Oracle::Oversleeps);
        }
        {
            let mut state = self.kernel.state();
            state.mood.batch = usize::MAX;
            state.mood.refuses_submit = None;
            state.mood.cancels_too_late = false;
            state.mood.has_no_helpers = false;
        }
        self.check_kernel()?;
        self.check_submissions()?;
        self.check_wake()?;
        self.check_events()
    }

    /// All that decides what can happen next.
    pub(super) fn digest(&self, bytes: &mut Vec<u8>, with_kernel: bool) {
        for place in &self.places {
            let (kind, wanted) = match &place.holding {
                Holding::Nothing => (0, Interest::NONE),
                Holding::Registered { wanted, .. } => (1, *wanted),
                Holding::TakenBack(_) => (2, Interest::NONE),
            };
            bytes.push(
                kind | u8::from(place.duplicate.is_some()) << 2
                    | u8::from(place.is_shared) << 3
                    | u8::from(place.has_failed) << 4
                    | u8::from(wanted.is_readable()) << 5
                    | u8::from(wanted.is_writable()) << 6,
            );
            bytes.extend(place.flags.to_le_bytes());
        }
        bytes.push(u8::from(self.is_wake_due));
        for event in self.events.iter() {
            let key = event.key();
            let owner = self.places.iter().position(|place| {
                matches!(place.holding, Holding::Registered { key: other, .. } if other == key)
            });
            bytes.push(owner.map_or(0xFE, |at| at as u8));
            bytes.push(key.index as u8);
        }
        bytes.push(0xFF);
        let (port, vacant) = self.poller.as_ref().unwrap().parts();
        bytes.extend(vacant.iter().map(|index| *index as u8));
        bytes.push(0xFF);
        port.digest(bytes);
        let slot = |context| port.place_of(context);
        bytes.extend(self.old_context.map_or([0xFE; 2], slot));
        if with_kernel {
            self.kernel.digest(bytes, &slot);
        }
    }
}
