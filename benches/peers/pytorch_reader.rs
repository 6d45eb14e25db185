//! pytorch-reader with the plainest writer that makes the same file: a header, then tensor after tensor.

use std::io::Write;

use pytorch_reader::{DType, PytorchReader};

fn name(dtype: DType) -> &'static str {
    match dtype {
        DType::BF16 => "BF16",
        DType::F16 => "F16",
        DType::F32 => "F32",
        DType::F64 => "F64",
        other => panic!("{other:?} is not in the files that are measured"),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [input, output] = [1, 2].map(|i| std::env::args().nth(i).expect("pytorch_reader INPUT OUTPUT"));
    let reader = PytorchReader::new(input)?;
    let mut header = String::from("{");
    let mut at = 0;
    for tensor in reader.tensors().values() {
        let end = at + tensor.byte_len();
        let comma = if at == 0 { "" } else { "," };
        let (dtype, shape) = (name(tensor.dtype()), tensor.shape());
        header += &format!("{comma}{:?}:{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{at},{end}]}}", tensor.name);
        at = end;
    }
    header += "}";
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(output)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for tensor in reader.tensors().values() {
        file.write_all(&tensor.read()?)?;
    }
    file.flush()?;
    Ok(())
}
