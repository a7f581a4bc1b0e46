//! One engine of a simulation: the reactor over its simulated world, and when it makes its next pass.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::between::wake::Wake;
use crate::driver::{Driver, LIMITS};
use crate::error::Ended;
use crate::handles::{Reads, Shared, Submission};
use crate::options::Options;

use super::super::flag::Flag;
use super::super::net::SharedNet;
use super::super::outside::Outside;
use super::super::rng::Rng;

pub(super) struct Node {
    pub(super) shared: Arc<Shared>,
    /// `None` once the engine has ended.
    driver: Option<Driver<Outside>>,
    was_woken: Arc<AtomicBool>,
    /// When it gets its turn, once there is something to do.
    runs_at: Option<Instant>,
    /// Until when it does nothing, whatever there is to do.
    paused_until: Option<Instant>,
    rng: Rng,
    slow_micros: usize,
}

impl Node {
    pub(super) fn new(options: Options, net: &SharedNet, mut rng: Rng) -> Self {
        let was_woken = Arc::new(AtomicBool::new(true));
        let wake = |_: &_| Box::new(Flag(Arc::clone(&was_woken))) as Box<dyn Wake>;
        let shared = Shared::new(options, wake);
        let world = Outside::new(net, rng.fork());
        Node {
            driver: Some(Driver::new(world, Arc::clone(&shared), LIMITS)),
            shared,
            was_woken,
            runs_at: None,
            paused_until: None,
            rng,
            slow_micros: net.borrow().temper.slow_micros,
        }
    }

    /// Brings answers of the resolver, and sees whether there is something to do.
    pub(super) fn tick(&mut self, now: Instant) {
        self.answer_questions(now);
        if !self.has_work(now) {
            self.runs_at = None;
        } else if self.runs_at.is_none() {
            let delay = self.rng.between(0, self.slow_micros) as u64;
            self.runs_at = Some(now + Duration::from_micros(delay));
        }
    }

    /// When it makes a pass if nothing else happens; not after `now` if it makes one now.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let driver = self.driver.as_ref()?;
        let questions = driver.sockets.world.questions.iter();
        let idle = questions.map(|&(at, ..)| at).chain(driver.until).min();
        let next = self.runs_at.or(idle)?;
        Some(self.paused_until.map_or(next, |until| next.max(until)))
    }

    pub(super) fn is_ready(&self, now: Instant) -> bool {
        let is_paused = self.paused_until.is_some_and(|until| until > now);
        !is_paused && self.runs_at.is_some_and(|at| at <= now)
    }

    fn has_work(&self, now: Instant) -> bool {
        let Some(driver) = &self.driver else {
            return false;
        };
        let is_due = driver.until.is_some_and(|until| until <= now);
        is_due || self.was_woken.load(Ordering::Relaxed) || driver.sockets.world.is_ready()
    }

    /// One pass of the reactor, from one wait to the next. Returns the engine if that was the last one.
    /// Tasks that it woke are still to be told.
    pub(super) fn pass(&mut self) -> Option<Ending> {
        self.runs_at = None;
        self.was_woken.store(false, Ordering::Relaxed);
        let driver = self.driver.as_mut()?;
        driver.wait(None).expect("this wait never fails");
        let is_over = driver.work(Reads::Yes);
        driver.sockets.world.links.clear();
        is_over.then(|| self.end(Ended::EngineStopped)).flatten()
    }

    pub(super) fn pause(&mut self, until: Instant) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// What is left to do at its end, if it has not ended before.
    pub(super) fn end(&mut self, why: Ended) -> Option<Ending> {
        self.driver.take().map(|driver| Ending(driver, why))
    }

    fn answer_questions(&mut self, now: Instant) {
        let Some(driver) = &mut self.driver else {
            return;
        };
        let questions = &mut driver.sockets.world.questions;
        for (_, key, _, port) in questions.extract_if(.., |&mut (at, ..)| at <= now) {
            let addresses = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
            // Refused if it has ended: then nobody wants to know.
            let _ = self
                .shared
                .queue
                .submit(|_, items| items.push(Submission::Resolved { key, addresses }));
        }
    }
}

/// The end of an engine, which comes about when this is dropped: tasks are told, and its sockets are closed as the
/// system does it.
pub(super) struct Ending(Driver<Outside>, Ended);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(self.1);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.end(Ended::EngineFailed));
    }
}
