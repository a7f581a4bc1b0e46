use std::collections::BTreeMap;

use ampe::{Engine, Message, Options};
use ampe_patterns::body::{
    CONTENT_TYPE, JSON, JsonBody, POSTCARD, PostcardBody, ReadError, WriteError,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Order {
    article: String,
    count: u32,
    gift: Option<Box<Order>>,
}

fn order() -> Order {
    Order {
        article: "tea".to_owned(),
        count: 3,
        gift: Some(Box::new(Order {
            article: "café \u{1F375}".to_owned(),
            count: 0,
            gift: None,
        })),
    }
}

fn empty() -> (Engine, Message) {
    let engine = Engine::start(Options::default()).unwrap();
    let message = engine.message();
    (engine, message)
}

#[test]
fn a_value_comes_back_from_either_format() {
    let (engine, message) = empty();
    let json = message.with_body(b"before").unwrap();
    let json = json.with_json(&order()).unwrap();
    assert_eq!(json.text_headers().get_text(CONTENT_TYPE), Some(JSON));
    assert_eq!(json.json::<Order>().unwrap(), order());
    let binary = engine.message().with_postcard(&order()).unwrap();
    assert_eq!(binary.text_headers().get_text(CONTENT_TYPE), Some(POSTCARD));
    assert_eq!(binary.postcard::<Order>().unwrap(), order());
    assert!(binary.body().len() < json.body().len());
    // Borrowed from the body.
    let name = engine.message().with_json("tea").unwrap();
    assert_eq!(name.json::<&str>().unwrap(), "tea");
}

#[test]
fn a_body_of_another_content_type_is_not_read() {
    let (engine, message) = empty();
    let json = message.with_json(&order()).unwrap();
    let error = json.postcard::<Order>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "application/postcard is expected, and the message says that it is \"application/json\""
    );
    let plain = engine.message().with_body(b"{}").unwrap();
    let error = plain.json::<Order>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "application/json is expected, and the message does not say what it is"
    );
    // What others write of the same type.
    let other = engine
        .message()
        .with_header(CONTENT_TYPE, "Application/JSON; charset=utf-8");
    let other = other.unwrap().with_body(b"[1, 2]").unwrap();
    assert_eq!(other.json::<Vec<u8>>().unwrap(), [1, 2]);
    let error = json.with_postcard(&order()).unwrap_err();
    assert!(matches!(error, WriteError::ContentType { .. }), "{error}");
}

#[test]
fn what_does_not_fit_is_told_and_what_just_fits_is_written() {
    let (engine, message) = empty();
    let longest = "x".repeat(65_533); // and two quotation marks
    let message = message.with_json(&longest).unwrap();
    assert_eq!(message.body().len(), 65_535);
    assert_eq!(message.json::<&str>().unwrap(), longest);
    let error = engine.message().with_json(&"x".repeat(65_534)).unwrap_err();
    assert!(matches!(error, WriteError::TooLong), "{error}");

    let longest = vec![7_u8; 65_532]; // and three bytes of its length
    let message = engine.message().with_postcard(&longest).unwrap();
    assert_eq!(message.body().len(), 65_535);
    assert_eq!(message.postcard::<Vec<u8>>().unwrap(), longest);
    let error = engine
        .message()
        .with_postcard(&vec![7_u8; 65_533])
        .unwrap_err();
    assert!(matches!(error, WriteError::TooLong), "{error}");
}

#[test]
fn a_value_without_words_in_the_format_is_told() {
    let (_engine, message) = empty();
    let map = BTreeMap::from([((1, 2), 3)]);
    let error = message.with_json(&map).unwrap_err();
    assert!(
        matches!(error, WriteError::Value { format: JSON, .. }),
        "{error}"
    );
}

/// Each body that a peer may send makes a value or an error, and its end is looked at.
#[test]
fn cut_and_changed_bodies_are_errors_or_values_and_never_more() {
    let (engine, message) = empty();
    let mut rng = crate::common::dice();
    let json = message.with_json(&order()).unwrap();
    let binary = engine.message().with_postcard(&order()).unwrap();
    for len in 0..json.body().len() {
        let cut = json.clone().with_body(&json.body()[..len]).unwrap();
        assert!(matches!(cut.json::<Order>(), Err(ReadError::Syntax { .. })));
    }
    for len in 0..binary.body().len() {
        let cut = binary.clone().with_body(&binary.body()[..len]).unwrap();
        assert!(matches!(
            cut.postcard::<Order>(),
            Err(ReadError::Syntax { .. })
        ));
    }
    let longer = [binary.body(), b"xy"].concat();
    let longer = binary.clone().with_body(&longer).unwrap();
    let error = longer.postcard::<Order>().unwrap_err();
    assert!(matches!(error, ReadError::TooLong { bytes: 2 }), "{error}");
    let longer = [json.body(), b"{}"].concat();
    let longer = json.clone().with_body(&longer).unwrap();
    assert!(longer.json::<Order>().is_err());
    for _ in 0..20_000 {
        let mut changed = if rng.bool() {
            json.clone()
        } else {
            binary.clone()
        };
        let len = changed.body().len();
        for _ in 0..rng.usize(1..4) {
            changed.body_mut()[rng.usize(..len)] = rng.u8(..);
        }
        let _ = (changed.json::<Order>(), changed.postcard::<Order>());
    }
}
