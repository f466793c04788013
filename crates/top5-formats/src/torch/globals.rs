//! The globals that pickles of checkpoints name: those that tensors are made of, and plain data of Python, NumPy and training
//! scripts beside them. What has another name is known by it alone; nothing is ever called.

use super::refused;
use crate::element::Element;
use crate::error::{FormatError, quoted};
use std::fmt;

/// What a known name stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    /// Another dict, whose arguments do not matter.
    Dict,
    Size,
    RebuildTensor,
    RebuildParameter,
    /// What makes a tensor that is not read, and why that one is not.
    Unread(&'static str),
    /// A dict that counts; schedules of learning rates are kept in one.
    Counter,
    /// Plain data that no weight depends on: whatever is made of it is a thing without content.
    Inert,
    /// A storage type.
    Storage(Kind),
}

/// What the elements of a storage are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Kind {
    /// Bytes of an element.
    pub(super) width: usize,
    /// How it is read; none for integers and truth values, which are no weights.
    pub(super) element: Option<Element>,
}

/// Modules and names of [`Global::Inert`].
const INERT: &[(&str, &[&str])] = &[
    ("argparse", &["Namespace"]),
    ("types", &["SimpleNamespace"]),
    ("pathlib", PATHS),
    ("pathlib._local", PATHS),
    ("pathlib2", PATHS),
    ("datetime", &["date", "datetime", "time", "timedelta", "timezone"]),
    ("decimal", &["Decimal"]),
    ("fractions", &["Fraction"]),
    ("uuid", &["UUID"]),
    ("collections", &["deque"]),
    ("builtins", TYPES),
    ("__builtin__", TYPES),
    ("_codecs", &["encode"]),
    ("copy_reg", CONSTRUCTORS),
    ("copyreg", CONSTRUCTORS),
    ("_io", &["BytesIO"]),
    ("numpy", NUMPY),
    ("numpy.dtypes", NUMPY_TYPES),
    ("numpy.random._pickle", &["__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"]),
    ("numpy.random._mt19937", &["MT19937"]),
    ("numpy.random._pcg64", &["PCG64", "PCG64DXSM"]),
    ("numpy.random._philox", &["Philox"]),
    ("numpy.random._sfc64", &["SFC64"]),
    ("numpy.random.bit_generator", &["SeedSequence", "__pyx_unpickle_SeedSequence"]),
    ("numpy.core.multiarray", &["scalar", "_reconstruct"]),
    ("numpy._core.multiarray", &["scalar", "_reconstruct"]),
    ("numpy.core.numeric", &["_frombuffer"]),
    ("numpy._core.numeric", &["_frombuffer"]),
    ("torch", TORCH),
    ("torch", TENSORS),
    ("torch.cuda", TENSORS),
    ("torch.serialization", &["_get_layout"]),
    ("torch.torch_version", &["TorchVersion"]),
];

/// What makes objects of the classes that they are given.
const CONSTRUCTORS: &[&str] = &["__newobj__", "__newobj_ex__", "_reconstructor"];

const PATHS: &[&str] =
    &["Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"];

const TYPES: &[&str] = &[
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "long",
    "object",
    "range",
    "set",
    "slice",
    "str",
    "tuple",
    "unicode",
    "xrange",
];

const NUMPY: &[&str] = &[
    "bool_",
    "complex128",
    "complex64",
    "datetime64",
    "dtype",
    "float16",
    "float32",
    "float64",
    "int16",
    "int32",
    "int64",
    "int8",
    "longlong",
    "ndarray",
    "str_",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
];

const NUMPY_TYPES: &[&str] = &[
    "BoolDType",
    "Float16DType",
    "Float32DType",
    "Float64DType",
    "Int16DType",
    "Int32DType",
    "Int64DType",
    "Int8DType",
    "UInt8DType",
];

const TENSORS: &[&str] = &[
    "BoolTensor",
    "ByteTensor",
    "CharTensor",
    "DoubleTensor",
    "FloatTensor",
    "HalfTensor",
    "IntTensor",
    "LongTensor",
    "ShortTensor",
];

/// Types of elements, layouts, ways of quantising, and devices.
const TORCH: &[&str] = &[
    "bfloat16",
    "bool",
    "channels_last",
    "complex128",
    "complex32",
    "complex64",
    "contiguous_format",
    "device",
    "float16",
    "float32",
    "float4_e2m1fn_x2",
    "float64",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "int16",
    "int32",
    "int64",
    "int8",
    "per_channel_affine",
    "per_channel_affine_float_qparams",
    "per_channel_symmetric",
    "per_tensor_affine",
    "per_tensor_symmetric",
    "preserve_format",
    "qint32",
    "qint8",
    "quint2x4",
    "quint4x2",
    "quint8",
    "strided",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
];

/// Modules in which Lightning, old and new, has its dict with attributes.
const LIGHTNING: [&str; 4] = [
    "pytorch_lightning.utilities.parsing",
    "lightning.pytorch.utilities.parsing",
    "lightning_fabric.utilities.data",
    "lightning.fabric.utilities.data",
];

/// Why tensors that are made by this function of `torch._utils` are not read.
fn unread(rebuild: &str) -> Option<&'static str> {
    Some(match rebuild {
        "_rebuild_qtensor" => "is quantised: take the weights before they were",
        "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor" => {
            "is sparse: save it as `tensor.to_dense()`"
        }
        "_rebuild_nested_tensor" => "is nested, which no weight of a network is",
        "_rebuild_meta_tensor_no_storage" => {
            "has no values (it is on the device `meta`): load the weights before saving them"
        }
        "_rebuild_tensor_v3" | "_rebuild_wrapper_subclass" => {
            "is of a type that is not read, float8 for example: save it as `tensor.float()`"
        }
        _ => return None,
    })
}

impl Global {
    /// None for a name that is not here.
    pub(super) fn named(module: &str, name: &str) -> Option<Self> {
        let float = |element: Element| {
            Some(Self::Storage(Kind { width: element.size(), element: Some(element) }))
        };
        let integer = |width| Some(Self::Storage(Kind { width, element: None }));
        match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("collections", "Counter") => Some(Self::Counter),
            ("collections", "defaultdict") => Some(Self::Dict),
            ("torch", "Size") => Some(Self::Size),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("torch" | "torch.cuda", "FloatStorage") => float(Element::F32),
            ("torch" | "torch.cuda", "HalfStorage") => float(Element::F16),
            ("torch" | "torch.cuda", "BFloat16Storage") => float(Element::Bf16),
            ("torch" | "torch.cuda", "DoubleStorage") => float(Element::F64),
            // Complex numbers are no weights either.
            ("torch" | "torch.cuda", "ComplexDoubleStorage") => integer(16),
            ("torch" | "torch.cuda", "LongStorage" | "ComplexFloatStorage") => integer(8),
            ("torch" | "torch.cuda", "IntStorage" | "QInt32Storage") => integer(4),
            ("torch" | "torch.cuda", "ShortStorage") => integer(2),
            ("torch" | "torch.cuda", "CharStorage" | "ByteStorage" | "BoolStorage") => integer(1),
            ("torch" | "torch.cuda", "QInt8Storage" | "QUInt8Storage") => integer(1),
            ("torch" | "torch.cuda", "QUInt4x2Storage" | "QUInt2x4Storage") => integer(1),
            ("torch.storage", "UntypedStorage") => integer(1),
            (module, "AttributeDict") if LIGHTNING.contains(&module) => Some(Self::Dict),
            _ if INERT.iter().any(|(of, names)| *of == module && names.contains(&name)) => {
                Some(Self::Inert)
            }
            _ => unread(name).filter(|_| module == "torch._utils").map(Self::Unread),
        }
    }
}

/// What nothing is known of but its name in Python.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stranger<'a> {
    pub(super) module: &'a str,
    pub(super) name: &'a str,
}

impl Stranger<'_> {
    /// Why it is not called.
    pub(super) fn refusal(self) -> FormatError {
        refused(format!(
            "its pickle asks for {self}, which no state dict needs and which could run code; save \
             `model.state_dict()` alone, or convert the file to safetensors"
        ))
    }
}

impl fmt::Display for Stranger<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&format!("{}.{}", self.module, self.name)))
    }
}
