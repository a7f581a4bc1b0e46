//! What the calls do to the simulated kernel.

use std::ptr::NonNull;

use super::{Endpoint, File, Kind, LastClose, Operation, Queued, Stage, State, Violation};
use crate::nt::{
    AfdPollHandleInfo, AfdPollInfo, Handle, IoStatusBlock, Packet, Status, Submission, flag,
    timeout,
};

fn vacancy<T>(places: &mut Vec<Option<T>>) -> u32 {
    let free = places.iter().position(Option::is_none);
    let at = free.unwrap_or(places.len());
    if at == places.len() {
        places.push(None);
    }
    at as u32
}

impl Endpoint {
    /// Notes what a poll has come to.
    pub(super) fn credit(&mut self, events: u32, has_failed: bool) {
        self.answered.flags |= events;
        self.answered.has_failed |= has_failed;
    }
}

impl State {
    pub(super) fn number(&self, handle: Handle) -> Option<u32> {
        let at = (handle.0 / 4).checked_sub(1)?;
        *self.handles.get(at)?
    }

    pub(super) fn file(&mut self, number: u32) -> &mut File {
        self.files[number as usize].as_mut().unwrap()
    }

    pub(super) fn endpoint(&mut self, number: u32) -> Option<&mut Endpoint> {
        match &mut self.files.get_mut(number as usize)?.as_mut()?.kind {
            Kind::Endpoint(endpoint) => Some(endpoint),
            _ => None,
        }
    }

    pub(super) fn create(&mut self, kind: Kind) -> u32 {
        let number = vacancy(&mut self.files);
        self.files[number as usize] = Some(File {
            kind,
            handles: 0,
            is_elsewhere: false,
            port: None,
            skips_packets: false,
            issued: Vec::new(),
            is_told_of: false,
        });
        number
    }

    pub(super) fn open(&mut self, file: u32) -> Handle {
        let at = vacancy(&mut self.handles);
        self.handles[at as usize] = Some(file);
        self.file(file).handles += 1;
        Handle((at as usize + 1) * 4)
    }

    pub(super) fn close(&mut self, handle: Handle) {
        let Some(number) = self.number(handle) else {
            self.violations.push(Violation::ClosesTwice);
            return;
        };
        self.handles[handle.0 / 4 - 1] = None;
        let file = self.file(number);
        file.handles -= 1;
        if file.handles > 0 {
            return;
        }
        let is_elsewhere = file.is_elsewhere;
        let issued = file.issued.clone();
        if let Some(endpoint) = self.endpoint(number) {
            let polls = endpoint.polls.clone();
            for poll in polls {
                if !is_elsewhere {
                    self.close_polled(poll);
                } else if issued.contains(&poll) && !self.mood.leaves_shared {
                    self.complete(poll, Status::CANCELLED, 0);
                }
            }
            if !is_elsewhere {
                self.hang_up(number);
            }
        } else if matches!(self.file(number).kind, Kind::Helper) {
            if issued
                .iter()
                .any(|poll| !self.operations[poll].is_told_to_end)
            {
                self.violations.push(Violation::ClosesInFlight);
            }
            if self.mood.ends_with_helper {
                for poll in issued {
                    self.complete(poll, Status::CANCELLED, 0);
                }
            }
        } else if matches!(self.file(number).kind, Kind::Port(_)) {
            if !self.lent.is_empty() {
                self.violations.push(Violation::LeavesOperations);
            }
            self.file(number).kind = Kind::Other;
        }
        self.forget_file(number);
    }

    /// The last handle of a poll's socket is closed.
    fn close_polled(&mut self, poll: u32) {
        match self.mood.last_close {
            LastClose::Tells => {
                self.counts.local_closes += 1;
                self.complete(poll, Status::SUCCESS, flag::LOCAL_CLOSE);
            }
            LastClose::Cancels => self.complete(poll, Status::CANCELLED, 0),
            LastClose::Leaves => {}
        }
    }

    /// Forgets a file that nothing names any more.
    pub(super) fn forget_file(&mut self, number: u32) {
        let file = self.file(number);
        let is_polled = match &file.kind {
            Kind::Endpoint(endpoint) => !endpoint.polls.is_empty() || endpoint.connection.is_kept(),
            _ => false,
        };
        if file.handles == 0 && !file.is_elsewhere && file.issued.is_empty() && !is_polled {
            self.files[number as usize] = None;
        }
    }

    /// Ends an operation, unless it has ended already.
    pub(super) fn complete(&mut self, number: u32, status: Status, events: u32) {
        let mood_is_slow = self.mood.is_slow;
        let writes_early = self.mood.writes_early;
        let Some(operation) = self.operations.get_mut(&number) else {
            return;
        };
        if operation.stage != Stage::Pending {
            return;
        }
        operation.stage = Stage::InTransit(status, events);
        if writes_early {
            self.write(number);
        }
        if !mood_is_slow {
            self.queue(number);
        }
    }

    /// Queues the packet of an operation that has ended.
    pub(super) fn queue(&mut self, number: u32) {
        let Some(operation) = self.operations.get_mut(&number) else {
            return;
        };
        let Stage::InTransit(status, events) = operation.stage else {
            return;
        };
        operation.stage = Stage::Queued(status, events);
        let (control, context) = (operation.control, operation.context);
        let Some((port, key)) = self.file(control).port else {
            return;
        };
        let packet = Queued {
            key: key + usize::from(self.mood.changes_keys),
            context,
            status,
            information: if status.is_error() { 0 } else { 32 },
            operation: Some(number),
        };
        if let Some(Kind::Port(queue)) = self.files[port as usize]
            .as_mut()
            .map(|file| &mut file.kind)
        {
            queue.push_back(packet);
        }
    }

    /// Queues the packets of all operations that have ended. Whether there was one.
    pub(super) fn queue_all(&mut self) -> bool {
        let numbers = self.operations.keys().copied();
        let ended: Vec<u32> = numbers
            .filter(|number| self.is_in_transit(*number))
            .collect();
        for number in &ended {
            self.queue(*number);
        }
        !ended.is_empty()
    }

    pub(super) fn is_in_transit(&self, number: u32) -> bool {
        let operation = self.operations.get(&number);
        operation.is_some_and(|operation| matches!(operation.stage, Stage::InTransit(..)))
    }

    /// Writes the outcome of an operation to where it was told to.
    pub(super) fn write(&mut self, number: u32) {
        let Some(operation) = self.operations.get_mut(&number) else {
            return;
        };
        let (Stage::InTransit(status, events) | Stage::Queued(status, events)) = operation.stage
        else {
            return;
        };
        if std::mem::replace(&mut operation.is_written, true) {
            return;
        }
        let (block, info, handle) = (operation.status, operation.info, operation.handle);
        self.write_outcome(block, info, handle, status, events);
    }

    pub(super) fn write_outcome(
        &mut self,
        block: NonNull<IoStatusBlock>,
        info: NonNull<AfdPollInfo>,
        handle: Handle,
        status: Status,
        events: u32,
    ) {
        let is_held = self.is_held(block.as_ptr() as usize, size_of::<IoStatusBlock>())
            && self.is_held(info.as_ptr() as usize, size_of::<AfdPollInfo>());
        if !is_held {
            self.violations.push(Violation::WritesToFreed);
            if !self.mood.corrupts {
                return;
            }
        }
        let information = if status.is_error() { 0 } else { 32 };
        let further_flags = self.mood.further_flags;
        // SAFETY: the submitter has promised both until its packet was dequeued, which it was not;
        // and the range was checked, unless a memory checker is to find out.
        unsafe {
            block.write(IoStatusBlock::new(status, information));
            if !status.is_error() {
                let mut answer = info.read();
                answer.number_of_handles = u32::from(events != 0);
                // What is not ready is not listed, and then the rest is what was asked.
                if events != 0 {
                    answer.handles = [AfdPollHandleInfo {
                        handle,
                        events: events | further_flags,
                        status: Status::SUCCESS,
                    }];
                }
                info.write(answer);
            }
        }
    }

    /// Whether a range is memory of a slot that is taken, where that is known.
    #[cfg(test)]
    fn is_held(&self, address: usize, length: usize) -> bool {
        let held = self.held.as_ref();
        held.is_none_or(|held| held.covers(address, length))
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "as in tests, where it is known")]
    fn is_held(&self, _address: usize, _length: usize) -> bool {
        true
    }

    /// Makes flags of a socket true or false, and ends the polls that have waited for it.
    pub(super) fn set_events(&mut self, number: u32, events: u32) {
        let Some(endpoint) = self.endpoint(number) else {
            return;
        };
        endpoint.events = events;
        if events == 0 || endpoint.polls.is_empty() {
            return;
        }
        let polls = self.pending(number);
        let found = |state: &State, poll: &u32| state.operations[poll].mask & events;
        if self.mood.mixes_up && polls.len() > 1 {
            let meant: Vec<u32> = polls
                .iter()
                .copied()
                .filter(|poll| found(self, poll) != 0)
                .collect();
            let other = polls
                .iter()
                .copied()
                .find(|poll| Some(poll) != meant.first());
            if let (Some(first), Some(other)) = (meant.first(), other) {
                let flags = found(self, first);
                for poll in meant.iter().filter(|poll| **poll != other) {
                    if let Some(poll) = self.operations.get_mut(poll) {
                        poll.is_stuck = true;
                    }
                }
                self.complete(other, Status::SUCCESS, flags);
            }
            return;
        }
        for poll in polls {
            let flags = match self.operations[&poll].is_stuck {
                true => 0,
                false => found(self, &poll),
            };
            if flags != 0 {
                self.complete(poll, Status::SUCCESS, flags);
            }
        }
    }

    /// The polls of a socket that have not ended.
    pub(super) fn pending(&mut self, number: u32) -> Vec<u32> {
        let polls = self.endpoint(number).map(|endpoint| endpoint.polls.clone());
        let mut polls = polls.unwrap_or_default();
        polls.retain(|poll| self.operations[poll].stage == Stage::Pending);
        polls
    }

    /// The polls with a time limit that have not ended.
    pub(super) fn bounded(&self) -> Vec<u32> {
        let is_bounded =
            |operation: &Operation| operation.stage == Stage::Pending && !operation.is_endless;
        let operations = self.operations.iter();
        let bounded = operations.filter(|(_, operation)| is_bounded(operation));
        bounded.map(|(number, _)| *number).collect()
    }

    /// Time passes. Whether there was a poll whose time is over.
    pub(super) fn expire(&mut self) -> bool {
        let bounded = self.bounded();
        for number in &bounded {
            self.complete(*number, Status::TIMEOUT, 0);
        }
        !bounded.is_empty()
    }

    pub(super) fn submit(&mut self, submission: Submission) -> Status {
        // SAFETY: the submitter promises both.
        let question = unsafe { submission.info.read() };
        let [asked] = question.handles;
        if !self.mood.sleeps {
            self.submissions.push((asked.handle, asked.events));
        }
        let (Some(control), Some(target)) =
            (self.number(submission.control), self.number(asked.handle))
        else {
            return Status::INVALID_HANDLE;
        };
        let refusal = self.mood.refuses_submit.take();
        let tells_changes_only = self.mood.tells_changes_only;
        let Some(endpoint) = self.endpoint(target) else {
            return Status::INVALID_PARAMETER;
        };
        if let Some(refusal) = refusal {
            endpoint.credit(0, true);
            return refusal;
        }
        let found = match tells_changes_only {
            true => 0,
            false => endpoint.events & asked.events,
        };
        let status_block = submission.status.as_ptr() as usize;
        self.counts.submitted += 1;
        self.check_question(&question, control, target);
        if self.mood.answers_nothing {
            let (block, info) = (submission.status, submission.info);
            self.write_outcome(block, info, asked.handle, Status::SUCCESS, 0);
            return Status::SUCCESS;
        }
        if found != 0 && self.file(control).skips_packets {
            self.answer_at_once(&submission, asked.handle, control, found);
            return Status::SUCCESS;
        }
        if !self.lent.insert(status_block) {
            self.violations.push(Violation::SubmitsTwice);
        }
        if self.file(control).port.is_none() {
            self.violations.push(Violation::PollsWithoutPort);
        }
        let number = self.next_operation;
        self.next_operation += 1;
        let operation = Operation {
            control,
            target,
            context: submission.context,
            status: submission.status,
            info: submission.info,
            mask: asked.events,
            handle: asked.handle,
            stage: Stage::Pending,
            is_written: false,
            is_endless: question.timeout == timeout::ENDLESS,
            is_stuck: false,
            is_told_to_end: false,
        };
        self.operations.insert(number, operation);
        self.file(control).issued.push(number);
        if let Some(endpoint) = self.endpoint(target) {
            endpoint.polls.push(number);
        }
        if found != 0 {
            self.complete(number, Status::SUCCESS, found);
            return Status::SUCCESS;
        }
        self.end_in_vain(number);
        Status::PENDING
    }

    /// Ends a poll that has just begun, if that is the mood.
    fn end_in_vain(&mut self, number: u32) {
        let is_endless = self.operations[&number].is_endless;
        // The time of those that have a limit is not over yet.
        let is_due = |status: &Status| *status != Status::TIMEOUT || is_endless;
        if let Some(status) = self.mood.ends_in_vain.filter(is_due) {
            self.complete(number, status, 0);
        }
    }

    /// Answers a poll of what is ready.
    fn answer_at_once(&mut self, asked: &Submission, handle: Handle, control: u32, found: u32) {
        self.counts.answered_at_once += 1;
        if let Some(target) = self.number(handle)
            && let Some(endpoint) = self.endpoint(target)
        {
            endpoint.credit(found, false);
        }
        self.write_outcome(asked.status, asked.info, handle, Status::SUCCESS, found);
        if self.mood.queues_answers {
            self.queue_answer(control, asked.context);
        }
    }

    /// Queues a packet for what was answered at once.
    fn queue_answer(&mut self, control: u32, context: usize) {
        let Some((port, key)) = self.file(control).port else {
            return;
        };
        if let Kind::Port(queue) = &mut self.file(port).kind {
            queue.push_back(Queued {
                key,
                context,
                status: Status::SUCCESS,
                information: 32,
                operation: None,
            });
        }
    }

    fn check_question(&mut self, question: &AfdPollInfo, control: u32, target: u32) {
        let [asked] = question.handles;
        if asked.events == 0 {
            self.violations.push(Violation::PollsForNothing);
        }
        let is_plain = [timeout::ENDLESS, timeout::BOUNDED].contains(&question.timeout)
            && question.number_of_handles == 1
            && question.exclusive == 0
            && asked.status == Status::SUCCESS;
        if !is_plain {
            self.violations.push(Violation::AsksWrongly);
        }
        let port = self.file(control).port;
        let is_endless = question.timeout == timeout::ENDLESS;
        for poll in self.pending(target) {
            let (control, is_told_to_end) = {
                let poll = &self.operations[&poll];
                (poll.control, poll.is_told_to_end)
            };
            if self.file(control).port == port && (is_endless || !is_told_to_end) {
                self.violations.push(Violation::PollsTwice);
            }
        }
    }

    pub(super) fn cancel(&mut self, control: Handle, status: NonNull<IoStatusBlock>) -> Status {
        let Some(control) = self.number(control) else {
            return Status::INVALID_HANDLE;
        };
        let is_its = |number: &u32| {
            let operation = self.operations.get(number);
            operation.is_some_and(|operation| operation.status == status)
        };
        let found = self.files[control as usize].as_ref();
        let found = found.and_then(|file| file.issued.iter().copied().find(is_its));
        let stage = found.and_then(|number| self.operations.get_mut(&number));
        let stage = stage.map(|operation| {
            operation.is_told_to_end = true;
            operation.stage
        });
        let answer = match (found, stage) {
            (Some(number), Some(Stage::Pending)) => {
                self.counts.cancelled += 1;
                if !self.mood.ignores_cancels {
                    self.complete(number, Status::CANCELLED, 0);
                }
                Status::SUCCESS
            }
            (Some(_), Some(Stage::InTransit(..))) if self.mood.cancels_too_late => {
                self.counts.cancels_too_late += 1;
                Status::SUCCESS
            }
            _ => {
                self.counts.cancels_not_found += 1;
                Status::NOT_FOUND
            }
        };
        self.mood.cancel_answers.unwrap_or(answer)
    }

    pub(super) fn take_packets(&mut self, port: u32, packets: &mut [Packet]) -> usize {
        let room = packets.len().min(self.mood.batch);
        let mut count = 0;
        let takes_last = self.mood.takes_last;
        while count < room {
            let Kind::Port(queue) = &mut self.file(port).kind else {
                break;
            };
            let queued = match takes_last {
                true => queue.pop_back(),
                false => queue.pop_front(),
            };
            let Some(queued) = queued else {
                break;
            };
            packets[count] = Packet {
                key: queued.key,
                context: queued.context,
                status: IoStatusBlock::new(queued.status, queued.information),
            };
            if let Some(number) = queued.operation {
                self.end_operation(number);
            }
            count += 1;
            self.counts.packets += 1;
        }
        count
    }

    /// The packet of an operation is dequeued.
    pub(super) fn end_operation(&mut self, number: u32) {
        self.write(number);
        let Some(operation) = self.operations.remove(&number) else {
            return;
        };
        self.lent.remove(&(operation.status.as_ptr() as usize));
        let (control, target) = (operation.control, operation.target);
        self.file(control).issued.retain(|other| *other != number);
        if let Stage::Queued(status, events) = operation.stage
            && let Some(endpoint) = self.endpoint(target)
        {
            endpoint.polls.retain(|other| *other != number);
            // What has ended in vain may be taken for a failure if it does so again and again.
            let is_timeout = status == Status::TIMEOUT && !operation.is_endless;
            let is_in_vain = events == 0 && !operation.is_told_to_end && !is_timeout;
            let has_failed = status.is_error() && status != Status::CANCELLED || is_in_vain;
            endpoint.credit(events, has_failed);
        }
        self.forget_file(target);
        if control != target {
            self.forget_file(control);
        }
    }
}
