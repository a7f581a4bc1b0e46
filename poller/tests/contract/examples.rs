//! The examples run to their end.

#[path = "../../examples/foreign_sources.rs"]
mod foreign_sources;

#[test]
fn foreign_sources_are_all_heard() -> std::io::Result<()> {
    foreign_sources::main()
}
