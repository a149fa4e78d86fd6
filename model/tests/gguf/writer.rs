//! Writes small GGUF files, right or wrong on purpose.

/// A metadata value as it is written.
#[derive(Clone)]
pub(crate) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Str(String),
    Strs(Vec<String>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
    /// Type number and raw bytes.
    Raw(u32, Vec<u8>),
}

/// A tensor entry and its data. `offset` of `None` puts the data behind the previous tensor's.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) dimensions: Vec<u64>,
    pub(crate) ggml_type: u32,
    pub(crate) offset: Option<u64>,
    pub(crate) data: Vec<u8>,
}

/// A GGUF file in the making.
#[derive(Clone)]
pub(crate) struct Gguf {
    pub(crate) version: u32,
    pub(crate) alignment: usize,
    pub(crate) metadata: Vec<(String, Value)>,
    pub(crate) tensors: Vec<Tensor>,
    /// Counts written in place of the true ones.
    pub(crate) tensor_count: Option<u64>,
    pub(crate) key_count: Option<u64>,
}

impl Gguf {
    pub(crate) fn new() -> Self {
        Self {
            version: 3,
            alignment: 32,
            metadata: vec![],
            tensors: vec![],
            tensor_count: None,
            key_count: None,
        }
    }

    pub(crate) fn key(mut self, key: &str, value: Value) -> Self {
        self.metadata.push((key.to_owned(), value));
        self
    }

    pub(crate) fn tensor(mut self, name: &str, dimensions: &[u64], ggml_type: u32, data: Vec<u8>) -> Self {
        let (name, dimensions) = (name.to_owned(), dimensions.to_vec());
        self.tensors.push(Tensor { name, dimensions, ggml_type, offset: None, data });
        self
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        pad(&mut out, self.alignment);
        for tensor in &self.tensors {
            out.extend(&tensor.data);
            pad(&mut out, self.alignment);
        }
        out
    }

    /// Everything before the padding in front of the data.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.key_count.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            string(&mut out, key);
            value.write(&mut out);
        }
        let mut next = 0u64;
        for tensor in &self.tensors {
            string(&mut out, &tensor.name);
            out.extend((tensor.dimensions.len() as u32).to_le_bytes());
            tensor.dimensions.iter().for_each(|size| out.extend(size.to_le_bytes()));
            out.extend(tensor.ggml_type.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(next).to_le_bytes());
            next += (tensor.data.len() as u64).next_multiple_of(self.alignment as u64);
        }
        out
    }
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        let number: u32 = match self {
            Self::U32(_) => 4,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::Str(_) => 8,
            Self::Strs(_) | Self::F32s(_) | Self::I32s(_) => 9,
            Self::Raw(number, _) => *number,
        };
        out.extend(number.to_le_bytes());
        match self {
            Self::U32(value) => out.extend(value.to_le_bytes()),
            Self::F32(value) => out.extend(value.to_le_bytes()),
            Self::Bool(value) => out.push(u8::from(*value)),
            Self::Str(value) => string(out, value),
            Self::Raw(_, bytes) => out.extend(bytes),
            Self::Strs(values) => array(out, 8, values, |out, value| string(out, value)),
            Self::F32s(values) => array(out, 6, values, |out, value| out.extend(value.to_le_bytes())),
            Self::I32s(values) => array(out, 5, values, |out, value| out.extend(value.to_le_bytes())),
        }
    }
}

fn array<T>(out: &mut Vec<u8>, number: u32, values: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    out.extend(number.to_le_bytes());
    out.extend((values.len() as u64).to_le_bytes());
    values.iter().for_each(|value| write(out, value));
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn pad(out: &mut Vec<u8>, alignment: usize) {
    out.resize(out.len().next_multiple_of(alignment), 0);
}
