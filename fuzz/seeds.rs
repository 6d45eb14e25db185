//! Writes `corpus/TARGET/` from files of testdata: `cargo run --bin seeds`.

#[path = "bodies.rs"]
mod bodies;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR"));
    for body in bodies::BODIES {
        let corpus = fuzz.join("corpus").join(body.name);
        std::fs::create_dir_all(&corpus)?;
        for seed in body.seeds {
            let file = std::fs::read(fuzz.join("../testdata").join(seed))?;
            std::fs::write(corpus.join(seed.replace('/', "_")), bodies::seed(body.form, file))?;
        }
    }
    Ok(())
}
