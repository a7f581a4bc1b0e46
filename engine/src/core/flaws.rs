//! Defects that tests plant into the core, to see that the simulator notices each of them.

/// Whether a test has planted this defect. Outside tests it never is, and the line that asks is
/// compiled as if it did not.
#[cfg(not(test))]
pub(super) const fn planted(_defect: &str) -> bool {
    false
}

#[cfg(test)]
pub(super) use testing::planted;

#[cfg(test)]
pub(crate) use testing::plant;

#[cfg(test)]
mod testing {
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<&'static str> = const { Cell::new("") };
    }

    pub(in crate::core) fn planted(defect: &str) -> bool {
        PLANTED.with(|planted| planted.get() == defect)
    }

    /// Keeps a defect planted in this thread until it is dropped.
    pub(crate) struct Plant(());

    pub(crate) fn plant(defect: &'static str) -> Plant {
        assert!(!defect.is_empty(), "a defect has a name");
        PLANTED.with(|planted| planted.set(defect));
        Plant(())
    }

    impl Drop for Plant {
        fn drop(&mut self) {
            PLANTED.with(|planted| planted.set(""));
        }
    }
}
