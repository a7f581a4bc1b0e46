//! What it costs to hash files, as `ampe send` does: long ones in pieces, short ones whole. One thread; of
//! seven rounds the best, as others use the machine as well.

use std::hint::black_box;
use std::time::Instant;

use sha2::{Digest, Sha256};

/// A piece of a file as it travels.
const PIECE: usize = 61_440;
const SHORT: usize = 1_000;
const ROUNDS: usize = 7;

/// Seconds of the best round for `count` times that.
fn best(count: usize, mut work: impl FnMut()) -> f64 {
    let round = |_| {
        let start = Instant::now();
        (0..count).for_each(|_| work());
        start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

fn main() {
    let content: Vec<u8> = (0..PIECE).map(|at| (at * 31) as u8).collect();
    let (pieces, files) = (2_000, 50_000);
    let (mut sha, mut blake) = (Sha256::new(), blake3::Hasher::new());
    let long = [
        best(pieces, || sha.update(black_box(&content))),
        best(pieces, || {
            blake.update(black_box(&content));
        }),
    ];
    let short = [
        best(files, || {
            black_box(Sha256::digest(black_box(&content[..SHORT])));
        }),
        best(files, || {
            black_box(blake3::hash(black_box(&content[..SHORT])));
        }),
    ];
    let speed = |seconds: f64| (pieces * PIECE) as f64 / seconds / 1e9;
    let each = |seconds: f64| seconds / files as f64 * 1e6;
    println!("| | SHA-256 | BLAKE3 |\n|---|---|---|");
    println!(
        "| pieces of {PIECE} bytes, GB/s | {:.2} | {:.2} |",
        speed(long[0]),
        speed(long[1])
    );
    println!(
        "| a file of {SHORT} bytes, us | {:.2} | {:.2} |",
        each(short[0]),
        each(short[1])
    );
}
