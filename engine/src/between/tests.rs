//! What threads share, in one thread; `tests/loom.rs` has them meet.

#[path = "mailbox/tests.rs"]
mod mailbox;
#[path = "queue/tests.rs"]
mod queue;
#[path = "registry/tests.rs"]
mod registry;
#[path = "registry/model.rs"]
mod registry_model;
#[path = "registry/numbers_tests.rs"]
mod registry_numbers;
#[path = "registry/reserve_tests.rs"]
mod registry_reserve;
#[path = "registry/room_tests.rs"]
mod registry_room;
#[path = "registry/run_tests.rs"]
mod registry_run;
#[path = "registry/model_steps.rs"]
mod registry_steps;
#[path = "waiting_tests.rs"]
mod waiting;
