//! candle: every tensor into memory, then its safetensors writer.

use std::collections::HashMap;

fn main() -> candle_core::Result<()> {
    let [input, output] = [1, 2].map(|i| std::env::args().nth(i).expect("candle INPUT OUTPUT"));
    let tensors: HashMap<String, candle_core::Tensor> = candle_core::pickle::read_all(input)?.into_iter().collect();
    candle_core::safetensors::save(&tensors, output)
}
