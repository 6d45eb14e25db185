//! The element types, as one table: torch's name, numpy's type code, the size, and what safetensors calls it.

use safetensors::Dtype as Output;

/// How an element type without a twin in safetensors is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is.
    Same,
    /// Two real numbers, as `torch.view_as_real` gives them: one more dimension, of 2.
    Pairs,
    /// The same bytes as unsigned integers; what they mean is up to the program that made them.
    Raw,
    /// Two elements in a byte: torch counts bytes, safetensors elements, so the last dimension doubles.
    Packed,
}

struct Row {
    name: &'static str,
    item_bytes: u8,
    /// Numbers in an element: 2 for complex ones.
    parts: u8,
    float: bool,
    output: Output,
    form: Form,
}

macro_rules! dtypes {
    ($($variant:ident $name:literal $bytes:literal x $parts:literal $float:ident $output:ident $form:ident;)*) => {
        /// An element type of the input.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, non_camel_case_types, clippy::upper_case_acronyms, reason = "the names of the field")]
        #[non_exhaustive]
        pub enum Dtype { $($variant,)* }

        impl Dtype {
            /// Every element type, in the order of the table.
            pub const ALL: &'static [Dtype] = &[$(Dtype::$variant,)*];

            const fn row(self) -> Row {
                match self {
                    $(Dtype::$variant => Row {
                        name: $name, item_bytes: $bytes, parts: $parts, float: dtypes!($float),
                        output: Output::$output, form: Form::$form,
                    },)*
                }
            }
        }
    };
    (float) => { true };
    (plain) => { false };
}

dtypes! {
    BOOL            "bool"             1 x 1 plain BOOL        Same;
    U8              "uint8"            1 x 1 plain U8          Same;
    I8              "int8"             1 x 1 plain I8          Same;
    I16             "int16"            2 x 1 plain I16         Same;
    U16             "uint16"           2 x 1 plain U16         Same;
    I32             "int32"            4 x 1 plain I32         Same;
    U32             "uint32"           4 x 1 plain U32         Same;
    I64             "int64"            8 x 1 plain I64         Same;
    U64             "uint64"           8 x 1 plain U64         Same;
    F16             "float16"          2 x 1 float F16         Same;
    BF16            "bfloat16"         2 x 1 float BF16        Same;
    F32             "float32"          4 x 1 float F32         Same;
    F64             "float64"          8 x 1 float F64         Same;
    C64             "complex64"        8 x 2 float C64         Same;
    F8_E4M3FN       "float8_e4m3fn"    1 x 1 float F8_E4M3     Same;
    F8_E5M2         "float8_e5m2"      1 x 1 float F8_E5M2     Same;
    F8_E4M3FNUZ     "float8_e4m3fnuz"  1 x 1 plain F8_E4M3FNUZ Same;
    F8_E5M2FNUZ     "float8_e5m2fnuz"  1 x 1 plain F8_E5M2FNUZ Same;
    F8_E8M0FNU      "float8_e8m0fnu"   1 x 1 plain F8_E8M0     Same;
    F4_E2M1FN_X2    "float4_e2m1fn_x2" 1 x 1 plain F4          Packed;
    BITS8           "bits8"            1 x 1 plain U8          Raw;
    BITS16          "bits16"           2 x 1 plain U16         Raw;
    BITS1X8         "bits1x8"          1 x 1 plain U8          Raw;
    BITS2X4         "bits2x4"          1 x 1 plain U8          Raw;
    BITS4X2         "bits4x2"          1 x 1 plain U8          Raw;
    C32             "complex32"        4 x 2 float F16         Pairs;
    BC32            "bcomplex32"       4 x 2 float BF16        Pairs;
    C128            "complex128"      16 x 2 float F64         Pairs;
}

impl Dtype {
    /// The element type that torch calls `torch.NAME`.
    pub fn from_torch_name(name: &str) -> Option<Dtype> {
        let name = match name {
            "half" => "float16",
            "float" => "float32",
            "double" => "float64",
            "short" => "int16",
            "int" => "int32",
            "long" => "int64",
            "chalf" => "complex32",
            "cfloat" => "complex64",
            "cdouble" => "complex128",
            other => other,
        };
        Self::ALL.iter().copied().find(|dtype| dtype.name() == name)
    }

    /// The element type of a numpy type code without byte order, such as `f4`; `None` where safetensors has no twin.
    pub fn from_numpy_code(code: &str) -> Option<Dtype> {
        Some(match code {
            "b1" => Dtype::BOOL,
            "u1" => Dtype::U8,
            "i1" => Dtype::I8,
            "i2" => Dtype::I16,
            "u2" => Dtype::U16,
            "i4" => Dtype::I32,
            "u4" => Dtype::U32,
            "i8" => Dtype::I64,
            "u8" => Dtype::U64,
            "f2" => Dtype::F16,
            "f4" => Dtype::F32,
            "f8" => Dtype::F64,
            "c8" => Dtype::C64,
            "c16" => Dtype::C128,
            _ => return None,
        })
    }

    /// The element type of one of numpy's letters, which predate the type codes. `l` is left out: its size depends on the
    /// machine.
    pub fn from_numpy_letter(letter: &str) -> Option<Dtype> {
        Some(match letter {
            "?" => Dtype::BOOL,
            "b" => Dtype::I8,
            "B" => Dtype::U8,
            "h" => Dtype::I16,
            "H" => Dtype::U16,
            "i" => Dtype::I32,
            "I" => Dtype::U32,
            "q" => Dtype::I64,
            "Q" => Dtype::U64,
            "e" => Dtype::F16,
            "f" => Dtype::F32,
            "d" => Dtype::F64,
            "F" => Dtype::C64,
            "D" => Dtype::C128,
            _ => return None,
        })
    }

    /// The element type that numpy calls `numpy.NAME`.
    pub fn from_numpy_name(name: &str) -> Option<Dtype> {
        let is_numpy = name == "bool"
            || ["int", "uint", "float", "complex"]
                .iter()
                .any(|kind| name.strip_prefix(kind).is_some_and(|bits| bits.parse::<u8>().is_ok()));
        Self::ALL.iter().copied().find(|dtype| is_numpy && dtype.name() == name && *dtype != Dtype::C32)
    }

    /// torch's name without `torch.`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Bytes of one element.
    pub fn item_bytes(self) -> u8 {
        self.row().item_bytes
    }

    /// Numbers in one element: 2 for complex types, else 1.
    pub fn parts(self) -> u8 {
        self.row().parts
    }

    /// Whether negation flips the top bit of each part.
    pub fn negates_by_sign_bit(self) -> bool {
        self.row().float
    }

    /// What safetensors calls it in the output.
    pub fn output(self) -> Output {
        self.row().output
    }

    /// Whether the output holds it in another form than the input.
    pub fn is_lowered(self) -> bool {
        matches!(self.row().form, Form::Pairs | Form::Raw)
    }

    /// The shape in the output of a tensor with this shape in the input.
    pub fn output_shape(self, shape: &[u64]) -> Vec<u64> {
        let mut shape = shape.to_vec();
        match self.row().form {
            Form::Same | Form::Raw => {}
            Form::Pairs => shape.push(2),
            Form::Packed => match shape.last_mut() {
                // A byte count that was checked against the storage; twice that fits.
                Some(last) => *last = last.saturating_mul(2),
                None => shape.push(2),
            },
        }
        shape
    }
}
