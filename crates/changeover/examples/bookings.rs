//! The smallest service: it reads and writes through a migration, and the comparison finds where the new side differs.
#![allow(clippy::print_stdout, reason = "an example that prints what it found")]
use std::time::Duration;

use changeover::{Migration, Phase, Refused, Side};

/// Stands for the service's own code: one query for each side, in whatever way it makes them.
async fn state_of(side: Side, id: i64) -> Result<String, Refused> {
    Ok(if side == Side::New && id == 42 { "CANCELLED".to_owned() } else { "cancelled".to_owned() })
}

async fn cancel(side: Side, id: i64) -> Result<(), Refused> {
    println!("booking {id}: cancelled on the {side} side");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Refused> {
    // Where the fleet's control plane decides, `Migration::builder(…).register(…)` takes the place of this line.
    let migration = Migration::standalone("bookings", Phase::Shadow);

    for id in [41_i64, 42, 43] {
        // The closure runs once, on the authority.
        migration.write("booking.cancel", ("bookings", id)).run(move |side| cancel(side, id)).await?;
        // The caller gets the authority's answer at once; the other side is asked beside it, and compared.
        let read = migration.read("booking.state", ("bookings", id)).input(&id);
        println!("booking {id}: {}", read.run(move |side| state_of(side, id)).await?);
    }

    while migration.evidence().shadow_calls_running > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for found in migration.evidence().samples {
        let (operation, input) = (found.operation, found.input.unwrap_or_default());
        println!("{operation} of {input} differs: old says {}, new says {}", found.old, found.new);
    }
    Ok(())
}
