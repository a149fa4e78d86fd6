//! Plain number formats.

use std::fmt;

/// A plain number format of a tensor. Block formats are [`crate::checkpoint::blocks::BlockFormat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// IEEE half.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
}

impl Dtype {
    /// Bytes of one value.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// From the name in a safetensors header (`F32`).
    pub fn from_safetensors(name: &str) -> Option<Self> {
        match name {
            "F32" => Some(Self::F32),
            "F16" => Some(Self::F16),
            "BF16" => Some(Self::Bf16),
            _ => None,
        }
    }

    /// From the name in `config.json` or on the command line (`bfloat16`, `torch.bfloat16`).
    pub fn from_torch(name: &str) -> Option<Self> {
        match name.strip_prefix("torch.").unwrap_or(name) {
            "float32" | "float" => Some(Self::F32),
            "float16" | "half" => Some(Self::F16),
            "bfloat16" => Some(Self::Bf16),
            _ => None,
        }
    }

    /// The name `generate.v3` reports, e.g. `torch.bfloat16`.
    pub const fn torch(self) -> &'static str {
        match self {
            Self::F32 => "torch.float32",
            Self::F16 => "torch.float16",
            Self::Bf16 => "torch.bfloat16",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.torch().trim_start_matches("torch."))
    }
}
